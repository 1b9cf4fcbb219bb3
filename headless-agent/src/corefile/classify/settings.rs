//! Plugins with few options: `bind`, `bufsize`, `loadbalance` and `reload`.

use std::time::Duration;

use super::super::rules::{Part, Parts, Reload};
use super::super::token::Words;
use super::state::{Addressed, Classifier, PluginError};

/// The bounds of `bufsize` in bytes (`bufsize/setup.go`).
const SIZES: std::ops::RangeInclusive<u16> = 512..=4096;

/// The size of `bufsize` without an argument.
const SIZE: u16 = 1232;

/// The interval and the jitter of `reload` without arguments (`reload/setup.go`).
const RELOAD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

/// The least interval and, unless it is 0, the least jitter of `reload` (`reload/setup.go`).
const RELOAD_MIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));

/// The longest duration that Go has: 2⁶³ - 1 ns (`time.Duration`).
const DURATION_MAX: Duration = Duration::from_nanos(i64::MAX.cast_unsigned());

impl Classifier<'_> {
    /// A server block that serves some addresses only may not be the one that pods reach.
    pub(super) fn bind(&mut self, mut words: Words<'_>) {
        let Some(name) = words.next() else {
            return;
        };
        let mut is_all = true;
        while let Some(word) = words.next() {
            is_all &= matches!(&*word.text, "0.0.0.0" | "::" | "bind");
        }
        if !is_all {
            self.find(Parts::ALL, name, "bind: only some addresses are served");
        }
    }

    /// Takes the size over.
    pub(super) fn bufsize(&mut self, mut words: Words<'_>) -> Result<(), PluginError> {
        words.next();
        let size = match words.args().as_slice() {
            [] => SIZE,
            [size] => {
                let bytes = size.text.parse().ok().filter(|it| SIZES.contains(it));
                bytes.ok_or_else(|| size.error("not a size from 512 to 4096"))?
            }
            [_, more, ..] => return Err(more.error("bufsize has one argument")),
        };
        self.options().bufsize = Some(size);
        Ok(())
    }

    /// The programs begin with a random address, as does `round_robin`. Without the plugin the
    /// order has no meaning, so any will do.
    pub(super) fn loadbalance(&mut self, mut words: Words<'_>) -> Result<(), PluginError> {
        while let Some(name) = words.next() {
            match words.args().as_slice() {
                [] => {}
                [policy] if &*policy.text == "round_robin" => {}
                [policy, ..] if &*policy.text == "weighted" => {
                    self.find(Part::Zone, policy, "loadbalance: addresses have weights");
                    return Ok(());
                }
                [policy, ..] => return Err(policy.error("loadbalance has no such policy")),
            }
            while let Some(option) = words.next_in_block() {
                if &*option.text != "prefer" {
                    return Err(name.error("loadbalance has no such option"));
                }
                words.args();
                self.find(Part::Zone, option, "loadbalance: some addresses come first");
            }
        }
        Ok(())
    }

    /// Reads how CoreDNS hears about a changed Corefile. One `reload` holds for all blocks, and
    /// the last one wins.
    pub(super) fn reload(&mut self, blocks: &[Addressed<'_>]) -> Result<(), PluginError> {
        let plugins = blocks.iter().flat_map(|it| &it.block.plugins);
        for plugin in plugins.filter(|it| &*it.name == "reload") {
            let mut words = Words::new(&plugin.tokens);
            words.next();
            let args = words.args();
            let duration = |at: usize, default: Duration, min: Duration| match args.get(at) {
                None => Ok(default),
                Some(word) => match go_duration(&word.text) {
                    None => Err(word.error("not a duration")),
                    Some(it) if it < min && (at == 0 || !it.is_zero()) => {
                        Err(word.error("too short a duration"))
                    }
                    Some(it) => Ok(it),
                },
            };
            let interval = duration(0, RELOAD.0, RELOAD_MIN.0)?;
            let jitter = duration(1, RELOAD.1, RELOAD_MIN.1)?.min(interval / 2);
            self.rules.reload = Reload::Every(interval.saturating_add(jitter / 2));
        }
        Ok(())
    }
}

/// A duration as Go writes it: `1m30s`, `500ms`, `1.5h`. `None` where Go has none either, and for
/// signs, with which nobody writes an interval.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at(digits);
        let units = after
            .find(|it: char| it.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(units);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = next;
    }
    if text.is_empty() {
        return None;
    }
    let duration = Duration::try_from_secs_f64(seconds).ok();
    duration.filter(|it| *it <= DURATION_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let is = |text, seconds: Option<u64>| {
            let duration = seconds.map(Duration::from_millis);
            assert_eq!(go_duration(text), duration, "{text}");
        };
        is("0", Some(0));
        is("0s", Some(0));
        is("30s", Some(30_000));
        is("1m30s", Some(90_000));
        is("1.5h", Some(5_400_000));
        is("500ms", Some(500));
        is("2562047h", Some(2_562_047 * 3_600_000));
        let too_long = ["2562048h", "5124095576030431h", "9223372037s"];
        let wrong = ["", "30", "s", "1x", "-1s"];
        for text in wrong.into_iter().chain(too_long) {
            is(text, None);
        }
    }
}
