//! The modes of the interfaces at present.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::warn;

use crate::datapath::discover::Watcher;
use crate::datapath::links::Link;
use crate::datapath::places::{Places, places};
use crate::datapath::plan::InterfacePatterns;
use crate::datapath::snapshot::{Attachment, ProgramState};
use crate::policy::interfaces::assign;
use crate::policy::{Assignment, Assignments, Cause, Decision, Mode};

/// How long an interface is new. A pod's address is in the API a second or two after its
/// interface exists: the kubelet reports it once the pod's sandbox runs.
const NEW: Duration = Duration::from_secs(30);

/// How often the places of addresses are read again where nothing asks for it.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// The latest decision, for any number of readers.
pub type Decisions = watch::Receiver<Arc<Decision>>;

/// The modes of the interfaces, and what they follow from.
#[derive(Debug)]
pub(super) struct Modes {
    decisions: Decisions,
    decision: Arc<Decision>,
    /// The places of the pods' addresses. A place stays until another is known, or until its
    /// interface or its pod is gone: neighbours are forgotten when nobody talks to them.
    places: Places,
    /// When the places were read.
    read: Option<Instant>,
    /// Whether the last reading failed.
    failing: bool,
    /// When each interface was seen first.
    seen: BTreeMap<u32, Instant>,
    assignments: Assignments,
    /// The mode of each interface.
    pub(super) by_interface: BTreeMap<u32, Mode>,
}

impl Modes {
    /// Modes that follow these decisions.
    pub(super) fn new(mut decisions: Decisions) -> Self {
        let decision = Arc::clone(&decisions.borrow_and_update());
        Self {
            decisions,
            decision,
            places: Places::new(),
            read: None,
            failing: false,
            seen: BTreeMap::new(),
            assignments: Assignments::default(),
            by_interface: BTreeMap::new(),
        }
    }

    /// A further receiver of the decisions.
    pub(super) fn decisions(&self) -> Decisions {
        self.decisions.clone()
    }

    /// The interface as it is shown, with the states of XDP and tc.
    pub(super) fn attachment(
        &self,
        link: &Link,
        mtu: u32,
        [xdp, tc]: [ProgramState; 2],
    ) -> Attachment {
        let found = self.assignments.interfaces.get(&link.index);
        let Assignment { mode, cause, pod } = found.cloned().unwrap_or_default();
        Attachment {
            name: link.name.clone(),
            ifindex: link.index,
            mtu,
            mode,
            cause,
            pod,
            xdp,
            tc,
        }
    }

    /// Pods whose mode does not hold, because their interface is not known.
    pub(super) fn untold(&self) -> &[String] {
        &self.assignments.untold
    }

    /// Brings the modes up to date with the latest decision and the interfaces of the node.
    pub(super) async fn update(
        &mut self,
        watcher: &Watcher,
        patterns: &InterfacePatterns,
        links: &BTreeMap<u32, Link>,
    ) {
        let now = Instant::now();
        let changed = self.decisions.has_changed().unwrap_or_default();
        self.decision = Arc::clone(&self.decisions.borrow_and_update());
        let chosen = links.values().filter(|link| patterns.choose(link));
        let chosen: BTreeSet<u32> = chosen.map(|link| link.index).collect();
        self.seen.retain(|index, _| chosen.contains(index));
        for index in &chosen {
            self.seen.entry(*index).or_insert(now);
        }
        self.look(watcher, links, changed, now).await;
        let is_new = |seen: &Instant| now.duration_since(*seen) < NEW;
        let interfaces = self.seen.iter().map(|(index, seen)| (*index, is_new(seen)));
        self.assignments = assign(&self.decision, &self.places, &interfaces.collect());
        let modes = self.assignments.interfaces.iter();
        self.by_interface = modes.map(|(index, it)| (*index, it.mode)).collect();
    }

    /// Reads the places of the pods' addresses, if some mode depends on them and they may have
    /// changed.
    async fn look(
        &mut self,
        watcher: &Watcher,
        links: &BTreeMap<u32, Link>,
        changed: bool,
        now: Instant,
    ) {
        let decision = Arc::clone(&self.decision);
        let mut pods = decision.pods.iter();
        if pods.all(|pod| pod.mode == decision.fallback) {
            self.places.clear();
            self.read = None;
            return;
        }
        let mut held = self.assignments.interfaces.values();
        let unclear =
            !self.assignments.untold.is_empty() || held.any(|it| it.cause == Cause::NewInterface);
        let is_old = |read: Instant| now.duration_since(read) >= READ_AGAIN;
        if !changed && !unclear && !self.read.is_none_or(is_old) {
            return;
        }
        self.read = Some(now);
        let addresses = decision.pods.iter().flat_map(|pod| &*pod.addresses);
        let addresses: BTreeSet<IpAddr> = addresses.copied().collect();
        let found = match places(watcher.requests(), &addresses, links).await {
            Ok(found) => found,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!("the interfaces of pods cannot be told: {error:#}");
                }
                Places::new()
            }
        };
        self.failing &= found.is_empty();
        self.places.retain(|address, indices| {
            indices.retain(|index| links.contains_key(index));
            addresses.contains(address) && !indices.is_empty()
        });
        self.places.extend(found);
    }
}
