//! Figures out of many rounds. Medians of alternating rounds, and ratios within a round,
//! leave out slow spells of the machine.

/// The middle value, the upper one of an even number of values. NaN of no values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of the ratios within each round. A slow spell of the machine affects both
/// sides of a round and cancels out. Rounds without a number on one side do not count.
pub(crate) fn ratio(of: &[f64], to: &[f64]) -> f64 {
    let rounds = of.iter().zip(to).map(|(of, to)| of / to);
    median(rounds.filter(|ratio| ratio.is_finite()))
}

/// A count as a floating-point number.
#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds, packets and bytes of minutes are far below 2^53"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < f64::EPSILON
    }

    #[test]
    fn median_is_the_middle_value() {
        assert!(close(median([9.0, 1.0, 5.0]), 5.0));
        assert!(close(median([2.0, 1.0]), 2.0));
        assert!(median([]).is_nan());
    }

    #[test]
    fn ratio_is_of_each_round() {
        // The last round ran at a quarter of the speed. Medians of each side
        // would give 20 / 10.
        let (of, to) = ([12.0, 20.0, 44.0], [10.0, 10.0, 40.0]);
        assert!(close(ratio(&of, &to), 1.2));
    }

    #[test]
    fn ratio_leaves_out_rounds_without_one() {
        assert!(close(ratio(&[1.0, 3.0, 3.0], &[0.0, 2.0, 2.0]), 1.5));
        assert!(ratio(&[1.0], &[f64::NAN]).is_nan());
        assert!(ratio(&[], &[]).is_nan());
    }
}
