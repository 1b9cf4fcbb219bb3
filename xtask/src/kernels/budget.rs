//! The budget of verified instructions in `tests/kernels/budget.yaml`, and the table in
//! docs/kernels.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::debian::SERIES;
use crate::exec;

/// The most instructions of a program: nine tenths of the number at which the verifier
/// stops (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h).
const COUNT_MAX: u32 = 900_000;

/// By how many per cent a count may exceed its budget, since compilers differ.
const ROOM: u32 = 10;

/// The line before the table in docs/kernels.md. [`END`] is the line behind the table.
const BEGIN: &str = "<!-- written by cargo xtask test --kernels --update -->\n";
const END: &str = "<!-- end -->\n";

/// A kernel's last run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The output of `uname -r`.
    pub(crate) release: String,
    /// The day of the run, `YYYY-MM-DD`.
    pub(crate) date: String,
    /// Number of suites. All passed.
    pub(crate) suites: usize,
    /// Number of their tests.
    pub(crate) tests: u64,
    /// Number of instructions that the verifier looked at, by program.
    pub(crate) programs: BTreeMap<String, u32>,
}

/// The content of the file, by the names of kernel series.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Budget(BTreeMap<String, Entry>);

fn file() -> PathBuf {
    exec::workspace().join("tests/kernels/budget.yaml")
}

impl Budget {
    /// Reads the file.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub(crate) fn read() -> Result<Self> {
        let path = file();
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(serde_saphyr::from_str(text)?)
    }

    /// One sentence for each count of a kernel that is too large, or without budget.
    pub(crate) fn findings(&self, series: &str, counts: &BTreeMap<String, u32>) -> Vec<String> {
        let none = BTreeMap::new();
        let budgets = self.0.get(series).map_or(&none, |entry| &entry.programs);
        let mut findings = Vec::new();
        for (program, &count) in counts {
            if count > COUNT_MAX {
                findings.push(format!(
                    "{program}: {count} instructions, more than {COUNT_MAX}"
                ));
            }
            match budgets.get(program) {
                Some(&budget) => {
                    let most = u64::from(budget) * u64::from(100 + ROOM) / 100;
                    if u64::from(count) > most {
                        findings.push(format!(
                            "{program}: {count} instructions, over its budget of {budget} and {ROOM} %"
                        ));
                    }
                }
                None => findings.push(format!("{program}: no budget; --update writes one")),
            }
        }
        for program in budgets.keys().filter(|name| !counts.contains_key(*name)) {
            findings.push(format!("{program}: not loaded, but has a budget"));
        }
        findings
    }

    /// Replaces the entry of a kernel.
    pub(crate) fn set(&mut self, series: &str, entry: Entry) {
        self.0.insert(series.to_owned(), entry);
    }

    /// Writes the file, and the table in docs/kernels.md.
    pub(crate) fn write(&self) -> Result<()> {
        let budget = file();
        fs::write(&budget, self.yaml())
            .with_context(|| format!("cannot write {}", budget.display()))?;
        let page = exec::workspace().join("docs/kernels.md");
        let context = || format!("cannot update {}", page.display());
        let text = fs::read_to_string(&page).with_context(context)?;
        let text = self.fill_in(&text).with_context(context)?;
        fs::write(&page, text).with_context(context)
    }

    /// The entries from the oldest series to the newest.
    fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        SERIES
            .iter()
            .filter_map(|series| Some((series.name, self.0.get(series.name)?)))
    }

    fn yaml(&self) -> String {
        let mut text = String::from(
            "# What each kernel's verifier looked at in each program, in instructions, when\n\
             # `cargo xtask test --kernels --update` wrote this. The command without --update\n\
             # fails for a program that has grown by more than a tenth.\n",
        );
        for (series, entry) in self.entries() {
            let Entry {
                release,
                date,
                suites,
                tests,
                programs,
            } = entry;
            let _infallible = write!(
                text,
                "\"{series}\":\n  release: \"{release}\"\n  date: \"{date}\"\n  \
                 suites: {suites}\n  tests: {tests}\n  programs:\n"
            );
            for (program, count) in programs {
                let _infallible = writeln!(text, "    {program}: {count}");
            }
        }
        text
    }

    /// The page with its table replaced.
    fn fill_in(&self, page: &str) -> Result<String> {
        let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(END)?;
            Some((before, after))
        });
        let Some((before, after)) = parts else {
            bail!("no table between {} and {}", BEGIN.trim(), END.trim());
        };
        let mut table =
            String::from("| Kernel | Program | Instructions | Suites | Tests | Day |\n");
        table.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for (_, entry) in self.entries() {
            for (number, (program, count)) in entry.programs.iter().enumerate() {
                let _infallible = if number == 0 {
                    writeln!(
                        table,
                        "| {} | `{program}` | {count} | {} | {} | {} |",
                        entry.release, entry.suites, entry.tests, entry.date
                    )
                } else {
                    writeln!(table, "| | `{program}` | {count} | | | |")
                };
            }
        }
        Ok([before, BEGIN, &table, END, after].concat())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn counts(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
        let owned = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        owned.collect()
    }

    fn budget(programs: &[(&str, u32)]) -> Budget {
        let mut budget = Budget::default();
        let entry = Entry {
            release: "5.10.0-32-cloud-amd64".into(),
            date: "2026-11-24".into(),
            suites: 6,
            tests: 20,
            programs: counts(programs),
        };
        budget.set("5.10", entry);
        budget
    }

    #[test]
    fn growth_beyond_the_room_is_found() {
        let budget = budget(&[("xdp", 1000)]);
        let findings = |count| budget.findings("5.10", &counts(&[("xdp", count)])).len();
        assert_eq!(findings(500), 0);
        assert_eq!(findings(1100), 0);
        assert_eq!(findings(1101), 1);
    }

    #[test]
    fn no_budget_raises_the_kernels_limit() {
        let budget = budget(&[("xdp", 890_000)]);
        let findings = budget.findings("5.10", &counts(&[("xdp", 900_001)]));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("more than 900000"), "{findings:?}");
    }

    #[test]
    fn programs_and_budgets_belong_together() {
        let budget = budget(&[("xdp", 1000)]);
        let findings = budget.findings("5.10", &counts(&[("tc", 1000)]));
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(budget.findings("6.1", &counts(&[("xdp", 1)])).len(), 1);
    }

    #[test]
    fn what_is_written_is_read() {
        let budget = budget(&[("xdp", 1000), ("reflect", 76)]);
        assert_eq!(Budget::parse(&budget.yaml()).unwrap(), budget);
        assert!(Budget::parse("\"5.10\": {counts: 3}").is_err());
    }

    #[test]
    fn the_pages_table_is_replaced() {
        let budget = budget(&[("xdp", 1000), ("reflect", 76)]);
        let page = format!("before\n{BEGIN}| old |\n{END}after\n");
        let page = budget.fill_in(&page).unwrap();
        assert!(page.starts_with("before\n") && page.ends_with("after\n"));
        assert!(!page.contains("old"));
        assert!(page.contains("| 5.10.0-32-cloud-amd64 | `reflect` | 76 | 6 | 20 | 2026-11-24 |"));
        assert!(page.contains("| | `xdp` | 1000 | | | |"));
        assert!(budget.fill_in("no table").is_err());
    }
}
