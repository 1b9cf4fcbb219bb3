//! What was asked and what came of it.

use std::collections::BTreeMap;
use std::fmt;

/// Differences that are shown in full.
const SHOWN_MAX: usize = 40;

/// Counts of one run.
#[derive(Debug, Default)]
pub struct Report {
    /// Questions asked.
    pub questions: u64,
    /// Replies of the engine, on the host and in the kernel alike, that were
    /// compared.
    pub engine: u64,
    /// What the engine passed, by reason.
    pub passed: BTreeMap<&'static str, u64>,
    /// Replies of the rules in userspace that were compared.
    pub userspace: u64,
    /// Replies of the agent over UDP that were compared.
    pub agent: u64,
    /// Questions that were for an upstream resolver, on both sides.
    pub upstream: u64,
    /// Questions left to the cluster's DNS.
    pub cluster_dns: u64,
    /// Messages that neither side answered.
    pub ignored: u64,
    /// Replies of CoreDNS by RCODE.
    pub rcodes: BTreeMap<u16, u64>,
    /// Replies of CoreDNS with TC.
    pub truncated: u64,
    /// In-zone questions without EDNS options, external names apart.
    pub plain: u64,
    /// Those of [`Self::plain`] that the engine answered.
    pub plain_engine: u64,
    /// Why it passed the rest of them: by reason and question type, how many,
    /// and one of them.
    pub plain_passed: BTreeMap<(&'static str, u16), (u64, String)>,
    /// Allowed differences, by name.
    pub allowed: BTreeMap<&'static str, u64>,
    /// Number of differences that are not allowed.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<String>,
}

impl Report {
    /// Takes note of a difference.
    pub fn differ(&mut self, difference: String) {
        self.differing += 1;
        if self.differences.len() < SHOWN_MAX {
            self.differences.push(difference);
        }
    }

    /// How many of a thousand plain in-zone questions the engine answered.
    pub fn engine_permille(&self) -> u64 {
        (self.plain_engine * 1000)
            .checked_div(self.plain)
            .unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            questions,
            engine,
            passed,
            userspace,
            agent,
            upstream,
            cluster_dns,
            ignored,
            rcodes,
            truncated,
            plain,
            plain_engine,
            plain_passed,
            allowed,
            differing,
            differences,
        } = self;
        writeln!(f, "questions                 {questions}")?;
        writeln!(
            f,
            "  CoreDNS by rcode        {rcodes:?}, {truncated} truncated"
        )?;
        writeln!(
            f,
            "  answered by the engine  {engine} (host and kernel, XDP and behind it tc)"
        )?;
        writeln!(f, "  answered in userspace   {userspace}")?;
        writeln!(f, "  answered by the agent   {agent}")?;
        writeln!(f, "  for upstream resolvers  {upstream}")?;
        writeln!(f, "  for the cluster's DNS   {cluster_dns}")?;
        writeln!(f, "  answered by nobody      {ignored}")?;
        writeln!(f, "passed by the engine      {passed:?}")?;
        writeln!(
            f,
            "in zone, no EDNS options  {plain}, of which the engine answered {plain_engine} ({}.{} %)",
            self.engine_permille() / 10,
            self.engine_permille() % 10,
        )?;
        for ((reason, qtype), (count, one)) in plain_passed {
            writeln!(
                f,
                "  it passed               {count} of type {qtype} ({reason}): {one}"
            )?;
        }
        writeln!(f, "allowed differences       {allowed:?}")?;
        writeln!(f, "differences               {differing}")?;
        differences
            .iter()
            .try_for_each(|difference| writeln!(f, "  {difference}"))
    }
}
