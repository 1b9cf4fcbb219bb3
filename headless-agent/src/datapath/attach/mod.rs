//! Keeps the programs on the interfaces that should carry them.
//!
//! [`mod@desired`] says which programs each interface should carry. `installed` reads from
//! the kernel which programs it carries. The hooks (`xdp`, `tc`) make the second equal to
//! the first. The comparison is repeated, so that a program which somebody removes comes
//! back.

mod clsact;
pub mod desired;
mod installed;
mod modes;
mod programs;
mod report;
mod tc;
mod tcx;
mod xdp;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use aya::Ebpf;
use headless_ebpf::abi::Path;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::desired::{Absence, Desired, Facts, TcWay, desired};
use self::installed::Ensured;
pub use self::modes::Decisions;
use self::modes::Modes;
use self::tc::TcHook;
use self::xdp::XdpHook;
use super::discover::{News, Watcher};
use super::lift::Meter;
use super::links::Link;
use super::load::Programs;
use super::plan::{Hook, Plan};
use super::routes;
use super::snapshot::{Attachment, ProgramState, Snapshot};
use crate::maps::kernel::KernelCounters;

/// Why XDP is not attached where tc is not: packets that XDP passes would not be counted,
/// see ARCHITECTURE.md.
const NOT_WITHOUT_TC: &str = "not without the tc program behind it";

/// An interface that was compared.
#[derive(Debug)]
struct Compared {
    desired: Desired,
    attachment: Attachment,
    /// Programs whose removal by somebody else has been logged.
    logged: BTreeSet<&'static str>,
}

/// The loaded programs and everything about their attachments. When it is dropped, the
/// programs that are attached by links are detached.
#[derive(Debug)]
pub struct Attacher {
    ebpf: Ebpf,
    plan: Plan,
    way: TcWay,
    xdp: XdpHook,
    tc: TcHook,
    counters: KernelCounters,
    meters: BTreeMap<u32, Meter>,
    /// Interfaces whose pods send too much for XDP.
    lifted: BTreeSet<u32>,
    modes: Modes,
    links: BTreeMap<u32, Link>,
    /// Interfaces by which default routes send; `None` until they have been read.
    routes: Option<BTreeSet<u32>>,
    compared: BTreeMap<u32, Compared>,
    /// Whether filters of earlier agents have been removed.
    swept: bool,
    restored: BTreeMap<&'static str, u64>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Attacher {
    /// An attacher for loaded programs, which are on no interface yet. It publishes its
    /// snapshots by `snapshots`, the first one at once.
    pub fn new(
        programs: Programs,
        plan: Plan,
        snapshots: watch::Sender<Arc<Snapshot>>,
        decisions: Decisions,
    ) -> anyhow::Result<Self> {
        let Programs(ebpf) = programs;
        if plan.serve_uplink {
            warn!(
                "--serve-uplink: where --interface names an interface that leads out of the \
                 node, the programs answer whoever reaches a served address by it"
            );
        }
        let restored = Path::ALL.into_iter().map(|path| (path.label(), 0));
        let restored: BTreeMap<_, _> = restored.collect();
        let first = Snapshot {
            programs: programs::describe(&ebpf)?,
            restored: restored.clone(),
            ..Snapshot::default()
        };
        snapshots.send_replace(Arc::new(first));
        Ok(Self {
            way: tc::way(plan.tc),
            xdp: XdpHook::new(&ebpf)?,
            tc: TcHook::new(&ebpf)?,
            counters: KernelCounters::open(&ebpf)?,
            ebpf,
            plan,
            meters: BTreeMap::new(),
            lifted: BTreeSet::new(),
            modes: Modes::new(decisions),
            links: BTreeMap::new(),
            routes: None,
            compared: BTreeMap::new(),
            swept: false,
            restored,
            snapshots,
        })
    }

    /// Compares the programs that the interfaces in the news should carry with the programs
    /// that they carry, mends the differences, and publishes a snapshot. If the agent is to
    /// stop, this ends early and publishes nothing.
    ///
    /// # Errors
    /// Where rtnetlink does not answer. That a program cannot be attached is no error but
    /// a state of the interface.
    pub async fn compare(
        &mut self,
        watcher: &Watcher,
        news: &News,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        self.read_routes(watcher, news).await?;
        let read = self.read(watcher, news).await?;
        self.measure(&read);
        let patterns = &self.plan.interfaces;
        self.modes.update(watcher, patterns, &self.links).await;
        let changed = self.changed(&self.desired());
        // These interfaces are read again, because the last reading may be older than the
        // attachment of their programs.
        for index in changed.difference(&read) {
            self.read_one(watcher, *index).await?;
        }
        let desired = self.desired();
        self.sweep(watcher, &desired).await;
        for index in self.carrying() {
            if !desired.contains_key(&index) {
                self.detach(watcher, index).await;
            }
        }
        for (index, desired) in desired {
            if stop.is_cancelled() {
                return Ok(());
            }
            if (read.contains(&index) || changed.contains(&index))
                && let Some(link) = self.links.get(&index).cloned()
            {
                self.apply(watcher, &link, desired).await;
            }
        }
        self.publish()
    }

    /// A receiver of the decisions about pods, which this attacher follows, too.
    pub fn decisions(&self) -> Decisions {
        self.modes.decisions()
    }

    /// Takes the programs off every interface.
    pub async fn detach_all(&mut self, watcher: &Watcher) {
        for index in self.xdp.interfaces().collect::<Vec<_>>() {
            self.xdp.remove(index);
        }
        self.tc.remove_all(watcher.requests()).await;
        self.compared.clear();
    }

    /// The programs that each interface should carry, by the interface's index.
    fn desired(&self) -> BTreeMap<u32, Desired> {
        // The routes are read before any comparison, see `read_routes`.
        let Some(routes) = &self.routes else {
            return BTreeMap::new();
        };
        let facts = Facts {
            links: &self.links,
            uplinks: &routes::carriers(routes, &self.links),
            lifted: &self.lifted,
            modes: &self.modes.by_interface,
        };
        desired(&self.plan, self.way, facts)
    }

    /// The interfaces that should carry other programs than at the last comparison.
    fn changed(&self, desired: &BTreeMap<u32, Desired>) -> BTreeSet<u32> {
        let changed = desired.iter().filter(|(index, desired)| {
            let before = self.compared.get(index).map(|it| &it.desired);
            before != Some(*desired)
        });
        changed.map(|(index, _)| *index).collect()
    }

    /// The interfaces that may carry our programs.
    fn carrying(&self) -> BTreeSet<u32> {
        let hooks = self.xdp.interfaces().chain(self.tc.interfaces());
        hooks.chain(self.compared.keys().copied()).collect()
    }

    /// Reads the default routes if the news may concern them, and at the first comparison
    /// whatever its news: without routes the uplink looks like a pod's interface.
    async fn read_routes(&mut self, watcher: &Watcher, news: &News) -> anyhow::Result<()> {
        // A route goes silently with the interface that it sends by (`fib_sync_down_dev`).
        let known = self.routes.as_ref();
        if news.routes || known.is_none_or(|known| !known.is_disjoint(&news.links)) {
            self.routes = Some(watcher.default_routes().await?);
        }
        Ok(())
    }

    /// Reads the interfaces in the news from the kernel and returns their indices.
    async fn read(&mut self, watcher: &Watcher, news: &News) -> anyhow::Result<BTreeSet<u32>> {
        if !news.all {
            for index in &news.links {
                self.read_one(watcher, *index).await?;
            }
            return Ok(news.links.clone());
        }
        let links = watcher.links().await?;
        let gone: Vec<u32> = self
            .links
            .keys()
            .filter(|it| !links.contains_key(it))
            .copied()
            .collect();
        for index in gone {
            self.forget(index);
        }
        let read = links.keys().copied().collect();
        self.links = links;
        Ok(read)
    }

    async fn read_one(&mut self, watcher: &Watcher, index: u32) -> anyhow::Result<()> {
        match watcher.link(index).await? {
            Some(link) => {
                self.links.insert(index, link);
            }
            None => self.forget(index),
        }
        Ok(())
    }

    /// Measures the pods' traffic, if `--hook auto` lets it decide about XDP.
    fn measure(&mut self, read: &BTreeSet<u32>) {
        if self.plan.hook != Hook::Auto {
            return;
        }
        let answered = match self.counters.answers() {
            Ok(answered) => answered,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the answers cannot be counted, so the pods' traffic is not measured"
                );
                return;
            }
        };
        let (now, limits) = (Instant::now(), self.plan.limits);
        for link in read.iter().filter_map(|index| self.links.get(index)) {
            if let Some(total) = link.received
                && self.plan.interfaces.choose(link)
            {
                let meter = self.meters.entry(link.index).or_default();
                if meter.observe(now, total, answered, limits) {
                    self.lifted.insert(link.index);
                } else {
                    self.lifted.remove(&link.index);
                }
            }
        }
    }

    /// Removes filters that killed agents left on interfaces where this agent puts no filter.
    /// Does so at the first call only.
    async fn sweep(&mut self, watcher: &Watcher, desired: &BTreeMap<u32, Desired>) {
        if std::mem::replace(&mut self.swept, true) {
            return;
        }
        for index in self.links.keys() {
            if desired.get(index).map(|it| it.tc) != Some(Ok(TcWay::Clsact)) {
                self.tc.sweep(watcher.requests(), *index).await;
            }
        }
    }

    /// Makes one interface carry the programs that it should carry.
    async fn apply(&mut self, watcher: &Watcher, link: &Link, desired: Desired) {
        let requests = watcher.requests();
        // No packet may meet XDP without tc behind it: tc comes first and goes last.
        if desired.xdp.is_err() {
            self.xdp.remove(link.index);
        }
        let tc = match desired.tc {
            Ok(way) => {
                let ensured = self
                    .tc
                    .ensure(&mut self.ebpf, requests, (link, way), desired.record);
                Ok(ensured.await)
            }
            Err(absence) => {
                self.tc.remove(requests, link.index).await;
                Err(absence)
            }
        };
        let Some(mut tc) = self.settle(link, Path::Tc, tc) else {
            return;
        };
        if tc == ProgramState::Attached && desired.record.is_observed() {
            tc = ProgramState::Observing;
        }
        let xdp = match desired.xdp {
            Ok(_) if tc != ProgramState::Attached => {
                self.xdp.remove(link.index);
                Some(ProgramState::Refused(NOT_WITHOUT_TC.into()))
            }
            Ok(mode) => {
                let ensured = self.xdp.ensure(&mut self.ebpf, link, mode);
                self.settle(link, Path::Xdp, Ok(ensured))
            }
            Err(absence) => Some(absence.state()),
        };
        let Some(xdp) = xdp else {
            return;
        };
        let attachment = self.modes.attachment(link, desired.mtu, [xdp, tc]);
        let before = self.compared.remove(&link.index);
        report::changes(before.as_ref().map(|it| &it.attachment), &attachment);
        let compared = Compared {
            desired,
            attachment,
            logged: before.map(|it| it.logged).unwrap_or_default(),
        };
        self.compared.insert(link.index, compared);
    }

    /// The state of a program after the attempt to attach it. `None` where the interface was
    /// deleted or renamed meanwhile: an event about that is on its way. Counts programs that
    /// somebody else had removed.
    fn settle(
        &mut self,
        link: &Link,
        path: Path,
        ensured: Result<Ensured, Absence>,
    ) -> Option<ProgramState> {
        Some(match ensured {
            Err(absence) => absence.state(),
            Ok(Ensured::Kept | Ensured::Attached) => ProgramState::Attached,
            Ok(Ensured::Restored) => {
                let program = path.label();
                *self.restored.entry(program).or_default() += 1;
                let compared = self.compared.get_mut(&link.index);
                if compared.is_none_or(|compared| compared.logged.insert(program)) {
                    report::restored(link, program);
                }
                ProgramState::Attached
            }
            Ok(Ensured::Foreign) => ProgramState::Foreign,
            Ok(Ensured::Failed(reason)) => ProgramState::Failed(reason),
            Ok(Ensured::Stale) => return None,
        })
    }

    /// Takes the programs off an interface that should carry no program any more.
    async fn detach(&mut self, watcher: &Watcher, index: u32) {
        self.xdp.remove(index);
        self.tc.remove(watcher.requests(), index).await;
        if let Some(compared) = self.compared.remove(&index) {
            let name = compared.attachment.name;
            info!(interface = name, ifindex = index, "detached");
        }
    }

    /// Forgets an interface that is gone.
    fn forget(&mut self, index: u32) {
        self.links.remove(&index);
        self.meters.remove(&index);
        self.lifted.remove(&index);
        self.xdp.remove(index);
        self.tc.forget(index);
        if let Some(compared) = self.compared.remove(&index) {
            let name = compared.attachment.name;
            debug!(interface = name, ifindex = index, "the interface is gone");
        }
    }

    fn publish(&self) -> anyhow::Result<()> {
        let attachments = self.compared.iter();
        let snapshot = Snapshot {
            compared: true,
            attachments: attachments
                .map(|(index, compared)| (*index, compared.attachment.clone()))
                .collect(),
            programs: programs::describe(&self.ebpf)?,
            restored: self.restored.clone(),
            untold: self.modes.untold().to_vec(),
        };
        self.snapshots.send_replace(Arc::new(snapshot));
        Ok(())
    }
}
