//! Which names of the zone, and which reverse names, a rule of a plugin can match.

use regex_syntax::hir::Look;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::super::address::{REVERSE_ZONES, argument_zones, covers, fqdn, overlap};
use super::super::left::Left;
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

/// The zones that arguments name, or `zones` where there are no arguments.
pub(super) fn zones_or(args: &[&Token], zones: &[String]) -> Vec<String> {
    if args.is_empty() {
        return zones.to_vec();
    }
    args.iter()
        .flat_map(|it| argument_zones(&it.text))
        .collect()
}

/// The zones in which a plugin lets questions fall through to the next one, by the arguments of
/// `fallthrough` (`plugin/pkg/fall/fall.go`).
pub(super) fn fall(args: &[&Token]) -> Vec<String> {
    zones_or(args, &[".".to_owned()])
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
        if hosted && !args.is_empty() {
            let pieces = args.iter().flat_map(|arg| arg.text.split(':'));
            return self.touched(&pieces.map(fqdn).collect::<Vec<_>>());
        }
        self.touched(&zones_or(args, zones))
    }

    /// The names that a rule can match: single ones where the rule names them, else parts.
    /// `pattern` is in small letters and has a final dot, unless it is a regular expression.
    pub(super) fn matched(&self, how: Match, pattern: &str) -> Left {
        let names = match how {
            Match::Exact => Some(vec![pattern.to_owned()]),
            Match::Regex => names(pattern),
            Match::Suffix | Match::Anywhere => None,
        };
        if let Some(names) = names {
            return names.iter().fold(Left::NOTHING, |left, name| {
                let parts = if REVERSE_ZONES.iter().any(|zone| covers(zone, name)) {
                    Part::Reverse.into()
                } else {
                    Left::name(&self.zone, name)
                };
                left.and(&parts)
            });
        }
        let can_match = |zone: &str| match how {
            Match::Suffix => zone.ends_with(pattern) || pattern.ends_with(zone),
            Match::Exact | Match::Anywhere => true,
            Match::Regex => ends(pattern).is_none_or(|ends| {
                let mut ends = ends.iter();
                ends.any(|end| zone.ends_with(end) || end.ends_with(zone))
            }),
        };
        let mut parts = Parts::NONE;
        if can_match(&self.zone) {
            parts |= Part::Zone.into();
        }
        if REVERSE_ZONES.iter().any(|zone| can_match(zone)) {
            parts |= Part::Reverse.into();
        }
        parts.into()
    }
}

/// The names that a regular expression matches, with the final dot, if it asks for a name's begin
/// and end and there are few.
fn names(pattern: &str) -> Option<Vec<String>> {
    let expression = regex_syntax::parse(pattern).ok()?;
    let properties = expression.properties();
    let is_whole = properties.look_set_prefix().contains(Look::Start)
        && properties.look_set_suffix().contains(Look::End);
    let names = Extractor::new().extract(&expression);
    if !is_whole || !names.is_exact() {
        return None;
    }
    let names = names.literals()?.iter().map(|literal| {
        let name = std::str::from_utf8(literal.as_bytes()).ok()?;
        Some(fqdn(name))
    });
    names.collect()
}

/// The ends of the names that a regular expression matches, with the final dot: every such name
/// has one of them. `None` where they cannot be told, because the expression does not ask for a
/// name's end, has too many ends, or uses syntax of Go alone.
fn ends(pattern: &str) -> Option<Vec<String>> {
    let expression = regex_syntax::parse(pattern).ok()?;
    if !expression
        .properties()
        .look_set_suffix()
        .contains(Look::End)
    {
        return None;
    }
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Suffix);
    let suffixes = extractor.extract(&expression);
    let ends = suffixes.literals()?.iter().map(|literal| {
        let end = std::str::from_utf8(literal.as_bytes()).ok()?;
        // A name ends with a dot, whether the expression asks for the dot or not.
        Some(fqdn(end))
    });
    ends.collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_ends_of_an_anchored_expression_are_known() {
        let is = |pattern, expected: &[&str]| {
            let mut found = ends(pattern).unwrap();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, expected, "{pattern}");
        };
        is(r"(.*)\.example\.com\.$", &[".example.com."]);
        is(r"(.*)\.example\.com$", &[".example.com."]);
        is(r"^api\.Example\.com\.?$", &["api.example.com."]);
        is(r"(a|b)\.com\.$", &["a.com.", "b.com."]);
        is(r"(a|b)$", &["a.", "b."]);
        is(r"(?i)\.io$", &[".io."]);
        for (pattern, end) in [(r"x*\.com\.$", ".com."), (r"\dcom$", "com.")] {
            assert!(ends(pattern).unwrap().iter().all(|it| it.ends_with(end)));
        }
        for unknown in [
            r"(.*)\.example\.com",
            r"a|b\.com$",
            r"(?m)\.com$",
            r"com\$",
            r"\Qa.b\E$",
            r"a[|$",
        ] {
            assert_eq!(ends(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn rules_match_names_of_the_zone_or_not() {
        let scope = Scope {
            zone: "cluster.local.".to_owned(),
        };
        let zone = |how, pattern| scope.matched(how, pattern).parts.has(Part::Zone);
        let names = |how, pattern| {
            let Left { parts, names } = scope.matched(how, pattern);
            assert_eq!(parts, Parts::NONE, "{pattern}");
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let exact = names(Match::Exact, "a.default.svc.cluster.local.");
        assert_eq!(exact, ["a.default.svc"]);
        assert!(names(Match::Exact, "cluster.local.example.com.").is_empty());
        let literal = names(Match::Regex, r"^(db|Web)\.cluster\.local\.?$");
        assert_eq!(literal, ["db", "web"]);
        assert!(names(Match::Regex, r"^db\.example\.com\.$").is_empty());
        for open in [
            r"^db\.cluster\.local\.",
            r"db\.cluster\.local\.$",
            r"^d.*b\.cluster\.local\.$",
            r"^a\.cluster\.local\.$|b\.cluster\.local\.$",
            r"^(?i:abcdefghi)\.cluster\.local\.$",
            r"^[a-z]+\.cluster\.local\.$",
        ] {
            assert!(zone(Match::Regex, open), "{open}");
        }
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
        for any in [
            r"(.*)\.my\.domain\.|x$",
            ".*$",
            r"\.$",
            r"[a-z]+\.$",
            r"a\d$",
        ] {
            assert!(zone(Match::Regex, any), "{any}");
        }
        let reverse = scope.matched(Match::Suffix, ".10.in-addr.arpa.");
        assert_eq!(reverse, Part::Reverse.into());
        let reverse = scope.matched(Match::Exact, "1.0.0.10.in-addr.arpa.");
        assert_eq!(reverse, Part::Reverse.into());
    }
}
