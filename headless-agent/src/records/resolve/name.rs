//! Names as CoreDNS sees them: in text, cut at the zone.

use std::fmt::Write as _;

use hickory_proto::rr::Name;

/// The zone that a name was found to be in.
pub(super) struct Zone {
    /// As it stands at the end of the name that was asked, in that case.
    pub(super) asked: Name,
    /// Whether it is `in-addr.arpa` or `ip6.arpa`.
    pub(super) reverse: bool,
}

impl Zone {
    /// The longest of the cluster's zone, `in-addr.arpa` and `ip6.arpa` that the
    /// name is in (CoreDNS, `Zones.Matches`).
    pub(super) fn of(name: &Name, zone: &Name) -> Option<Self> {
        let reverse: [&[&[u8]]; 2] = [&[b"in-addr", b"arpa"], &[b"ip6", b"arpa"]];
        let reverse = reverse.into_iter().filter_map(|labels| {
            let zone = Name::from_labels(labels.iter().copied()).ok()?;
            Some((zone, true))
        });
        let (zone, reverse) = reverse
            .chain([(zone.clone(), false)])
            .filter(|(zone, _)| zone.zone_of(name))
            .max_by_key(|(zone, _)| zone.iter().len())?;
        Some(Self {
            asked: name.trim_to(zone.iter().len()),
            reverse,
        })
    }

    /// The name of these labels, leftmost first, in the zone. A label that has
    /// dots is several. `None` where the name gets too long.
    pub(super) fn below(&self, labels: &[impl AsRef<str>]) -> Option<Name> {
        name_below(labels, &self.asked)
    }
}

/// The name of these labels in the zone. A label that has dots is several.
pub(super) fn name_below(labels: &[impl AsRef<str>], zone: &Name) -> Option<Name> {
    let labels = labels
        .iter()
        .flat_map(|label| label.as_ref().split('.').map(str::as_bytes));
    Name::from_labels(labels).ok()?.append_domain(zone).ok()
}

/// A name that is asked about, by the client or by a CNAME.
pub(super) struct Asked<'a> {
    /// As it is written.
    pub(super) name: &'a Name,
    /// The labels left of the zone, leftmost first, as [`text`].
    pub(super) labels: Vec<String>,
    /// The zone, as in the client's question.
    zone: &'a Zone,
}

impl<'a> Asked<'a> {
    pub(super) fn new(name: &'a Name, zone: &'a Zone) -> Self {
        let below = name.iter().len().saturating_sub(zone.asked.iter().len());
        Self {
            name,
            labels: name.iter().take(below).map(text).collect(),
            zone,
        }
    }

    /// Trap T3: CoreDNS compares the folded name with the zone as asked.
    pub(super) fn is_lower_case_apex(&self) -> bool {
        self.labels.is_empty() && dotted(self.name) == verbatim(&self.zone.asked)
    }

    /// CoreDNS, `isDefaultNS`. Trap T3: it never holds for a zone in mixed case,
    /// and it holds for names that merely begin so, such as those that a search
    /// list makes of `ns.dns.<zone>`.
    pub(super) fn is_default_name_server(&self) -> bool {
        const NAME: &str = "ns.dns.";
        let name = dotted(self.name);
        name.starts_with(NAME) && name.find(&verbatim(&self.zone.asked)) == Some(NAME.len())
    }
}

/// A label in presentation form, folded to lower case, escaped as miekg/dns does
/// (`UnpackDomainName`): so a dot within a label never looks like one between
/// labels, and no odd byte equals a letter of a Service's name.
fn text(label: &[u8]) -> String {
    escaped(label).to_ascii_lowercase()
}

fn escaped(label: &[u8]) -> String {
    let mut text = String::with_capacity(label.len());
    for byte in label {
        match byte {
            b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                text.extend(['\\', char::from(*byte)]);
            }
            b'!'..=b'~' => text.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => write!(text, "\\{byte:03}").unwrap_or_default(),
        }
    }
    text
}

/// A name in presentation form with the final dot.
fn verbatim(name: &Name) -> String {
    let labels = name.iter().map(|label| escaped(label) + ".");
    labels.collect()
}

/// A name in presentation form with the final dot, folded to lower case.
fn dotted(name: &Name) -> String {
    verbatim(name).to_ascii_lowercase()
}
