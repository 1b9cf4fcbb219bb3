//! The plugin `cache` (`plugin/cache/setup.go`).
//!
//! The programs need no cache. What clients see of it are the TTLs: each record of a message gets
//! the least TTL of the message, within the bounds of the plugin (`cache.go`, `WriteMsg`). That
//! holds also for zones for which the cache is disabled.

use super::super::address::{REVERSE_ZONES, covers, overlap};
use super::super::rules::{Cache, Clamp, Part};
use super::super::token::{Token, Words};
use super::names::zones_or;
use super::state::{Classifier, PluginError};

/// The largest TTL of answers with records, and of denials, in seconds.
const MAX: (u32, u32) = (3600, 1800);

/// The least TTL in seconds.
const MIN: u32 = 5;

impl Classifier<'_> {
    /// Takes the bounds over.
    pub(super) fn cache(
        &mut self,
        mut words: Words<'_>,
        block: &[String],
    ) -> Result<(), PluginError> {
        let Some(name) = words.next() else {
            return Ok(());
        };
        let mut args = words.args();
        let bounds_to = |max| Clamp { min: MIN, max };
        let mut cache = Cache {
            success: bounds_to(MAX.0),
            denial: bounds_to(MAX.1),
        };
        if let Some(first) = args.first().copied()
            && let Ok(ttl) = first.text.parse::<i64>()
        {
            let ttl = u32::try_from(ttl).ok().filter(|ttl| *ttl > 0);
            let ttl = ttl.ok_or_else(|| first.error("not a TTL"))?;
            cache.success.max = ttl;
            cache.denial.max = ttl;
            args.remove(0);
        }
        while let Some(option) = words.next_in_block() {
            let args = words.args();
            match &*option.text {
                "success" => bounds(option, &args, &mut cache.success)?,
                "denial" => bounds(option, &args, &mut cache.denial)?,
                "prefetch" | "serve_stale" | "serve_stale_policy" | "servfail" | "disable"
                | "keepttl" => {}
                _ => return Err(option.error("cache has no such option")),
            }
        }
        words.end()?;
        self.cached(name, &zones_or(&args, block), cache);
        Ok(())
    }

    /// Takes the bounds over if they hold for the whole zone.
    fn cached(&mut self, name: &Token, zones: &[String], cache: Cache) {
        let zone = self.scope.zone.clone();
        let covered = |name: &str| zones.iter().any(|zone| covers(zone, name));
        if covered(&zone) {
            self.options().cache = Some(cache);
        } else if zones.iter().any(|it| overlap(it, &zone)) {
            let text = format!("cache holds for some names below {zone} only");
            self.find(Part::Zone, name, text);
        }
        if REVERSE_ZONES.iter().any(|it| covered(it) != covered(&zone)) {
            let text = "cache does not hold for reverse names as for the zone";
            self.find(Part::Reverse, name, text);
        }
    }
}

/// Reads `CAPACITY [TTL [MIN]]`.
fn bounds(option: &Token, args: &[&Token], clamp: &mut Clamp) -> Result<(), PluginError> {
    let number = |at: usize| match args.get(at) {
        None => Ok(None),
        Some(word) => match word.text.parse::<u32>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(word.error("not a number")),
        },
    };
    if args.is_empty() {
        return Err(option.error("an argument is missing"));
    }
    if let Some(max) = number(1)? {
        if max == 0 {
            return Err(option.error("a TTL of zero"));
        }
        clamp.max = max;
    }
    if let Some(min) = number(2)? {
        clamp.min = min;
    }
    Ok(())
}
