//! Problems of objects, as values that can be counted and printed.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::excerpt::{Excerpt, Printable};

/// The most problems of an object that are kept. The others are only counted, because each
/// address of an object can be a problem.
pub const PROBLEMS_KEPT: usize = 8;

/// The most problems of a file of manifests that are kept.
pub const FILE_PROBLEMS_KEPT: usize = 1000;

/// A part of an object that cannot be served. The rest of the object is served.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}{}: {}", Printable(.object), Field(.field), Printable(.reason))]
pub struct Problem {
    /// The object, for example `EndpointSlice default/web-abc`. In front of it, or in its
    /// place where the object is unknown, stand file and document of a manifest.
    pub object: String,
    /// The field, for example `endpoints[2].addresses[0]`. Empty where the problem is not
    /// about a field.
    pub field: String,
    /// The problem.
    pub reason: Reason,
}

/// Prints `: ` and the field, unless it is empty.
struct Field<'a>(&'a str);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", Printable(self.0))
    }
}

/// The problems of an object or a file: the first ones, and how many there are for each reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Problems {
    kept: Vec<Problem>,
    counts: BTreeMap<&'static str, u64>,
}

impl Problems {
    /// Adds a problem of the object. Beyond [`PROBLEMS_KEPT`] it is only counted.
    pub fn add(&mut self, problem: Problem) {
        *self.counts.entry(problem.reason.label()).or_default() += 1;
        if self.kept.len() < PROBLEMS_KEPT {
            self.kept.push(problem);
        }
    }

    /// Adds the problems of another object of the same file. Beyond [`FILE_PROBLEMS_KEPT`] they
    /// are only counted.
    pub fn extend(&mut self, other: impl Into<Self>) {
        let Self { kept, counts } = other.into();
        let room = FILE_PROBLEMS_KEPT.saturating_sub(self.kept.len());
        self.kept.extend(kept.into_iter().take(room));
        for (reason, count) in counts {
            *self.counts.entry(reason).or_default() += count;
        }
    }

    /// The same problems, with the place of the object in front of the object.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        for problem in &mut self.kept {
            problem.object = format!("{place}: {}", problem.object);
        }
        self
    }

    /// Whether there is no problem.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The problems that are kept.
    pub fn kept(&self) -> &[Problem] {
        &self.kept
    }

    /// The number of problems by the label of their reason. Problems that are not kept count, too.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// A phrase for all problems but the first `shown`: their number in all and for each reason.
    /// `None` where there are none.
    pub fn others(&self, shown: usize) -> Option<String> {
        let mut counts = self.counts.clone();
        for problem in self.kept.iter().take(shown) {
            if let Some(count) = counts.get_mut(problem.reason.label()) {
                *count = count.saturating_sub(1);
            }
        }
        counts.retain(|_, count| *count > 0);
        let reasons = counts
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        let number: u64 = counts.values().sum();
        (number > 0).then(|| format!("{number} more ({reasons})"))
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        let mut problems = Self::default();
        problems.add(problem);
        problems
    }
}

/// The problems of one object or file. Replaces every earlier report about it. A report without
/// problems says that the object or file is right again, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The object ([`super::ObjectRef`] as text) or the file.
    pub about: String,
    /// The problems of the object or file.
    pub problems: Problems,
}

/// Problems in the one line of [`Report::summary`].
const SUMMARY_MAX: usize = 3;

impl Report {
    /// A line for each problem that is kept, and one for the number of the others.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let kept = self.problems.kept();
        let others = self.problems.others(kept.len());
        let others = others.map(|others| format!("{}: {others}", Printable(&self.about)));
        kept.iter().map(ToString::to_string).chain(others)
    }

    /// The first problems and the number of the others, in one line.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for problem in self.problems.kept().iter().take(SUMMARY_MAX) {
            let separator = if text.is_empty() { "" } else { "; " };
            // Writing to a string cannot fail.
            write!(text, "{separator}{problem}").unwrap_or_default();
        }
        if let Some(others) = self.problems.others(SUMMARY_MAX) {
            text = format!("{text}; {others}");
        }
        text
    }

    /// The namespace of the object; the whole of `about` where it has none. One tenant owns it.
    pub fn tenant(&self) -> &str {
        let object = self.about.rsplit_once(' ').map(|(_, object)| object);
        let namespace = object.and_then(|object| object.split_once('/'));
        namespace.map_or(&self.about, |(namespace, _)| namespace)
    }
}

/// Kinds of problems.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Not an IPv4 or IPv6 address.
    #[error("`{0}` is not an IP address")]
    InvalidAddress(Excerpt),
    /// An address type that the API does not have. The addresses are served nevertheless:
    /// their text tells addresses from domain names.
    #[error("unknown address type `{0}`")]
    UnknownAddressType(Excerpt),
    /// A text that the API does not accept as a label (RFC 1123, section 2.1).
    #[error("`{0}` is not a DNS label")]
    InvalidLabel(Excerpt),
    /// A label of more than 63 bytes (RFC 1035, section 2.3.4).
    #[error("label of {0} bytes, which is more than 63")]
    LabelTooLong(usize),
    /// A domain name of more than 253 characters (RFC 1035, section 2.3.4).
    #[error("name of {0} characters, which is more than 253")]
    NameTooLong(usize),
    /// Two ports with the same name and protocol, or the same number and
    /// protocol.
    #[error("port {0} appears twice")]
    DuplicatePort(Excerpt),
    /// Not a port number.
    #[error("{0} is not a port number")]
    InvalidPort(i32),
    /// A protocol other than TCP, UDP and SCTP.
    #[error("unknown protocol `{0}`")]
    UnknownProtocol(Excerpt),
    /// A Service type other than the four of the API.
    #[error("unknown type `{0}`")]
    UnknownServiceType(Excerpt),
    /// A Service that is not headless and has no address.
    #[error("no cluster IP")]
    MissingClusterIp,
    /// An external name that is an address, to which no CNAME record can lead.
    #[error("`{0}` is an address, not a name")]
    ExternalNameIsAddress(Excerpt),
    /// An EndpointSlice without the label that names its Service.
    #[error("missing or empty, so the slice belongs to no Service")]
    MissingServiceLabel,
    /// An EndpointSlice whose Service does not exist.
    #[error("Service {0} does not exist")]
    MissingService(Excerpt),
    /// An object whose Namespace object does not exist.
    #[error("Namespace {0} does not exist")]
    MissingNamespace(Excerpt),
    /// A Service or slice of more entries than the agent merges
    /// ([`ENTRIES_MAX`](super::ENTRIES_MAX)).
    #[error("{0} endpoints, ports and slices, which is too many: the cluster's DNS answers")]
    TooManyEntries(usize),
    /// A required field that is missing or empty.
    #[error("missing")]
    MissingField,
    /// An object that is in two documents. The later document is used.
    #[error("also defined in {0}; the later one is used")]
    DuplicateObject(Excerpt),
    /// An unknown version of a known kind.
    #[error("version `{0}` of this kind is not supported")]
    UnsupportedVersion(Excerpt),
    /// A field with a value of the wrong type.
    #[error("{0}")]
    InvalidField(Excerpt),
    /// A file that is not YAML or JSON.
    #[error("{0}")]
    Syntax(Excerpt),
    /// A file that cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(Excerpt),
    /// A document of a size that is not read.
    #[error("{0}, so the document is not read")]
    TooLarge(Excerpt),
}

impl Reason {
    /// The label in metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::InvalidAddress(_) => "invalid_address",
            Self::UnknownAddressType(_) => "unknown_address_type",
            Self::InvalidLabel(_) => "invalid_label",
            Self::LabelTooLong(_) => "label_too_long",
            Self::NameTooLong(_) => "name_too_long",
            Self::DuplicatePort(_) => "duplicate_port",
            Self::InvalidPort(_) => "invalid_port",
            Self::UnknownProtocol(_) => "unknown_protocol",
            Self::UnknownServiceType(_) => "unknown_service_type",
            Self::MissingClusterIp => "missing_cluster_ip",
            Self::ExternalNameIsAddress(_) => "external_name_is_address",
            Self::MissingServiceLabel => "missing_service_label",
            Self::MissingService(_) => "missing_service",
            Self::MissingNamespace(_) => "missing_namespace",
            Self::TooManyEntries(_) => "too_many_entries",
            Self::MissingField => "missing_field",
            Self::DuplicateObject(_) => "duplicate_object",
            Self::UnsupportedVersion(_) => "unsupported_version",
            Self::InvalidField(_) => "invalid_field",
            Self::Syntax(_) => "syntax",
            Self::Unreadable(_) => "unreadable",
            Self::TooLarge(_) => "too_large",
        }
    }

    /// Every label, so that counters can start at zero.
    pub const LABELS: [&'static str; 22] = [
        "invalid_address",
        "unknown_address_type",
        "invalid_label",
        "label_too_long",
        "name_too_long",
        "duplicate_port",
        "invalid_port",
        "unknown_protocol",
        "unknown_service_type",
        "missing_cluster_ip",
        "external_name_is_address",
        "missing_service_label",
        "missing_service",
        "missing_namespace",
        "too_many_entries",
        "missing_field",
        "duplicate_object",
        "unsupported_version",
        "invalid_field",
        "syntax",
        "unreadable",
        "too_large",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(i: usize) -> Problem {
        Problem {
            object: "EndpointSlice evil/a".into(),
            field: format!("endpoints[{i}].addresses[0]"),
            reason: Reason::InvalidAddress(format!("no\n{i}").into()),
        }
    }

    #[test]
    fn an_object_with_many_problems_makes_a_few_lines() {
        let mut problems = Problems::default();
        for i in 0..20_000 {
            problems.add(problem(i));
        }
        problems.add(Problem {
            reason: Reason::MissingField,
            ..problem(0)
        });
        assert_eq!(problems.kept().len(), PROBLEMS_KEPT);
        assert_eq!(problems.counts()["invalid_address"], 20_000);
        let report = Report {
            about: "EndpointSlice evil/a".into(),
            problems,
        };
        let lines: Vec<_> = report.lines().collect();
        assert_eq!(lines.len(), PROBLEMS_KEPT + 1);
        assert_eq!(
            lines[0],
            "EndpointSlice evil/a: endpoints[0].addresses[0]: `no\\n0` is not an IP address"
        );
        assert_eq!(
            lines[PROBLEMS_KEPT],
            "EndpointSlice evil/a: 19993 more (invalid_address 19992, missing_field 1)"
        );
        let summary = report.summary();
        let end = "; 19998 more (invalid_address 19997, missing_field 1)";
        assert!(summary.ends_with(end), "{summary}");
        assert_eq!(summary.lines().count(), 1);
        assert_eq!(report.tenant(), "evil");
    }

    #[test]
    fn a_file_keeps_the_problems_of_each_object() {
        let mut file = Problems::default();
        for document in 0..3 {
            let mut problems = Problems::default();
            for i in 0..=PROBLEMS_KEPT {
                problems.add(problem(i));
            }
            file.extend(problems.at(&format!("a.yaml document {document}")));
        }
        assert_eq!(file.kept().len(), 3 * PROBLEMS_KEPT);
        let report = Report {
            about: "a.yaml".into(),
            problems: file,
        };
        let last = report.lines().last();
        assert_eq!(last.as_deref(), Some("a.yaml: 3 more (invalid_address 3)"));
        assert_eq!(report.tenant(), "a.yaml");
    }
}
