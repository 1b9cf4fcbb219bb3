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

/// The pause between two readings of the places while a pod's interface is not known. A reading
/// costs time in proportion to the kernel's tables, which pods can fill, so the pause doubles up to
/// [`READ_AGAIN`] while neither pods nor interfaces change.
const READ_SOON: Duration = Duration::from_millis(800);

/// How often the places of addresses are read again where nothing asks for it.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// When the places are read.
#[derive(Debug, Default)]
struct Readings {
    last: Option<Instant>,
    /// The pause after the last one while some interface is not clear.
    pause: Duration,
}

impl Readings {
    /// Whether the places are to be read now; then this counts as a reading. `changed` is whether
    /// pods or interfaces have changed, `unclear` whether the interface of some pod is not known.
    fn due(&mut self, now: Instant, changed: bool, unclear: bool) -> bool {
        let pause = if unclear { self.pause } else { READ_AGAIN };
        let is_old = |last: Instant| now.duration_since(last) >= pause;
        if !changed && !self.last.is_none_or(is_old) {
            return false;
        }
        self.pause = if changed || !unclear {
            READ_SOON
        } else {
            (2 * self.pause).clamp(READ_SOON, READ_AGAIN)
        };
        self.last = Some(now);
        true
    }
}

/// The latest decision, for any number of readers.
pub type Decisions = watch::Receiver<Arc<Decision>>;

/// The modes of the interfaces, and what they follow from.
#[derive(Debug)]
pub(super) struct Modes {
    decisions: Decisions,
    decision: Arc<Decision>,
    /// The places of the pods' addresses. A place stays until its interface or its pod is gone:
    /// neighbours are forgotten when nobody talks to them, and a pod that claims another pod's
    /// address must not move it.
    places: Places,
    readings: Readings,
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
            readings: Readings::default(),
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
        let mut changed = self.decisions.has_changed().unwrap_or_default();
        self.decision = Arc::clone(&self.decisions.borrow_and_update());
        let chosen = links.values().filter(|link| patterns.choose(link));
        let chosen: BTreeSet<u32> = chosen.map(|link| link.index).collect();
        changed |= !self.seen.keys().eq(&chosen);
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
            self.readings = Readings::default();
            return;
        }
        let mut held = self.assignments.interfaces.values();
        let unclear =
            !self.assignments.untold.is_empty() || held.any(|it| it.cause == Cause::NewInterface);
        if !self.readings.due(now, changed, unclear) {
            return;
        }
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
        keep(&mut self.places, found, &addresses, links);
    }
}

/// Adds what was found to the known places, and forgets the places of addresses and interfaces
/// that are gone.
fn keep(
    places: &mut Places,
    found: Places,
    addresses: &BTreeSet<IpAddr>,
    links: &BTreeMap<u32, Link>,
) {
    for (address, indices) in found {
        places.entry(address).or_default().extend(indices);
    }
    places.retain(|address, indices| {
        indices.retain(|index| links.contains_key(index));
        addresses.contains(address) && !indices.is_empty()
    });
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn readings_become_rare_while_nothing_changes() {
        let start = Instant::now();
        let mut readings = Readings::default();
        let mut at = |seconds: std::ops::Range<u64>, changed, unclear| {
            let mut due = seconds.clone();
            due.by_ref()
                .filter(|second| {
                    readings.due(start + Duration::from_secs(*second), changed, unclear)
                })
                .count()
        };
        assert_eq!(at(0..1, true, true), 1);
        let first = at(1..31, false, true);
        assert!((4..=6).contains(&first), "{first}");
        assert_eq!(at(31..331, false, true), 10, "every 30 seconds");
        assert_eq!(at(331..332, true, true), 1, "a pod or an interface changed");
        assert!(at(332..336, false, true) >= 2, "and is looked for soon");
        assert_eq!(at(400..700, false, false), 10, "all are known");
    }

    #[test]
    fn a_place_stays_while_its_interface_and_its_pod_live() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let links = |indices: &[u32]| -> BTreeMap<u32, Link> {
            let links = indices.iter();
            links.map(|it| (*it, Link::named(*it, "x"))).collect()
        };
        let at = |indices: &[u32]| Places::from([(address, indices.iter().copied().collect())]);
        let own = BTreeSet::from([address]);
        let mut places = at(&[7]);
        keep(&mut places, at(&[8]), &own, &links(&[7, 8]));
        assert_eq!(places, at(&[7, 8]), "another pod claims the address");
        keep(&mut places, Places::new(), &own, &links(&[8]));
        assert_eq!(places, at(&[8]));
        keep(&mut places, Places::new(), &BTreeSet::new(), &links(&[8]));
        assert_eq!(places, Places::new());
    }
}
