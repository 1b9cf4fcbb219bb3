//! Problems of objects, for `status`, metrics and the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use tracing::warn;

use super::Snapshot;
use crate::pace::{Buckets, Pace};
use crate::watch::Report;

/// The most lines about problems that `status` shows.
pub(super) const LINES_SHOWN_MAX: usize = 100;

/// How often the log tells of the problems of one namespace. A tenant can make a new problem
/// with every update of an object.
const LOG_PACE: Pace = Pace {
    burst: 5,
    every: Duration::from_secs(30),
};

/// Namespaces whose log lines are counted apart, about 100 bytes each.
const NAMESPACES_MAX: usize = 1024;

/// The latest problems, by object or file.
#[derive(Debug)]
pub(super) struct Reported {
    /// By the number of the report.
    latest: BTreeMap<u64, Entry>,
    /// The number of the report about each object or file of `latest`.
    numbers: HashMap<String, u64>,
    /// The number of the next report.
    next: u64,
    /// Lines of all entries.
    lines: usize,
    /// Lines by namespace.
    tenants: HashMap<String, usize>,
    log: Buckets<String>,
}

/// The problems of one object or file.
#[derive(Debug)]
struct Entry {
    /// See [`Report::tenant`].
    tenant: String,
    about: String,
    lines: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

impl Default for Reported {
    fn default() -> Self {
        Self {
            latest: BTreeMap::new(),
            numbers: HashMap::new(),
            next: 0,
            lines: 0,
            tenants: HashMap::new(),
            log: Buckets::new(LOG_PACE, NAMESPACES_MAX),
        }
    }
}

impl Reported {
    /// Replaces the problems of the reported objects. Counts new problems, and logs one line for
    /// an object that has new ones.
    pub(super) fn take(&mut self, reports: Vec<Report>, snapshot: &mut Snapshot) {
        if reports.is_empty() {
            return;
        }
        let now = Instant::now();
        for report in reports {
            let before = self.forget(&report.about);
            if count(&report, before.as_ref(), &mut snapshot.problem_counts) {
                if self.log.take(report.tenant(), now) {
                    warn!("{}", report.summary());
                } else {
                    snapshot.lines_left_out += 1;
                }
            }
            self.keep(report);
        }
        let shown = self.latest.values().flat_map(|entry| &entry.lines);
        snapshot.reported = shown.cloned().collect::<Vec<_>>().into();
    }

    /// Removes the last report about an object or file.
    fn forget(&mut self, about: &str) -> Option<Entry> {
        let number = self.numbers.remove(about)?;
        let entry = self.latest.remove(&number)?;
        self.lines -= entry.lines.len();
        if let Some(lines) = self.tenants.get_mut(&entry.tenant) {
            *lines -= entry.lines.len();
            if *lines == 0 {
                self.tenants.remove(&entry.tenant);
            }
        }
        Some(entry)
    }

    /// Adds a report. Beyond [`LINES_SHOWN_MAX`] forgets the oldest ones of the namespace with the
    /// most lines, so that a tenant hides no report about another tenant's objects.
    fn keep(&mut self, report: Report) {
        if report.problems.is_empty() {
            return;
        }
        let mut lines: Vec<String> = report.lines().take(LINES_SHOWN_MAX).collect();
        if let Some(others) = report.problems.others(LINES_SHOWN_MAX - 1)
            && lines.len() == LINES_SHOWN_MAX
        {
            lines.pop();
            lines.push(format!("{}: {others}", report.about));
        }
        self.lines += lines.len();
        self.numbers.insert(report.about.clone(), self.next);
        let tenant = report.tenant().to_owned();
        *self.tenants.entry(tenant.clone()).or_default() += lines.len();
        let entry = Entry {
            tenant,
            about: report.about,
            lines,
            counts: report.problems.counts().clone(),
        };
        self.latest.insert(self.next, entry);
        self.next += 1;
        while self.lines > LINES_SHOWN_MAX
            && let Some(about) = self.oldest_of_most()
        {
            self.forget(&about);
        }
    }

    /// The object or file of the oldest report of the namespace that has the most lines.
    fn oldest_of_most(&self) -> Option<String> {
        let (most, _) = self.tenants.iter().max_by_key(|(_, lines)| **lines)?;
        let mut entries = self.latest.values();
        let oldest = entries.find(|entry| entry.tenant == *most)?;
        Some(oldest.about.clone())
    }
}

/// Counts the problems of a report that the report before did not have. Returns whether there
/// are any. Of problems that are not kept only the number is known.
fn count(
    report: &Report,
    before: Option<&Entry>,
    counts: &mut BTreeMap<&'static str, u64>,
) -> bool {
    let known: HashSet<&str> = before
        .into_iter()
        .flat_map(|before| before.lines.iter().map(String::as_str))
        .collect();
    let mut new = BTreeMap::<_, u64>::new();
    for problem in report.problems.kept() {
        let reason = problem.reason.label();
        *new.entry(reason).or_default() += u64::from(!known.contains(&*problem.to_string()));
    }
    for (reason, count) in report.problems.counts() {
        let old = before.and_then(|before| before.counts.get(reason));
        let more = count.saturating_sub(old.copied().unwrap_or_default());
        let new = new.entry(*reason).or_default();
        *new = more.max(*new);
    }
    for (reason, count) in &new {
        *counts.entry(*reason).or_default() += count;
    }
    new.values().any(|count| *count > 0)
}
