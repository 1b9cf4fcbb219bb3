//! The exposure: options of the plugin `kubernetes` by which objects have names.

use std::collections::BTreeSet;
use std::fmt;

use crate::selector::Selector;

/// Which objects are selected and which namespaces exposed. The default has all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// `namespaces` or `namespace_labels`.
    pub namespaces: Namespaces,
    /// `labels`: the Services, EndpointSlices and pods that are selected.
    pub labels: Selector,
    /// `noendpoints`: no EndpointSlice is selected.
    pub no_endpoints: bool,
    /// `ignore empty_service`: the names of a Service with a cluster IP exist only while it has a
    /// ready endpoint.
    pub ignore_empty: bool,
}

/// The namespaces that are exposed if they exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// All.
    #[default]
    All,
    /// The namespaces with these names (`namespaces`). Reverse names lead only to their objects,
    /// too.
    Listed(BTreeSet<Box<str>>),
    /// The namespaces with these labels (`namespace_labels`). Reverse names lead to the objects of
    /// all namespaces (CoreDNS, `serviceRecordForIP` in `plugin/kubernetes/reverse.go`).
    Labelled(Selector),
}

impl Namespaces {
    /// Whether a namespace with this name may be exposed.
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
