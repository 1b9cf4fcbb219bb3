//! What chance gives: bounds of the binomial distribution, in bits.

/// A bound on `-log2` of the probability that `shared` or more of `tried` pairs share a bucket by
/// chance, where each does with probability `1 / buckets` (Chernoff). 0 where so many are no
/// wonder.
pub(crate) fn surprise(tried: u64, shared: u64, buckets: u32) -> f64 {
    let (n, p) = (tried as f64, 1.0 / f64::from(buckets));
    let q = shared as f64 / n;
    if tried == 0 || q <= p {
        return 0.0;
    }
    let rest = if shared < tried {
        (1.0 - q) * ((1.0 - q) / (1.0 - p)).log2()
    } else {
        0.0
    };
    n * (q * (q / p).log2() + rest)
}

/// As [`surprise`], for the most inputs in one bucket: any of the buckets may have them.
pub(crate) fn surprise_of_most(inputs: u64, most: u64, buckets: u32) -> f64 {
    let bits = surprise(inputs, most, buckets) - f64::from(buckets).log2();
    bits.max(0.0)
}

#[test]
fn what_is_expected_is_no_surprise() {
    assert!(surprise(40_960, 10, 4096) < 1e-6);
    assert!(surprise(40_960, 20, 4096) < 10.0);
    assert!(surprise(40_960, 100, 4096) > 100.0);
    // All of ten pairs: 12 bits each.
    assert!((surprise(10, 10, 4096) - 120.0).abs() < 1e-6);
    assert!(surprise_of_most(4096, 7, 4096) < 3.0);
    assert!(surprise_of_most(4096, 64, 4096) > 100.0);
}
