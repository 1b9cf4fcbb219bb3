//! The plugin `rewrite` (`plugin/rewrite/rewrite.go`).

use super::super::address::fqdn;
use super::super::left::Left;
use super::super::rules::Part;
use super::super::token::{Token, Words, shown};
use super::names::Match;
use super::state::{Classifier, PluginError};

impl Classifier<'_> {
    /// Looks at each rule's names.
    pub(super) fn rewrite(&mut self, mut words: Words<'_>) -> Result<(), PluginError> {
        while let Some(name) = words.next() {
            let mut args = words.args();
            while let Some(word) = words.next_in_block() {
                args.push(word);
            }
            if let [mode, rest @ ..] = args.as_slice()
                && matches!(mode.text.to_ascii_lowercase().as_str(), "continue" | "stop")
            {
                args = rest.to_vec();
            }
            let [kind, args @ ..] = args.as_slice() else {
                return Err(name.error("a rule of rewrite is empty"));
            };
            let touched = self.rule(kind, args);
            if !touched.is_empty() {
                let rule = shown(&kind.text);
                let mut text = format!("rewrite: a rule for {rule} can match");
                if !touched.names.is_empty() {
                    text = format!("{text} {}", touched.listed(&self.scope.zone));
                }
                self.find(touched, name, text);
            }
        }
        Ok(())
    }

    /// The names that a rule can change.
    fn rule(&self, kind: &Token, args: &[&Token]) -> Left {
        match (kind.text.to_ascii_lowercase().as_str(), args) {
            // Two names without a match type: an exact match.
            ("name", [from, _]) => self.scope.matched(Match::Exact, &fqdn(&from.text)),
            ("name" | "ttl" | "rcode", [how, from, ..]) => {
                let how = match how.text.to_ascii_lowercase().as_str() {
                    "exact" => Match::Exact,
                    "suffix" => Match::Suffix,
                    "prefix" | "substring" => Match::Anywhere,
                    "regex" => Match::Regex,
                    // `ttl NAME TTL` and `rcode NAME OLD NEW`: an exact match.
                    _ => return self.scope.matched(Match::Exact, &fqdn(&how.text)),
                };
                match how {
                    Match::Regex => self.scope.matched(how, &from.text),
                    how => self.scope.matched(how, &fqdn(&from.text)),
                }
            }
            // Any Service's external name may be the target, and the agent answers with CNAMEs.
            ("cname", _) => Part::Zone.into(),
            _ => Left::ALL,
        }
    }
}
