//! Label selectors: of the operator's options, of the Corefile, and of objects.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Chooses objects by their labels
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>).
/// The empty selector chooses all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Box<[Requirement]>);

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The key of the label.
    pub key: Box<str>,
    /// The condition on its value.
    pub test: Test,
}

/// A condition on the value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The label has one of these values.
    In(Box<[Box<str>]>),
    /// The label has none of these values, or is missing.
    NotIn(Box<[Box<str>]>),
    /// There is the label.
    Exists,
    /// There is no such label.
    Missing,
}

/// A text that is no label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no requirement of a label selector, such as `app=web` or `tier in (a,b)`")]
pub struct NoSelector(String);

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&*self.key);
        let among = |values: &[Box<str>]| {
            value.is_some_and(|value| values.iter().any(|other| **other == **value))
        };
        match &self.test {
            Test::In(values) => among(values),
            Test::NotIn(values) => !among(values),
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
        }
    }
}

impl Selector {
    /// The selector of all objects that meet every one of these requirements.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        Self(requirements.into_iter().collect())
    }

    /// Whether an object with exactly these labels is chosen.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|it| it.matches(labels))
    }

    /// Whether every object is chosen that has these labels and perhaps others.
    pub fn matches_all_with(&self, labels: &Labels) -> bool {
        let mut requirements = self.0.iter();
        requirements.all(|it| labels.contains_key(&*it.key) && it.matches(labels))
    }

    /// Bytes that the selector takes beyond its own size.
    pub fn bytes(&self) -> usize {
        let requirements = self.0.iter().map(|it| {
            let values = match &it.test {
                Test::In(values) | Test::NotIn(values) => &**values,
                Test::Exists | Test::Missing => &[],
            };
            let values = values.iter().map(|it| size_of::<Box<str>>() + it.len());
            size_of::<Requirement>() + it.key.len() + values.sum::<usize>()
        });
        requirements.sum()
    }

    /// The keys of the labels that decide, in the order of the requirements. A key comes once for
    /// each requirement.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|it| &*it.key)
    }

    /// Whether the selector chooses all objects.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Selector {
    /// Writes the form that [`Self::from_str`] reads; nothing for the empty selector.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Requirement { key, test }) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            f.write_str(comma)?;
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::Missing => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Selector {
    type Err = NoSelector;

    /// Reads the form that `kubectl --selector` takes.
    fn from_str(text: &str) -> Result<Self, NoSelector> {
        let mut depth = 0_u32;
        let parts = text.split(|char: char| {
            match char {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            char == ',' && depth == 0
        });
        let requirements = parts.map(|part| {
            let part = part.trim();
            requirement(part).ok_or_else(|| NoSelector(part.to_owned()))
        });
        requirements.collect::<Result<_, _>>().map(Self)
    }
}

/// Reads one requirement.
fn requirement(text: &str) -> Option<Requirement> {
    let made = |key: &str, test| {
        let key = key.trim();
        is_key(key).then(|| Requirement {
            key: key.into(),
            test,
        })
    };
    if let Some(key) = text.strip_prefix('!') {
        return made(key, Test::Missing);
    }
    if let Some(list) = text.strip_suffix(')') {
        let (head, values) = list.split_once('(')?;
        let (key, operator) = head.trim_end().rsplit_once(' ')?;
        let values = values.split(',').map(value).collect::<Option<_>>()?;
        return match operator {
            "in" => made(key, Test::In(values)),
            "notin" => made(key, Test::NotIn(values)),
            _ => None,
        };
    }
    let Some((key, rest)) = text.split_once('=') else {
        return made(text, Test::Exists);
    };
    if let Some(key) = key.strip_suffix('!') {
        return made(key, Test::NotIn([value(rest)?].into()));
    }
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    made(key, Test::In([value(rest)?].into()))
}

/// Reads a value, which may be empty.
fn value(text: &str) -> Option<Box<str>> {
    let text = text.trim();
    (text.is_empty() || is_name(text)).then(|| text.into())
}

/// The longest value of a label, and the longest key without its prefix, in bytes.
const NAME_MAX: usize = 63;

/// The longest prefix of a key in bytes.
const PREFIX_MAX: usize = 253;

/// Whether a text can be the key of a label: a name, perhaps below a domain name in small letters
/// (`ValidateLabelName` in k8s.io/apimachinery).
fn is_key(text: &str) -> bool {
    let Some((prefix, name)) = text.split_once('/') else {
        return is_name(text);
    };
    let is_label = |label: &str| {
        let small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = label.bytes();
        bytes.all(|byte| small(byte) || byte == b'-')
            && label.bytes().next().is_some_and(small)
            && label.bytes().next_back().is_some_and(small)
    };
    prefix.len() <= PREFIX_MAX && prefix.split('.').all(is_label) && is_name(name)
}

/// Whether a text can be a value of a label that is not empty (`IsValidLabelValue` in
/// k8s.io/apimachinery).
fn is_name(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_alphanumeric();
    let mut bytes = text.bytes();
    text.len() <= NAME_MAX
        && bytes.all(|byte| alphanumeric(byte) || b"-_.".contains(&byte))
        && text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().next_back().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Whether the selector chooses an object with the labels `app=web` and `tier=front`, and
    /// whether it chooses every object with these labels.
    fn chosen(selector: &str) -> (bool, bool) {
        let selector: Selector = selector.parse().unwrap();
        let labels = labels(&[("app", "web"), ("tier", "front")]);
        (
            selector.matches(&labels),
            selector.matches_all_with(&labels),
        )
    }

    #[test]
    fn every_operator_is_read() {
        const BOTH: (bool, bool) = (true, true);
        const NONE: (bool, bool) = (false, false);
        const SOME: (bool, bool) = (true, false);
        for (selector, expected) in [
            ("app=web", BOTH),
            ("app==web", BOTH),
            (" app = web ", BOTH),
            ("app=api", NONE),
            ("app!=api", BOTH),
            ("app!=web", NONE),
            ("zone!=a", SOME),
            ("app", BOTH),
            ("zone", NONE),
            ("!zone", SOME),
            ("!app", NONE),
            ("app in (api, web)", BOTH),
            ("app in (api)", NONE),
            ("app notin (api,db)", BOTH),
            ("zone notin (a)", SOME),
            ("app notin (web)", NONE),
            ("app=web,tier in (front,back),!zone", SOME),
            ("app=web,tier=back", NONE),
            ("zone=", NONE),
            ("example.com/a_b.c!=x", SOME),
        ] {
            assert_eq!(chosen(selector), expected, "{selector}");
        }
    }

    #[test]
    fn a_selector_is_shown_as_it_is_read() {
        let longest = ["a"; 127].join(".");
        let keys = format!("{longest}/{}", "k".repeat(63));
        for text in [
            "app=web",
            "app=",
            "app in (api,web),!zone",
            "tier notin (a,b)",
            "example.com/a_b.C",
            &keys,
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.to_string(), text);
        }
        assert_eq!(Selector::default().to_string(), "");
    }

    #[test]
    fn the_empty_selector_chooses_all() {
        let all = Selector::default();
        assert!(all.is_empty() && all.matches(&labels(&[])) && all.matches_all_with(&labels(&[])));
    }

    #[test]
    fn other_texts_are_named() {
        for text in [
            "",
            ",",
            "app=web,",
            "=web",
            "!",
            "app in web",
            "app in (web",
            "app of (web)",
            "in (web)",
            "app=we b",
            "app>1",
            "app=a=b",
            "app=web;tier=x",
            "(a)",
            "-app=web",
            "app=web-",
            "a/b/c=d",
            "Example.com/app",
            "example..com/app",
            "/app",
            &"a".repeat(64),
            &format!("app={}", "a".repeat(64)),
            &format!("{}/app", ["a"; 128].join(".")),
        ] {
            let error = text.parse::<Selector>().unwrap_err();
            assert!(error.to_string().contains("no requirement"), "{text}");
        }
    }
}
