//! One cluster, its changes, and all the questions.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use fastrand::Rng;
use headless_agent::records::{EndpointScope, Forward};
use headless_agent::watch::convert::SERVICE_NAME_LABEL;
use headless_ebpf::abi::PodsMode;
use hickory_proto::op::ResponseCode;
use tokio::runtime::Runtime;

use super::agent::{self, Agent};
use super::apiserver::ApiServer;
use super::cluster::{Change, Cluster};
use super::coredns::{self, Choices, CoreDns};
use super::differences::{self, Case};
use super::generator::Generator;
use super::message::{Decoded, Labels, Query};
use super::ours::{Handled, Ours, Told};
use super::questions::{self, Questions};
use super::report::Report;
use super::{compare, upstream};

/// Header bits that tell an upstream resolver's reply from the cluster's.
const AA: u16 = 1 << 10;
const RA: u16 = 1 << 7;

/// Messages of which it is awaited that CoreDNS doesn't answer.
const IGNORED_MAX: u64 = 5;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of CoreDNS and headless alike.
    pub choices: Choices,
    /// Of headless. CoreDNS has [`EndpointScope::All`].
    pub endpoints: EndpointScope,
    /// Services in the cluster.
    pub services: usize,
    /// Rounds of changes.
    pub rounds: usize,
    /// Questions in each round and before the first.
    pub questions: usize,
    /// Of cluster, changes and questions.
    pub seed: u64,
    /// Whether the agent is asked as well, over UDP, and from where it has its objects.
    /// [`Self::endpoints`] must be the default for that source.
    pub agent: Option<agent::Source>,
}

/// What a query is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// For a name of the zone that leads to no other name, as libraries ask.
    Plain,
    /// Any other that is well-formed.
    Unusual,
    /// With some bytes wrong.
    Mangled,
}

/// Both sides over one cluster.
struct Bench {
    plan: Plan,
    coredns: CoreDns,
    api: Arc<ApiServer>,
    /// Runs the API server.
    _runtime: Runtime,
    generator: Generator,
    cluster: Cluster,
    ours: Ours,
    agent: Option<Agent>,
    /// See [`Case::misspelled`].
    misspelled: BTreeSet<Labels>,
    /// See [`Case::nameless`].
    nameless: BTreeSet<Labels>,
    report: Report,
}

/// Carries out a plan in a network namespace of its own, which the calling
/// thread does not leave again.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    coredns::enter_namespace()?;
    let mut bench = Bench::new(plan)?;
    let mut rng = Rng::with_seed(plan.seed ^ 0x7175_6572);
    bench.ask(rng.u64(..))?;
    for _ in 0..plan.rounds {
        bench.change()?;
        bench.ask(rng.u64(..))?;
    }
    Ok(bench.report)
}

impl Bench {
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        let Plan {
            choices,
            endpoints,
            services,
            seed,
            ..
        } = plan;
        let mut generator = Generator::new(*seed, choices.zone);
        let mut cluster = generator.cluster(*services);
        let (sentinel, names) = generator.sentinel();
        for object in sentinel {
            cluster.put(object);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (api, address) = runtime.block_on(ApiServer::start(cluster.objects()))?;
        let coredns = CoreDns::start(choices, address)?;
        let ours = Ours::new(choices, *endpoints, *seed)?;
        let start = |source| Agent::start(choices, source, &cluster, address);
        let agent = plan.agent.map(start);
        let mut bench = Self {
            agent: agent.transpose()?,
            plan: plan.clone(),
            coredns,
            api,
            _runtime: runtime,
            generator,
            cluster,
            ours,
            misspelled: BTreeSet::new(),
            nameless: BTreeSet::new(),
            report: Report::default(),
        };
        let serial = bench.settled(&names)?;
        bench.ours.read(&bench.cluster, serial)?;
        Ok(bench)
    }

    /// Waits until CoreDNS has seen the sentinel; its SOA's serial then.
    fn settled(&mut self, names: &[String; 3]) -> anyhow::Result<u32> {
        let zone = Labels::new(self.plan.choices.zone);
        let [services @ .., pod] = names;
        let name = |name| Labels::new(name).above(&zone);
        let found = |reply: &[u8]| {
            Decoded::new(reply)
                .is_ok_and(|reply| reply.rcode() == 0 && !reply.sections[0].is_empty())
        };
        let mut names: Vec<&String> = services.iter().collect();
        // Otherwise CoreDNS watches no pods.
        names.extend((self.plan.choices.pods == PodsMode::Verified).then_some(pod));
        for sentinel in names {
            let query = Query::new(name(sentinel), 1).bytes();
            self.coredns.wait_for(&query, found)?;
            if let Some(agent) = &mut self.agent {
                agent.wait_for(&query, found)?;
            }
        }
        let reply = self.coredns.ask(&Query::new(zone, 6).bytes())?;
        let reply = Decoded::new(&reply)?;
        let soa = reply.sections[0].first().context("no SOA")?;
        let serial = soa.rest.split(' ').nth(5).context("SOA without serial")?;
        serial
            .parse()
            .with_context(|| format!("{serial} in {}", soa.rest))
    }

    fn change(&mut self) -> anyhow::Result<()> {
        let count = self.plan.services / 4;
        let mut changes = self.generator.changes(&mut self.cluster, count);
        let (sentinel, names) = self.generator.sentinel();
        for object in sentinel {
            self.cluster.put(object.clone());
            changes.push(Change::Put(object));
        }
        self.api.apply(&changes);
        if let Some(agent) = &self.agent {
            agent.write(&self.cluster)?;
        }
        let serial = self.settled(&names)?;
        self.ours.apply(&changes, serial)
    }

    fn ask(&mut self, seed: u64) -> anyhow::Result<()> {
        let zone = self.plan.choices.zone;
        let mut questions = Questions::new(seed, zone, &self.cluster);
        let queries = questions.queries(self.plan.questions);
        self.misspelled = questions::misspelled(&self.cluster);
        self.nameless = questions::nameless(&self.cluster);
        let left_out = services_with_names(&self.cluster);
        for query in &queries {
            let form = if self.is_plain(query, &left_out) {
                Form::Plain
            } else {
                Form::Unusual
            };
            self.compare(&query.bytes(), &query.show(), form)
                .with_context(|| query.show())?;
        }
        let mut rng = Rng::with_seed(seed);
        for query in queries.iter().take(self.plan.questions / 20) {
            let bytes = mangled(query, &mut rng);
            let shown = format!("mangled {} from {}", bytes.escape_ascii(), query.show());
            self.compare(&bytes, &shown, Form::Mangled)
                .context(shown.clone())?;
        }
        Ok(())
    }

    /// Whether the engine is expected to answer by itself: a name of the zone, not of a
    /// Service that leads to other names, asked as libraries do.
    fn is_plain(&self, query: &Query, left_out: &BTreeSet<Labels>) -> bool {
        let zone = Labels::new(self.plan.choices.zone);
        let options = query
            .opt
            .as_ref()
            .is_some_and(|opt| !opt.options.is_empty() || opt.ttl & 0xff_0000 != 0);
        if options || query.qclass != 1 || query.flags & 0xfa00 != 0 || !query.name.is_in(&zone) {
            return false;
        }
        if query.name.0.iter().any(|label| label.len() > 63) {
            return false;
        }
        let depth = query.name.0.len() - zone.0.len();
        let labels = query.name.0[..depth]
            .iter()
            .map(|label| label.to_ascii_lowercase());
        let labels: Vec<_> = labels.collect();
        !left_out.contains(&Labels(labels[depth.saturating_sub(3)..].to_vec()))
    }

    fn compare(&mut self, query: &[u8], shown: &str, form: Form) -> anyhow::Result<()> {
        self.report.questions += 1;
        let told = self.ours.by_rules(query);
        if let Told::Ignored = told {
            let ignored = self.report.ignored;
            self.report.ignored += 1;
            if ignored < IGNORED_MAX && !self.coredns.ignores(query)? {
                self.report
                    .differ(format!("{shown}: CoreDNS answers, headless does not"));
            }
            return Ok(());
        }
        let name = query.get(12..).and_then(Labels::from_wire);
        // Here CoreDNS may have nothing to say, which need not be awaited long.
        if name.is_some_and(|name| name.ends_in(&self.nameless)) && self.coredns.ignores(query)? {
            self.differ("userspace", query, shown, None, None, "CoreDNS is silent");
            return Ok(());
        }
        let bytes = self.coredns.ask(query)?;
        let theirs = Decoded::new(&bytes).with_context(|| bytes.escape_ascii().to_string())?;
        *self.report.rcodes.entry(theirs.rcode()).or_default() += 1;
        self.report.truncated += u64::from(theirs.truncated());
        match told {
            Told::Ignored => {}
            Told::Reply(ours) => {
                self.report.userspace += 1;
                self.judge("userspace", query, shown, &theirs, &ours);
                if let Some(agent) = &self.agent {
                    let ours = agent.ask(query)?;
                    self.report.agent += 1;
                    self.judge("agent", query, shown, &theirs, &ours);
                }
            }
            // The agent forwards nothing yet.
            Told::Chased(ours) => {
                self.report.userspace += 1;
                self.judge("userspace", query, shown, &theirs, &ours);
            }
            Told::Forward(Forward::ClusterDns) => {
                self.report.cluster_dns += 1;
                self.check_refused(query, shown)?;
            }
            Told::Forward(Forward::Upstream) => {
                self.report.upstream += 1;
                self.check_refused(query, shown)?;
                // What is left of a mangled query CoreDNS may fail to pass on.
                let whole = form != Form::Mangled;
                if let Some(difference) = not_from_upstream(query, &theirs).filter(|_| whole) {
                    let difference = format!("for upstream, but CoreDNS's {difference}");
                    self.differ("userspace", query, shown, Some(&theirs), None, &difference);
                }
            }
        }
        self.engine(query, shown, &theirs, form == Form::Plain)
    }

    /// The agent has nobody to hand a question on to, so it refuses.
    fn check_refused(&mut self, query: &[u8], shown: &str) -> anyhow::Result<()> {
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let reply = Decoded::new(&agent.ask(query)?)?;
        if reply.rcode() != u16::from(ResponseCode::Refused) {
            let rcode = reply.rcode();
            self.report
                .differ(format!("{shown}: agent: rcode {rcode}, not REFUSED"));
        }
        Ok(())
    }

    fn engine(
        &mut self,
        query: &[u8],
        shown: &str,
        theirs: &Decoded,
        plain: bool,
    ) -> anyhow::Result<()> {
        self.report.plain += u64::from(plain);
        let handled = self.ours.by_engine(query)?;
        let kernel = self.ours.by_kernel(query)?;
        match (handled, kernel) {
            (Handled::Reply(host), Some(kernel)) => {
                self.report.engine += 1;
                self.report.plain_engine += u64::from(plain);
                self.judge("engine", query, shown, theirs, &host);
                self.judge("kernel", query, shown, theirs, &kernel);
            }
            (Handled::Pass(reason), None) => {
                *self.report.passed.entry(reason.label()).or_default() += 1;
                if plain {
                    let qtype = qtype(query).copied().map_or(0, u16::from_be_bytes);
                    let passed = &mut self.report.plain_passed;
                    let entry = passed.entry((reason.label(), qtype));
                    entry.or_insert_with(|| (0, shown.to_owned())).0 += 1;
                }
            }
            (host, kernel) => self.report.differ(format!(
                "{shown}: the engine on the host says {host:?}, in the kernel {kernel:?}"
            )),
        }
        Ok(())
    }

    /// Takes note of what differs.
    fn judge(&mut self, who: &str, query: &[u8], shown: &str, theirs: &Decoded, ours: &[u8]) {
        let decoded = Decoded::new(ours);
        let difference = match &decoded {
            Ok(ours) => {
                compare::difference(theirs, ours, || Decoded::new(&CoreDns::ask_tcp(query)?))
            }
            Err(error) => Some(format!("{error:#} in {}", ours.escape_ascii())),
        };
        let Some(difference) = difference else {
            return;
        };
        self.differ(
            who,
            query,
            shown,
            Some(theirs),
            decoded.as_ref().ok(),
            &difference,
        );
    }

    /// Takes note of a difference, unless it is allowed.
    fn differ(
        &mut self,
        who: &str,
        query: &[u8],
        shown: &str,
        theirs: Option<&Decoded>,
        ours: Option<&Decoded>,
        difference: &str,
    ) {
        let case = Case {
            query,
            theirs,
            ours,
            misspelled: &self.misspelled,
            nameless: &self.nameless,
            agent: who == "agent",
        };
        match differences::allowed(&case) {
            Some(name) => *self.report.allowed.entry(name).or_default() += 1,
            None => self.report.differ(format!("{shown}: {who}: {difference}")),
        }
    }
}

/// The type in a query.
fn qtype(query: &[u8]) -> Option<&[u8; 2]> {
    let mut at = 12;
    loop {
        match usize::from(*query.get(at)?) {
            0 => return query.get(at + 1..)?.first_chunk(),
            len => at += 1 + len,
        }
    }
}

/// Names, left of the zone, of Services that lead to other names: by an external name,
/// or by endpoints that have domain names in place of addresses.
fn services_with_names(cluster: &Cluster) -> BTreeSet<Labels> {
    let external = cluster.services().filter_map(|service| {
        let spec = service.spec.as_ref();
        let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        let name = external
            .then_some(service.metadata.name.as_deref())
            .flatten()?;
        Some((name, service.metadata.namespace.as_deref()?))
    });
    let aliased = cluster.slices().filter_map(|slice| {
        let labels = slice.metadata.labels.as_ref()?;
        let service = labels.get(SERVICE_NAME_LABEL)?;
        let aliased = slice.address_type == "FQDN";
        let name = aliased.then_some(service.as_str())?;
        Some((name, slice.metadata.namespace.as_deref()?))
    });
    external
        .chain(aliased)
        .map(|(name, namespace)| Labels::new(&format!("{name}.{namespace}.svc")))
        .collect()
}

/// What shows that a reply is not the upstream resolver's.
fn not_from_upstream(query: &[u8], theirs: &Decoded) -> Option<String> {
    if theirs.flags & RA == 0 || theirs.flags & AA != 0 {
        return Some(format!("flags are {:#06x}", theirs.flags));
    }
    let (name, qtype) = upstream::question(query)?;
    let (rcode, records) = upstream::lookup(&name, qtype);
    if u16::from(rcode) == theirs.rcode() && records.len() == theirs.sections[0].len() {
        return None;
    }
    Some(format!("rcode is {}, not {rcode}", theirs.rcode()))
}

/// A query with a bit or a few wrong.
fn mangled(query: &Query, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = query.bytes();
    match rng.u32(..4) {
        0 => bytes.truncate(rng.usize(..=bytes.len())),
        1 => {
            let more = rng.usize(1..20);
            bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(more));
        }
        _ => {
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(2..bytes.len());
                bytes[at] = rng.u8(..);
            }
        }
    }
    bytes
}
