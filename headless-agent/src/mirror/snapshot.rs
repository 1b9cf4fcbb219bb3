//! The state of the loop, as a plain value for readers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::records::Index;
use crate::watch::{Event, Kind, ServiceRef};

/// A kind of event, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The object exists or has changed.
    Apply,
    /// The object is gone.
    Delete,
    /// All objects of a kind are listed.
    List,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Apply, Self::Delete, Self::List];

    /// Label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }

    /// The kind of object and of event under which an event is counted. The beginning of
    /// a list is not counted.
    pub(super) fn of(event: &Event) -> Option<(Kind, Self)> {
        match event {
            Event::Apply(object) => Some((object.reference().kind, Self::Apply)),
            Event::Delete(reference) => Some((reference.kind, Self::Delete)),
            Event::Restarted(kind) => Some((*kind, Self::List)),
            Event::Restart(_) => None,
        }
    }
}

/// The state of the loop after a batch or a heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Names of the resources that have not been listed yet.
    pub missing: Vec<&'static str>,
    /// Whether the index counts as the present state of the cluster. False once the
    /// source has been silent for longer than negative answers allow.
    pub current: bool,
    /// Serial of the zone's SOA record: Unix time of the last change, in seconds.
    pub serial: u32,
    /// Addresses whose port 53 the programs answer.
    pub served: Vec<IpAddr>,
    /// The Service of the cluster's DNS, while it does not exist or has no address.
    pub without_address: Option<ServiceRef>,
    /// Addresses that should be served and find no slot.
    pub unserved: Vec<IpAddr>,
    /// Events since the start, by kind of object and of event.
    pub events: BTreeMap<(Kind, EventKind), u64>,
    /// Problems of objects since the start, by the label of their reason.
    pub problem_counts: BTreeMap<&'static str, u64>,
    /// Log lines about objects that were left out since the start, because their namespace had
    /// many.
    pub lines_left_out: u64,
    /// Lines about problems of single objects, the latest last.
    pub reported: Arc<[String]>,
}

impl Snapshot {
    pub(super) fn of(index: &Index) -> Self {
        Self {
            missing: index.missing(),
            current: index.is_current(),
            serial: index.serial(),
            ..Self::default()
        }
    }

    /// Whether the whole cluster has been read.
    pub fn synced(&self) -> bool {
        self.missing.is_empty()
    }

    /// Events of this kind since the start.
    pub fn events(&self, kind: Kind, event: EventKind) -> u64 {
        self.events.get(&(kind, event)).copied().unwrap_or_default()
    }
}
