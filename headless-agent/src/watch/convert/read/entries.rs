//! Maps of which few entries matter. A tenant may give an object 1.5 MB of labels.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The label by which an EndpointSlice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The label that names a slice's Service, where the object has it.
pub(super) struct Labels(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        labels(deserializer, |key| key == SERVICE_NAME_LABEL).map(Self)
    }
}

/// Reads the labels whose keys are `wanted`.
///
/// # Errors
/// Where there is no map, or a wanted label has no text.
pub fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, String>, D::Error> {
    deserializer.deserialize_map(LabelsVisitor(wanted))
}

struct LabelsVisitor<F>(F);

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for LabelsVisitor<F> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if (self.0)(&key) {
                labels.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(labels)
    }
}

/// Whether a map has entries. Null has none.
pub(super) fn has_entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let entries = Option::<HasEntries>::deserialize(deserializer)?;
    Ok(entries.is_some_and(|HasEntries(has)| has))
}

struct HasEntries(bool);

impl<'de> Deserialize<'de> for HasEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HasEntriesVisitor)
    }
}

struct HasEntriesVisitor;

impl<'de> Visitor<'de> for HasEntriesVisitor {
    type Value = HasEntries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut has = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            has = true;
        }
        Ok(HasEntries(has))
    }
}
