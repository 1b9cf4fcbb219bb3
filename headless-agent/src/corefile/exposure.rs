//! The objects of which CoreDNS makes names: options of the plugin `kubernetes`.

use std::collections::BTreeSet;
use std::fmt;

use crate::selector::Selector;

/// The objects of which CoreDNS makes names. The default has all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// `namespaces` or `namespace_labels`.
    pub namespaces: Namespaces,
    /// `labels`: Services, EndpointSlices and pods without these labels do not exist for CoreDNS.
    pub labels: Selector,
    /// `noendpoints`: no EndpointSlice exists for CoreDNS.
    pub no_endpoints: bool,
    /// `ignore empty_service`: the names of a Service with a cluster IP exist only while it has a
    /// ready endpoint.
    pub ignore_empty: bool,
}

/// The namespaces whose objects have names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// All.
    #[default]
    All,
    /// Those with these names (`namespaces`). Reverse names lead only to their objects, too.
    Listed(BTreeSet<Box<str>>),
    /// Those with these labels (`namespace_labels`). Reverse names lead to the objects of all
    /// (CoreDNS, `serviceRecordForIP` in `plugin/kubernetes/reverse.go`).
    Labelled(Selector),
}

impl Namespaces {
    /// Whether objects of a namespace with this name may have names.
    pub fn may_have(&self, name: &str) -> bool {
        match self {
            Self::Listed(names) => names.contains(name),
            Self::All | Self::Labelled(_) => true,
        }
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Labelled(selector) => write!(f, "labelled `{selector}`"),
            Self::Listed(names) => {
                let names: Vec<_> = names.iter().map(|it| &**it).collect();
                f.write_str(&names.join(" "))
            }
        }
    }
}
