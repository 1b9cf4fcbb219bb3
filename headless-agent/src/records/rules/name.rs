//! Names as CoreDNS sees them: as text, with the zone cut off.

use std::fmt::Write as _;

use hickory_proto::rr::Name;

/// The zone that a name is in.
pub(super) struct Zone {
    /// The zone as it stands at the end of the name, in the case of the question.
    pub(super) asked: Name,
    /// Whether the zone is `in-addr.arpa` or `ip6.arpa`.
    pub(super) reverse: bool,
}

impl Zone {
    /// The zone of a name: the longest of `zone`, `in-addr.arpa` and `ip6.arpa` that the
    /// name is in (CoreDNS, `Zones.Matches` in `plugin/normalize.go`).
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

    /// The name of these labels in the zone, see [`name_below`].
    pub(super) fn below<'a>(&self, labels: impl IntoIterator<Item = &'a str>) -> Option<Name> {
        name_below(labels, &self.asked)
    }
}

/// The name of these labels in a zone, leftmost label first. A label with dots becomes
/// several labels. `None` where the name gets too long.
pub(super) fn name_below<'a>(
    labels: impl IntoIterator<Item = &'a str>,
    zone: &Name,
) -> Option<Name> {
    let labels = labels.into_iter();
    let labels = labels.flat_map(|label| label.split('.').map(str::as_bytes));
    Name::from_labels(labels).ok()?.append_domain(zone).ok()
}

/// A name that the client asks for, or to which a CNAME leads.
pub(super) struct AskedName<'a> {
    /// The name as it is written.
    pub(super) name: &'a Name,
    /// The labels left of the zone, leftmost first, as [`folded`].
    pub(super) labels: Vec<String>,
    /// The zone of the client's question.
    zone: &'a Zone,
}

impl<'a> AskedName<'a> {
    pub(super) fn new(name: &'a Name, zone: &'a Zone) -> Self {
        let below = name.iter().len().saturating_sub(zone.asked.iter().len());
        Self {
            name,
            labels: name.iter().take(below).map(folded).collect(),
            zone,
        }
    }

    /// Whether the name is the apex and has no capitals. Trap T3: CoreDNS compares the
    /// name in lower case with the zone as it was asked.
    pub(super) fn is_lower_case_apex(&self) -> bool {
        self.labels.is_empty() && folded_text(self.name) == text(&self.zone.asked)
    }

    /// Whether CoreDNS takes the name for `ns.dns.<zone>` (`isDefaultNS` in
    /// `plugin/kubernetes/ns.go`). Trap T3: it never does so for a zone in mixed case.
    /// And it does so for longer names that begin with `ns.dns.<zone>`, such as those
    /// that a search list makes of it.
    pub(super) fn is_default_name_server(&self) -> bool {
        const NAME: &str = "ns.dns.";
        let name = folded_text(self.name);
        name.starts_with(NAME) && name.find(&text(&self.zone.asked)) == Some(NAME.len())
    }
}

/// A label in presentation form, in lower case. It is escaped as miekg/dns does
/// (`UnpackDomainName` in `msg.go`). So a dot within a label differs from a dot between
/// labels, and a byte that no Service's name can hold equals no letter.
fn folded(label: &[u8]) -> String {
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
fn text(name: &Name) -> String {
    let labels = name.iter().map(|label| escaped(label) + ".");
    labels.collect()
}

/// [`text`] in lower case.
fn folded_text(name: &Name) -> String {
    text(name).to_ascii_lowercase()
}
