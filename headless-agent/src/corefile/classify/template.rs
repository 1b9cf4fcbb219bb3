//! The plugin `template` (`plugin/template/setup.go`, `template.go`).

use super::super::address::{REVERSE_ZONES, covers};
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
            let touched = self.templated(zones, &patterns, &falls);
            if !matches!(&*class.text, "IN" | "ANY") {
                self.has_classes |= !touched.is_empty();
                continue;
            }
            let touched = if TYPES.contains(&&*qtype.text) || touched.is_empty() {
                touched
            } else {
                Part::Denials.into()
            };
            if !touched.is_empty() {
                let text = format!(
                    "template: it can answer questions of type {}",
                    shown(&qtype.text)
                );
                self.find(touched, name, text);
            }
        }
        Ok(())
    }

    /// The parts in which a template answers: where an expression can match, and where nothing
    /// falls through if none matches.
    fn templated(&self, zones: Parts, patterns: &[&Token], fall: &[String]) -> Parts {
        if patterns.is_empty() {
            return zones;
        }
        let matched = patterns.iter().fold(Parts::NONE, |all, pattern| {
            all | self.scope.matched(Match::Regex, &pattern.text)
        });
        let falls = |zone: &str| fall.iter().any(|it| covers(it, zone));
        let mut kept = Parts::NONE;
        if !falls(&self.scope.zone) {
            kept |= Part::Zone.into();
        }
        if !REVERSE_ZONES.iter().all(|zone| falls(zone)) {
            kept |= Part::Reverse.into();
        }
        zones & (matched | kept)
    }
}
