//! Compares the replies to one question.

use anyhow::Context as _;
use headless_agent::records::Forward;
use headless_ebpf::abi::PassReason;
use headless_ebpf::wire::dns::qtype::SRV;
use hickory_proto::op::ResponseCode;

use super::Comparison;
use super::ask::{Form, Question};
use crate::differential::coredns::CoreDns;
use crate::differential::differences::{self, Finding};
use crate::differential::message::Decoded;
use crate::differential::ours::{EngineOutcome, ResolverOutcome};
use crate::differential::{compare, upstream};

/// Header bit "authoritative answer" (RFC 1035, section 4.1.1).
const AA: u16 = 1 << 10;
/// Header bit "recursion available" (RFC 1035, section 4.1.1).
const RA: u16 = 1 << 7;

/// For this many messages that headless ignores, CoreDNS is asked too. More would take
/// long, because each waits for a reply that does not come.
const IGNORED_MAX: u64 = 5;

/// The part of headless that replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The resolver over the index.
    Resolver,
    /// The agent's responder, over UDP.
    Agent,
    /// The engine on the host.
    Engine,
    /// The programs in the kernel.
    Kernel,
}

impl Part {
    const fn label(self) -> &'static str {
        match self {
            Self::Resolver => "resolver",
            Self::Agent => "agent",
            Self::Engine => "engine",
            Self::Kernel => "kernel",
        }
    }
}

/// Whether our SRV answer in place of this one may be partial: it is truncated, or the addresses
/// of a target with several addresses follow it.
fn may_be_partial(theirs: &Decoded) -> bool {
    let [.., additional] = &theirs.sections;
    // The records are sorted by owner name.
    let mut neighbours = additional.windows(2);
    theirs.truncated() || neighbours.any(|it| it[0].owner.eq_ignore_ascii_case(&it[1].owner))
}

impl Comparison {
    /// Puts a question to CoreDNS and to all parts of headless, and compares the replies.
    pub(super) fn compare(&mut self, question: &Question<'_>) -> anyhow::Result<()> {
        let query = question.query;
        self.report.questions += 1;
        let outcome = self.ours.by_resolver(query);
        if let ResolverOutcome::Ignored = outcome {
            return self.check_ignored(question);
        }
        // CoreDNS may not reply to these names. Waiting the short time first avoids the
        // long one.
        if differences::asks_below(query, &self.exceptions.without_service)
            && self.coredns.ignores(query)?
        {
            self.differ(Part::Resolver, question, None, None, "CoreDNS is silent");
            return Ok(());
        }
        let bytes = self.coredns.ask(query)?;
        let theirs = Decoded::new(&bytes).with_context(|| bytes.escape_ascii().to_string())?;
        *self.report.rcodes.entry(theirs.rcode()).or_default() += 1;
        // Without the plugin `forward`, CoreDNS refuses all classes but IN (`ServeDNS` in
        // `core/dnsserver/server.go`).
        let refused = theirs.rcode() == u16::from(ResponseCode::Refused);
        if refused && !self.plan.choices.upstream && !theirs.question.ends_with(&[0, 1]) {
            return self.check_class(question, &outcome);
        }
        self.report.truncated += u64::from(theirs.truncated());
        if self.plan.choices.distribution.is_none() {
            self.compare_rules(question, outcome, &theirs)?;
        }
        self.compare_engine(question, &theirs)
    }

    /// Compares the reply of the resolver, and of the agent, which answers by the same rules.
    fn compare_rules(
        &mut self,
        question: &Question<'_>,
        outcome: ResolverOutcome,
        theirs: &Decoded,
    ) -> anyhow::Result<()> {
        let query = question.query;
        match outcome {
            ResolverOutcome::Ignored => {}
            ResolverOutcome::Reply(ours) => {
                self.report.resolver += 1;
                self.judge(Part::Resolver, question, theirs, &ours);
                if let Some(agent) = &self.agent {
                    let ours = agent.ask(query)?;
                    self.report.agent += 1;
                    self.judge(Part::Agent, question, theirs, &ours);
                }
            }
            ResolverOutcome::Chased(ours) => {
                self.report.resolver += 1;
                self.judge(Part::Resolver, question, theirs, &ours);
                // The agent has no upstream resolver.
                if let (Some(agent), false) = (&self.agent, self.plan.choices.upstream) {
                    let ours = agent.ask(query)?;
                    self.report.agent += 1;
                    self.report.chased += 1;
                    self.judge(Part::Agent, question, theirs, &ours);
                }
            }
            ResolverOutcome::Forward(Forward::ClusterDns) => {
                self.report.cluster_dns += 1;
                self.check_refused(question)?;
            }
            ResolverOutcome::Forward(Forward::Upstream) => {
                self.report.upstream += 1;
                self.check_refused(question)?;
                self.check_upstream(question, theirs);
            }
        }
        Ok(())
    }

    /// Checks that headless leaves a question of another class than IN to CoreDNS, which has
    /// refused it.
    fn check_class(
        &mut self,
        question: &Question<'_>,
        outcome: &ResolverOutcome,
    ) -> anyhow::Result<()> {
        let Question { query, text, .. } = *question;
        self.report.refused_classes += 1;
        let handled = self.ours.by_engine(query)?;
        let kernel = self.ours.by_programs(query)?;
        if !matches!(outcome, ResolverOutcome::Forward(Forward::ClusterDns))
            || !matches!(handled, EngineOutcome::Pass(_))
            || kernel.is_some()
        {
            self.report.differ(format!(
                "{text}: CoreDNS refuses the class; resolver {outcome:?}, engine {handled:?}, \
                 programs {kernel:?}"
            ));
        }
        Ok(())
    }

    /// Checks that CoreDNS ignores a message that headless ignores.
    fn check_ignored(&mut self, question: &Question<'_>) -> anyhow::Result<()> {
        let ignored = self.report.ignored;
        self.report.ignored += 1;
        if ignored < IGNORED_MAX && !self.coredns.ignores(question.query)? {
            let text = question.text;
            self.report
                .differ(format!("{text}: CoreDNS replies, headless does not"));
        }
        Ok(())
    }

    /// Checks that the agent refuses a question for others. It forwards nothing.
    fn check_refused(&mut self, question: &Question<'_>) -> anyhow::Result<()> {
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let reply = Decoded::new(&agent.ask(question.query)?)?;
        if reply.rcode() != u16::from(ResponseCode::Refused) {
            let (text, rcode) = (question.text, reply.rcode());
            self.report
                .differ(format!("{text}: agent: RCODE {rcode}, not REFUSED"));
        }
        Ok(())
    }

    /// Checks that CoreDNS's reply comes from its upstream resolver.
    fn check_upstream(&mut self, question: &Question<'_>, theirs: &Decoded) {
        if question.form == Form::Mangled || !self.plan.choices.upstream {
            return;
        }
        if let Some(reason) = not_from_upstream(question.query, theirs) {
            let difference = format!("left to upstream, but CoreDNS answers itself: {reason}");
            self.differ(Part::Resolver, question, Some(theirs), None, &difference);
        }
    }

    /// Puts a question to the engine, on the host and in the kernel.
    fn compare_engine(&mut self, question: &Question<'_>, theirs: &Decoded) -> anyhow::Result<()> {
        let Question { query, text, form } = *question;
        let plain = form == Form::Plain;
        self.report.plain += u64::from(plain);
        let handled = self.ours.by_engine(query)?;
        let kernel = self.ours.by_programs(query)?;
        // Each begins an SRV answer that may be partial with a random target. How many steps the
        // reply takes depends on this target, and a reply of too many steps passes.
        let takes_turns = qtype(query) == Some(&SRV.to_be_bytes()) && may_be_partial(theirs);
        match (handled, kernel) {
            (EngineOutcome::Reply(host), None) if takes_turns => {
                self.judge(Part::Engine, question, theirs, &host);
            }
            (EngineOutcome::Pass(PassReason::TooLarge), Some(kernel)) if takes_turns => {
                self.judge(Part::Kernel, question, theirs, &kernel);
            }
            (EngineOutcome::Reply(host), Some(kernel)) => {
                self.report.engine += 1;
                self.report.plain_engine += u64::from(plain);
                self.judge(Part::Engine, question, theirs, &host);
                self.judge(Part::Kernel, question, theirs, &kernel);
            }
            (EngineOutcome::Pass(reason), None) => {
                *self.report.passed.entry(reason.label()).or_default() += 1;
                if plain {
                    let qtype = qtype(query).copied().map_or(0, u16::from_be_bytes);
                    let passed = &mut self.report.plain_passed;
                    let entry = passed.entry((reason.label(), qtype));
                    entry.or_insert_with(|| (0, text.to_owned())).0 += 1;
                }
            }
            (host, kernel) => self.report.differ(format!(
                "{text}: the engine on the host gives {host:?}, the programs {kernel:?}"
            )),
        }
        Ok(())
    }

    /// Compares a reply of headless with CoreDNS's, and records a difference.
    fn judge(&mut self, part: Part, question: &Question<'_>, theirs: &Decoded, ours: &[u8]) {
        let decoded = Decoded::new(ours);
        let difference = match &decoded {
            Ok(ours) => compare::difference(theirs, ours, || {
                Decoded::new(&CoreDns::ask_tcp(question.query)?)
            }),
            Err(error) => Some(format!("{error:#} in {}", ours.escape_ascii())),
        };
        if let Some(difference) = difference {
            let ours = decoded.as_ref().ok();
            self.differ(part, question, Some(theirs), ours, &difference);
        }
    }

    /// Records a difference, under its name if it is allowed.
    fn differ(
        &mut self,
        part: Part,
        question: &Question<'_>,
        theirs: Option<&Decoded>,
        ours: Option<&Decoded>,
        difference: &str,
    ) {
        let finding = Finding {
            query: question.query,
            theirs,
            ours,
            exceptions: &self.exceptions,
            agent: part == Part::Agent,
        };
        if let Some(name) = differences::allowed(&finding) {
            *self.report.allowed.entry(name).or_default() += 1;
        } else {
            let (text, part) = (question.text, part.label());
            self.report.differ(format!("{text}: {part}: {difference}"));
        }
    }
}

/// The question type in a query; `None` if the name is malformed.
fn qtype(query: &[u8]) -> Option<&[u8; 2]> {
    let mut at = 12;
    loop {
        match usize::from(*query.get(at)?) {
            0 => return query.get(at + 1..)?.first_chunk(),
            len => at += 1 + len,
        }
    }
}

/// Why a reply cannot come from the upstream resolver; `None` if it can.
fn not_from_upstream(query: &[u8], theirs: &Decoded) -> Option<String> {
    if theirs.flags & RA == 0 || theirs.flags & AA != 0 {
        return Some(format!("the flags are {:#06x}", theirs.flags));
    }
    let (name, qtype) = upstream::question(query)?;
    let (rcode, records) = upstream::lookup(&name, qtype);
    if u16::from(rcode) == theirs.rcode() && records.len() == theirs.sections[0].len() {
        return None;
    }
    Some(format!(
        "RCODE {} with {} records, not {} with {}",
        theirs.rcode(),
        theirs.sections[0].len(),
        u16::from(rcode),
        records.len()
    ))
}
