//! Which names of the zone, and which reverse names, a rule of a plugin can match.

use super::super::address::{REVERSE_ZONES, argument_zones, overlap};
use super::super::rules::{Part, Parts};
use super::super::token::Token;

/// The names for which the programs answer.
pub(super) struct Scope {
    /// The zone.
    pub(super) zone: String,
}

/// How a rule compares names, which end with a dot (`rewrite/name.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Exact,
    Suffix,
    /// Anything in a name: a prefix or a part of it.
    Anywhere,
    Regex,
}

impl Scope {
    /// The parts whose names lie in one of the zones.
    pub(super) fn touched(&self, zones: &[String]) -> Parts {
        let mut parts = Parts::NONE;
        for zone in zones {
            if overlap(zone, &self.zone) {
                parts |= Part::Zone.into();
            }
            if REVERSE_ZONES.iter().any(|reverse| overlap(zone, reverse)) {
                parts |= Part::Reverse.into();
            }
        }
        parts
    }

    /// As [`Self::touched`], for the zones that arguments name, or for `zones` where there are no
    /// arguments. With `hosted`, colons separate a zone from the names of its provider.
    pub(super) fn touched_by_arguments(
        &self,
        args: &[&Token],
        zones: &[String],
        hosted: bool,
    ) -> Parts {
        if args.is_empty() {
            return self.touched(zones);
        }
        let named: Vec<String> = if hosted {
            let pieces = args.iter().flat_map(|arg| arg.text.split(':'));
            pieces.map(super::super::address::fqdn).collect()
        } else {
            let zones = args.iter().flat_map(|arg| argument_zones(&arg.text));
            zones.collect()
        };
        self.touched(&named)
    }

    /// The parts with names that a rule can match. `pattern` is in small letters and has a final
    /// dot, unless it is a regular expression.
    pub(super) fn matched(&self, how: Match, pattern: &str) -> Parts {
        let can_match = |zone: &str| match how {
            Match::Exact => super::super::address::covers(zone, pattern),
            Match::Suffix => zone.ends_with(pattern) || pattern.ends_with(zone),
            Match::Anywhere => true,
            Match::Regex => match literal_end(pattern) {
                Some(end) => zone.ends_with(&end) || end.ends_with(zone),
                None => true,
            },
        };
        let mut parts = Parts::NONE;
        if can_match(&self.zone) {
            parts |= Part::Zone.into();
        }
        if REVERSE_ZONES.iter().any(|zone| can_match(zone)) {
            parts |= Part::Reverse.into();
        }
        parts
    }
}

/// The characters with which every name ends that a regular expression matches, the final dot
/// included. `None` where they cannot be told: no `$` at the end, alternatives, or anything else
/// but letters, digits, `-`, `_` and `\.` before it.
fn literal_end(pattern: &str) -> Option<String> {
    let body = pattern.strip_suffix('$').filter(|it| !it.ends_with('\\'))?;
    if has_alternatives(body) || body.contains("\\Q") {
        return None;
    }
    // A name ends with a dot, whether the expression asks for the dot or not.
    let body = body
        .strip_suffix("\\.?")
        .or_else(|| body.strip_suffix("\\."))
        .unwrap_or(body);
    let mut end = Vec::new();
    let mut chars = body.chars().rev().peekable();
    while let Some(char) = chars.next() {
        match char {
            '.' if chars.peek() == Some(&'\\') => {
                chars.next();
                if chars.peek() == Some(&'\\') {
                    break;
                }
                end.push('.');
            }
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' if chars.peek() != Some(&'\\') => {
                end.push(char.to_ascii_lowercase());
            }
            _ => break,
        }
    }
    end.reverse();
    let end: String = end.into_iter().chain(['.']).collect();
    (end.len() > 1).then_some(end)
}

/// Whether an expression has a `|` outside of all parentheses.
fn has_alternatives(pattern: &str) -> bool {
    let mut depth = 0_usize;
    let mut in_class = false;
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => {
                chars.next();
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => depth = depth.saturating_sub(1),
            '|' if depth == 0 && !in_class => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_anchored_expression_is_known() {
        let end = |pattern| literal_end(pattern);
        assert_eq!(
            end(r"(.*)\.example\.com\.$").as_deref(),
            Some(".example.com.")
        );
        assert_eq!(
            end(r"(.*)\.example\.com$").as_deref(),
            Some(".example.com.")
        );
        assert_eq!(
            end(r"^api\.Example\.com\.?$").as_deref(),
            Some("api.example.com.")
        );
        assert_eq!(end(r"(a|b)\.com\.$").as_deref(), Some(".com."));
        assert_eq!(end(r"x*\.com\.$").as_deref(), Some(".com."));
        for unknown in [
            r"(.*)\.example\.com",
            r"a|b\.com$",
            r"(a|b)$",
            r".*$",
            r"\.$",
            r"com\$",
            r"\Qa.b\E$",
            r"a[|$",
        ] {
            assert_eq!(end(unknown), None, "{unknown}");
        }
        // A class such as `\d` is no letter.
        assert_eq!(end(r"\dcom$").as_deref(), Some("com."));
        assert_eq!(end(r"a\d$"), None);
    }

    #[test]
    fn rules_match_names_of_the_zone_or_not() {
        let scope = Scope {
            zone: "cluster.local.".to_owned(),
        };
        let zone = |how, pattern| scope.matched(how, pattern).has(Part::Zone);
        assert!(zone(Match::Exact, "a.default.svc.cluster.local."));
        assert!(!zone(Match::Exact, "cluster.local.example.com."));
        for suffix in [
            "local.",
            ".",
            "ter.local.",
            ".svc.cluster.local.",
            "cluster.local.",
        ] {
            assert!(zone(Match::Suffix, suffix), "{suffix}");
        }
        assert!(!zone(Match::Suffix, ".example.com."));
        assert!(zone(Match::Regex, r"(.*)\.my\.domain"));
        assert!(!zone(Match::Regex, r"(.*)\.my\.domain\.$"));
        assert!(zone(Match::Regex, r"(.*)\.svc\.cluster\.local\.$"));
        let reverse = scope.matched(Match::Suffix, ".10.in-addr.arpa.");
        assert!(reverse.has(Part::Reverse) && !reverse.has(Part::Zone));
    }
}
