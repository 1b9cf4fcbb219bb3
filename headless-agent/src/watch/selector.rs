//! Label selectors: the operator's, and those of objects.

use std::collections::BTreeMap;
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

    /// Whether it chooses all objects.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_key = !key.is_empty() && key.bytes().all(plain);
        is_key.then(|| Requirement {
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
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().all(plain).then(|| text.into())
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
        ] {
            let error = text.parse::<Selector>().unwrap_err();
            assert!(error.to_string().contains("no requirement"), "{text}");
        }
    }
}
