//! Relative names, as index and maps store them.

use std::fmt;

/// Most bytes of a relative name, which is the size of the largest key.
pub const RELATIVE_BYTES_MAX: usize = headless_ebpf::abi::KEY_WORDS_MAX * 8;

/// The labels of an owner name left of `svc.<zone>`, in lower case and wire form, without
/// the root: `\5web-0\5nginx\7default`. One label names a namespace, two a Service, three
/// an endpoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativeName(Box<[u8]>);

impl RelativeName {
    /// The name of these labels, leftmost first, in any case.
    ///
    /// `None` where a label is empty, contains a dot or is longer than 63 bytes, and where
    /// the name is longer than [`RELATIVE_BYTES_MAX`] bytes (RFC 1035, section 2.3.4).
    pub fn from_labels<'a>(
        labels: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
    ) -> Option<Self> {
        let labels = labels.into_iter();
        let len = labels.clone().map(|label| 1 + label.len()).sum();
        let mut bytes = Vec::with_capacity(len);
        for label in labels {
            if label.contains('.') || !push_label(&mut bytes, label.as_bytes()) {
                return None;
            }
        }
        (bytes.len() <= RELATIVE_BYTES_MAX).then(|| Self(bytes.into()))
    }

    /// The name of this label below `self`. `None` as in [`Self::from_labels`].
    pub(super) fn below(&self, label: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(1 + label.len() + self.0.len());
        let is_label = !label.contains('.') && push_label(&mut bytes, label.as_bytes());
        bytes.extend(&self.0);
        (is_label && bytes.len() <= RELATIVE_BYTES_MAX).then(|| Self(bytes.into()))
    }

    /// The bytes: each label behind its length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> WireLabels<'_> {
        WireLabels(&self.0)
    }
}

/// Appends a label in lower case. Returns `false` where the label is empty or longer than
/// 63 bytes.
pub(super) fn push_label(bytes: &mut Vec<u8>, label: &[u8]) -> bool {
    let Some(len) = u8::try_from(label.len())
        .ok()
        .filter(|len| (1..64).contains(len))
    else {
        return false;
    };
    bytes.push(len);
    bytes.extend(label.iter().map(u8::to_ascii_lowercase));
    true
}

impl fmt::Display for RelativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, label) in self.labels().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            write!(f, "{}", label.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for RelativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelativeName({self})")
    }
}

/// Iterator over the labels of a name in wire form without the root. It ends early where a
/// length leads beyond the bytes.
#[derive(Clone, Debug)]
pub struct WireLabels<'a>(&'a [u8]);

impl<'a> WireLabels<'a> {
    /// Iterates over the labels of these bytes.
    pub const fn new(wire: &'a [u8]) -> Self {
        Self(wire)
    }
}

impl<'a> Iterator for WireLabels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.0.split_first()?;
        let (label, rest) = rest.split_at_checked(len.into())?;
        self.0 = rest;
        Some(label)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use headless_ebpf::abi::NameKey;

    use super::*;

    #[test]
    fn is_what_the_key_is_made_of() {
        let name = RelativeName::from_labels(["Web-0", "nginx", "default"]).unwrap();
        assert_eq!(name.as_bytes(), b"\x05web-0\x05nginx\x07default");
        let service = RelativeName::from_labels(["nginx", "default"]).unwrap();
        assert_eq!(service.below("Web-0").unwrap(), name);
        assert_eq!(name.to_string(), "web-0.nginx.default");
        let (key, len) = NameKey::from_labels(name.labels()).unwrap();
        assert_eq!(len, name.as_bytes().len());
        assert_eq!(&bytemuck::bytes_of(&key)[..len], name.as_bytes());
    }

    #[test]
    fn refuses_texts_that_are_no_labels() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        assert!(RelativeName::from_labels([long.as_str()]).is_some());
        assert_eq!(RelativeName::from_labels([longer.as_str()]), None);
        assert_eq!(RelativeName::from_labels(["a", "", "b"]), None);
        assert_eq!(RelativeName::from_labels(["a.b", "c"]), None);
        let four = [long.as_str(); 4];
        assert_eq!(RelativeName::from_labels(four), None, "256 bytes");
        let three = RelativeName::from_labels([long.as_str(); 3]).unwrap();
        assert_eq!(three.below(&long), None, "256 bytes");
        assert_eq!((three.below("a.b"), three.below("")), (None, None));
        let rest = "a".repeat(RELATIVE_BYTES_MAX - 3 * 64 - 1);
        let fits = [long.as_str(), &long, &long, &rest];
        assert_eq!(
            RelativeName::from_labels(fits).unwrap().as_bytes().len(),
            RELATIVE_BYTES_MAX
        );
    }
}
