//! Counts questions, replies and differences of one run, and prints them.

use std::collections::BTreeMap;
use std::fmt;

/// Number of differences that are shown in full.
const SHOWN_MAX: usize = 40;

/// Counts of one run.
#[derive(Debug, Default)]
pub struct Report {
    /// Questions asked.
    pub questions: u64,
    /// Questions that the engine answered. Each was answered on the host and in the
    /// kernel, and both replies were compared.
    pub engine: u64,
    /// Questions that the engine passed, by reason.
    pub passed: BTreeMap<&'static str, u64>,
    /// Replies of the resolver that were compared.
    pub resolver: u64,
    /// Replies of the agent over UDP that were compared.
    pub agent: u64,
    /// Replies of the agent with a CNAME that leads out of the zone.
    pub chased: u64,
    /// Questions that the resolver leaves to upstream resolvers.
    pub upstream: u64,
    /// Questions that the resolver leaves to the cluster's DNS.
    pub cluster_dns: u64,
    /// Questions whose class CoreDNS refuses, and headless leaves to it.
    pub refused_classes: u64,
    /// Messages that the resolver ignores.
    pub ignored: u64,
    /// Replies of CoreDNS by RCODE.
    pub rcodes: BTreeMap<u16, u64>,
    /// Replies of CoreDNS with TC.
    pub truncated: u64,
    /// Plain questions: for names in the zone, with EDNS options that the programs read, not about
    /// Services that lead to other names.
    pub plain: u64,
    /// Plain questions that the engine answered.
    pub plain_engine: u64,
    /// Plain questions that the engine passed. By reason and question type: the count and
    /// one example.
    pub plain_passed: BTreeMap<(&'static str, u16), (u64, String)>,
    /// Allowed differences, by name.
    pub allowed: BTreeMap<&'static str, u64>,
    /// Number of differences that are not allowed.
    pub differing: u64,
    /// The first `SHOWN_MAX` differences that are not allowed.
    pub differences: Vec<String>,
}

impl Report {
    /// Records a difference that is not allowed.
    pub fn differ(&mut self, difference: String) {
        self.differing += 1;
        if self.differences.len() < SHOWN_MAX {
            self.differences.push(difference);
        }
    }

    /// Share of the plain questions that the engine answered, in thousandths.
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
            resolver,
            agent,
            chased,
            upstream,
            cluster_dns,
            refused_classes,
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
            "  CoreDNS by RCODE        {rcodes:?}, {truncated} truncated"
        )?;
        writeln!(
            f,
            "  engine answered         {engine} (on the host and in the kernel; tc after XDP)"
        )?;
        writeln!(f, "  engine passed           {passed:?}")?;
        writeln!(f, "  resolver answered       {resolver}")?;
        writeln!(f, "  left to upstream        {upstream}")?;
        writeln!(f, "  left to cluster's DNS   {cluster_dns}")?;
        writeln!(f, "  refused by their class  {refused_classes}")?;
        writeln!(f, "  ignored                 {ignored}")?;
        writeln!(
            f,
            "  agent answered          {agent}, of which {chased} with a CNAME out of the zone"
        )?;
        writeln!(
            f,
            "plain questions           {plain}, of which the engine answered {plain_engine} ({}.{} %)",
            self.engine_permille() / 10,
            self.engine_permille() % 10,
        )?;
        for ((reason, qtype), (count, example)) in plain_passed {
            writeln!(
                f,
                "  engine passed           {count} of type {qtype} ({reason}), such as {example}"
            )?;
        }
        writeln!(f, "allowed differences       {allowed:?}")?;
        writeln!(f, "differences               {differing}")?;
        differences
            .iter()
            .try_for_each(|difference| writeln!(f, "  {difference}"))
    }
}
