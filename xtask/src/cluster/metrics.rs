//! The agent's counters of answers and passes.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use anyhow::{Context as _, Result};

/// Reasons by which a packet is no query over UDP for a name in the zone: they say nothing about
/// the kernel's share of such queries.
const OTHER_TRAFFIC: [&str; 6] = [
    "not_dns",
    "not_served",
    "ip_header",
    "response",
    "outside_zone",
    "tcp",
];

/// What the programs did with packets for port 53.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdicts {
    /// Answers by path: `xdp`, `tc`.
    answers: BTreeMap<String, u64>,
    /// Packets left to userspace, by reason. tc sees every packet that XDP passes.
    passes: BTreeMap<String, u64>,
}

impl Verdicts {
    /// Reads a page of metrics.
    ///
    /// # Errors
    /// When a counter has no number, or the page has no counters.
    pub(super) fn parse(page: &str) -> Result<Self> {
        let mut verdicts = Self::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, labels, value)) = sample(line) else {
                continue;
            };
            let path = label(labels, "path").unwrap_or_default();
            let (counts, key) = match name {
                "headless_dns_answers_total" if path != "agent" => (&mut verdicts.answers, path),
                "headless_dns_passes_total" if path == "tc" => {
                    let reason = label(labels, "reason").unwrap_or_default();
                    (&mut verdicts.passes, reason)
                }
                _ => continue,
            };
            let value: f64 = value
                .parse()
                .with_context(|| format!("no number: {line}"))?;
            #[expect(
                clippy::cast_sign_loss,
                reason = "counters are whole numbers far below 2^53"
            )]
            let value = value as u64;
            *counts.entry(key.to_owned()).or_default() += value;
        }
        if verdicts.answers.is_empty() && !page.contains("headless_build_info") {
            anyhow::bail!("the page has no metrics of the agent: {page:.200}");
        }
        Ok(verdicts)
    }

    /// The verdicts since `before`, of the same agent.
    pub(super) fn since(&self, before: &Self) -> Self {
        let difference = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let entries = now.iter().map(|(key, count)| {
                let before = before.get(key).copied().unwrap_or_default();
                (key.clone(), count.saturating_sub(before))
            });
            entries.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            answers: difference(&self.answers, &before.answers),
            passes: difference(&self.passes, &before.passes),
        }
    }

    /// Answers of the kernel.
    pub(super) fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Queries that may be in the zone and were left to userspace.
    pub(super) fn passed_in_zone(&self) -> u64 {
        let in_zone = |(reason, _): &(&String, &u64)| !OTHER_TRAFFIC.contains(&reason.as_str());
        self.passes
            .iter()
            .filter(in_zone)
            .map(|(_, count)| count)
            .sum()
    }

    /// Packets passed for one reason.
    pub(super) fn passed_for(&self, reason: &str) -> u64 {
        self.passes.get(reason).copied().unwrap_or_default()
    }

    /// The kernel's part of the answers to queries that may be in the zone, in percent.
    pub(super) fn share(&self) -> f64 {
        let answered = crate::figures::number(self.answered());
        let all = answered + crate::figures::number(self.passed_in_zone());
        100.0 * answered / all
    }
}

impl Display for Verdicts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |counts: &BTreeMap<String, u64>| {
            let words: Vec<_> = counts
                .iter()
                .map(|(key, count)| format!("{key} {count}"))
                .collect();
            if words.is_empty() {
                "none".to_owned()
            } else {
                words.join(", ")
            }
        };
        write!(
            formatter,
            "answered: {}; left to CoreDNS: {}",
            counts(&self.answers),
            counts(&self.passes)
        )
    }
}

/// Name, labels and value of a line: `name{a="b"} 1`.
fn sample(line: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once('}')?;
    Some((name, labels, value.split_whitespace().next()?))
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const BEFORE: &str = "\
# TYPE headless_dns_answers counter
headless_build_info{version=\"0.1.0\"} 1
headless_dns_answers_total{path=\"xdp\",qtype=\"A\",rcode=\"NOERROR\",outcome=\"data\"} 10
headless_dns_answers_total{path=\"agent\",qtype=\"A\",rcode=\"NOERROR\",outcome=\"data\"} 99
headless_dns_passes_total{path=\"xdp\",reason=\"edns\"} 7
headless_dns_passes_total{path=\"tc\",reason=\"edns\"} 7
headless_dns_passes_total{path=\"tc\",reason=\"outside_zone\"} 3
headless_dns_passes_total{path=\"tc\",reason=\"tcp\"} 5
";

    #[test]
    fn the_share_is_of_queries_that_may_be_in_the_zone() {
        let before = Verdicts::parse(BEFORE).unwrap();
        assert_eq!(before.answered(), 10);
        assert_eq!(before.passed_in_zone(), 7);
        assert_eq!(before.passed_for("outside_zone"), 3);
        let after = BEFORE
            .replace("} 10", "} 40")
            .replace("edns\"} 7", "edns\"} 17");
        let more = Verdicts::parse(&after).unwrap().since(&before);
        assert!((more.share() - 75.0).abs() < 1e-9, "{}", more.share());
        assert_eq!(
            more.to_string(),
            "answered: xdp 30; left to CoreDNS: edns 10"
        );
    }

    #[test]
    fn another_page_is_an_error() {
        assert!(Verdicts::parse("404 page not found").is_err());
        let broken = BEFORE.replace("} 10", "} ten");
        assert!(Verdicts::parse(&broken).is_err());
    }
}
