//! Asks the questions of one round.

use anyhow::Context as _;
use fastrand::Rng;

use super::Comparison;
use crate::differential::questions::{self, Plain, Questions};

/// The form of a query. It decides what the comparison may expect of the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Asks as libraries do, for a name of the zone that leads to no other name. The
    /// engine is expected to answer nearly all of these.
    Plain,
    /// Every other well-formed query.
    Unusual,
    /// Some bytes are wrong. CoreDNS may fail to forward such a query.
    Mangled,
}

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The DNS message.
    pub(super) query: &'a [u8],
    /// The message as text.
    pub(super) text: &'a str,
    pub(super) form: Form,
}

impl Comparison {
    /// Asks as many questions as the plan says, and a twentieth of them once more with
    /// wrong bytes.
    pub(super) fn ask(&mut self, seed: u64) -> anyhow::Result<()> {
        let zone = self.plan.choices.zone;
        let mut questions = Questions::new(seed, zone, &self.cluster);
        let queries = questions.queries(self.plan.questions);
        self.exceptions = questions::exceptions(&self.cluster);
        let plain = Plain::new(zone, &self.cluster);
        for query in &queries {
            let form = if plain.includes(query) {
                Form::Plain
            } else {
                Form::Unusual
            };
            let text = query.show();
            self.compare(&Question {
                query: &query.bytes(),
                text: &text,
                form,
            })
            .context(text)?;
        }
        let mut rng = Rng::with_seed(seed);
        for query in queries.iter().take(self.plan.questions / 20) {
            let bytes = questions::mangled(query, &mut rng);
            let text = format!("mangled {} from {}", bytes.escape_ascii(), query.show());
            self.compare(&Question {
                query: &bytes,
                text: &text,
                form: Form::Mangled,
            })
            .context(text)?;
        }
        Ok(())
    }
}
