//! The plugin `template` (`plugin/template/setup.go`, `template.go`).

use super::super::address::{REVERSE_ZONES, covers};
use super::super::left::Left;
use super::super::rules::{Part, Parts};
use super::super::token::{Token, Words, shown};
use super::names::{Match, fall};
use super::state::{Classifier, PluginError};

/// Types of which the programs answer with records. To a question of another type, they answer
/// with a denial.
const TYPES: [&str; 9] = [
    "A", "AAAA", "SRV", "PTR", "TXT", "SOA", "NS", "CNAME", "ANY",
];

impl Classifier<'_> {
    /// Looks at each template's zones, types and expressions.
    pub(super) fn template(
        &mut self,
        mut words: Words<'_>,
        block: &[String],
    ) -> Result<(), PluginError> {
        while let Some(name) = words.next() {
            let args = words.args();
            let [class, qtype, zones @ ..] = args.as_slice() else {
                return Err(name.error("a template has a class and a type"));
            };
            let mut patterns = Vec::new();
            let mut falls = Vec::new();
            while let Some(option) = words.next_in_block() {
                let args = words.args();
                match &*option.text {
                    "match" => patterns.extend(args),
                    "fallthrough" => falls = fall(&args),
                    _ => {}
                }
            }
            let zones = self.scope.touched_by_arguments(zones, block, false);
            let mut touched = self.templated(zones, &patterns, &falls);
            if !matches!(&*class.text, "IN" | "ANY") {
                self.has_classes |= !touched.is_empty();
                continue;
            }
            if !touched.parts.is_empty() && !TYPES.contains(&&*qtype.text) {
                touched.parts = Part::Denials.into();
            }
            if !touched.is_empty() {
                let mut text = format!(
                    "template: it can answer questions of type {}",
                    shown(&qtype.text)
                );
                if !touched.names.is_empty() {
                    text = format!("{text} for {}", touched.listed(&self.scope.zone));
                }
                self.find(touched, name, text);
            }
        }
        Ok(())
    }

    /// The names for which a template answers: where an expression can match, and where nothing
    /// falls through if none matches.
    fn templated(&self, zones: Parts, patterns: &[&Token], fall: &[String]) -> Left {
        if patterns.is_empty() {
            return zones.into();
        }
        let mut left = patterns.iter().fold(Left::NOTHING, |all, pattern| {
            all.and(&self.scope.matched(Match::Regex, &pattern.text))
        });
        let falls = |zone: &str| fall.iter().any(|it| covers(it, zone));
        let mut kept = Parts::NONE;
        if !falls(&self.scope.zone) {
            kept |= Part::Zone.into();
        }
        if !REVERSE_ZONES.iter().all(|zone| falls(zone)) {
            kept |= Part::Reverse.into();
        }
        left.parts = zones & (left.parts | kept);
        if left.parts.has(Part::Zone) || !zones.has(Part::Zone) {
            left.names.clear();
        }
        left
    }
}
