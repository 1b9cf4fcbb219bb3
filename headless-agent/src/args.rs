//! The command line. Each concern has a struct of options. Every option is long and
//! has an environment variable.

mod corefile;
mod datapath;
mod policy;
mod settings;
mod source;
mod taken;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use self::corefile::service;
pub use self::corefile::{CorefileArgs, Pods};
pub use self::datapath::{Hook, KernelLog, LogFormat, TcMode, XdpMode};
pub use self::policy::{Mode, PolicyArgs};
pub use self::source::{ApiArgs, Endpoints, FolderArgs, SourceArgs, SourceKind};
use crate::corefile::{Cache, Exposure};
use crate::records::EndpointScope;
use crate::watch::ServiceRef;

/// Exit status of a bad configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIGURATION: u8 = 64;

/// Exit status of an agent that must start again, because a changed Corefile needs it
/// (`EX_TEMPFAIL` of sysexits.h).
pub const EXIT_START_AGAIN: u8 = 75;

/// Default address of the admin endpoint.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9153);

/// Port of DNS.
pub const DNS_PORT: u16 = 53;

/// Answers the cluster's DNS names in the kernel of this node
#[derive(Clone, Debug, Parser)]
#[command(name = "headless-agent", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Follow the cluster and answer, until SIGTERM or SIGINT
    Run(Box<RunArgs>),
    /// Print the state of the running agent
    Status(StatusArgs),
    /// Print each name with its data in the agent and in the kernel
    Dump(DumpArgs),
    /// Print every object of a folder that cannot be served, with the reason
    Check(CheckArgs),
}

/// How to log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Level, or targets with levels: `info,headless_agent::watch=debug`
    #[arg(long, env = "HEADLESS_LOG", default_value = "info", global = true)]
    pub log: String,
    /// How log lines look
    #[arg(
        long,
        env = "HEADLESS_LOG_FORMAT",
        value_enum,
        default_value_t,
        global = true
    )]
    pub log_format: LogFormat,
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where objects come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// What is answered.
    #[command(flatten)]
    pub records: RecordArgs,
    /// The Corefile.
    #[command(flatten)]
    pub corefile: CorefileArgs,
    /// The programs.
    #[command(flatten)]
    pub xdp: XdpArgs,
    /// Which pods are answered.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// The responder.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// The admin endpoint.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What is answered.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Records")]
pub struct RecordArgs {
    /// The cluster's domain. The default is the zone of the Corefile, else `cluster.local`
    #[arg(long, env = "HEADLESS_ZONE", value_name = "NAME")]
    pub zone: Option<String>,
    /// TTL of records in seconds. The default is the Corefile's, else 30
    #[arg(
        long,
        env = "HEADLESS_TTL",
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(0..=3600)
    )]
    pub ttl: Option<u32>,
    /// Which names of pods (`10-0-0-1.default.pod.ZONE`) exist. The default is the
    /// Corefile's, else `insecure`
    #[arg(long, env = "HEADLESS_PODS", value_enum)]
    pub pods: Option<Pods>,
    /// Which endpoints have names. The default is `auto` where the source is an API server, and
    /// `all` where it is a folder, which is read whole in any case
    #[arg(long, env = "HEADLESS_ENDPOINTS", value_enum)]
    pub endpoints: Option<Endpoints>,
    /// Name an endpoint without a hostname after its pod instead of its address, as the
    /// Corefile may say, too
    #[arg(long, env = "HEADLESS_ENDPOINT_POD_NAMES")]
    pub endpoint_pod_names: bool,
    /// The Service of the cluster's DNS. Queries to its addresses are answered
    #[arg(
        long,
        env = "HEADLESS_CLUSTER_DNS_SERVICE",
        value_name = "NAMESPACE/NAME",
        default_value = "kube-system/kube-dns",
        value_parser = service
    )]
    pub cluster_dns_service: ServiceRef,
    /// The objects that have names, by the Corefile's `kubernetes`. No option sets the exposure.
    #[arg(skip)]
    pub exposure: Exposure,
    /// The bounds that the Corefile's `cache` puts on TTLs. No option sets them.
    #[arg(skip)]
    pub cache: Option<Cache>,
    /// The size of the Corefile's `bufsize`. No option sets it.
    #[arg(skip)]
    pub bufsize: Option<u16>,
    /// Whether the Corefile lets CoreDNS answer questions of any class; false without a Corefile.
    /// No option sets it.
    #[arg(skip)]
    pub any_class: bool,
}

impl RecordArgs {
    /// Which endpoints have names with this source, before the cluster's size is known.
    pub fn endpoints(&self, source: SourceKind) -> EndpointScope {
        match self.chosen_endpoints(source) {
            Endpoints::Auto | Endpoints::Headless => EndpointScope::Headless,
            Endpoints::All => EndpointScope::All,
        }
    }

    /// The option or its default. A folder is read whole in any case, so its size decides nothing.
    /// Where CoreDNS knows no endpoints (`noendpoints`), none is unknown.
    fn chosen_endpoints(&self, source: SourceKind) -> Endpoints {
        match (source, self.endpoints.unwrap_or_default()) {
            _ if self.exposure.no_endpoints => Endpoints::All,
            (SourceKind::Manifests, Endpoints::Auto) => Endpoints::All,
            (_, endpoints) => endpoints,
        }
    }
}

/// The programs and their maps.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kernel")]
pub struct XdpArgs {
    /// Where in the kernel queries are answered
    #[arg(long, env = "HEADLESS_HOOK", value_enum, default_value_t)]
    pub hook: Hook,
    /// How the XDP program is attached to an interface
    #[arg(long, env = "HEADLESS_XDP_MODE", value_enum, default_value_t)]
    pub xdp_mode: XdpMode,
    /// How the tc program is attached to an interface
    #[arg(long, env = "HEADLESS_TC_MODE", value_enum, default_value_t)]
    pub tc_mode: TcMode,
    /// With `--hook auto`, traffic from a pod above which XDP is taken off its interface
    /// and tc answers alone. XDP comes back after ten seconds below half of this limit
    #[arg(long, env = "HEADLESS_EGRESS_LIMIT", value_name = "MBIT/S", default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub egress_limit: u32,
    /// The same limit in packets per second. Answered queries do not count
    #[arg(long, env = "HEADLESS_EGRESS_PACKETS", value_name = "PACKETS/S", default_value_t = 50_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub egress_packets: u32,
    /// Names of the interfaces that get the programs (`cali*`), whatever their kind. By
    /// default every veth gets them whose other end is in another network namespace. An
    /// interface that carries a default route is left alone without `--serve-uplink`
    #[arg(
        long,
        env = "HEADLESS_INTERFACE",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    pub interface: Vec<String>,
    /// Names of interfaces that do not get the programs
    #[arg(
        long,
        env = "HEADLESS_EXCLUDE_INTERFACE",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    pub exclude_interface: Vec<String>,
    /// Put the programs also on interfaces that carry a default route, where `--interface`
    /// names them. The programs then read all traffic that comes into the node, and answer
    /// whoever reaches a served address from outside
    #[arg(long, env = "HEADLESS_SERVE_UPLINK", requires = "interface")]
    pub serve_uplink: bool,
    /// How long the kernel goes on answering after the agent's last heartbeat: at least 2s,
    /// at most 5m
    #[arg(
        long,
        env = "HEADLESS_LEASE",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = lease
    )]
    pub lease: Duration,
    /// What the programs log
    #[arg(long, env = "HEADLESS_KERNEL_LOG", value_enum, default_value_t)]
    pub kernel_log: KernelLog,
    /// Most memory that the maps take, such as `64MiB`; half of the memory cgroup's limit
    /// unless given, or a sixteenth of the machine's memory where there is no limit. The
    /// maps' sizes follow from the cluster
    #[arg(long, env = "HEADLESS_MAX_MAP_MEMORY", value_name = "SIZE")]
    pub max_map_memory: Option<ByteSize>,
}

/// The longest lease. While the agent is dead, an answer is as old as the lease at most. After
/// five minutes Kubernetes evicts the pods of a node that has failed
/// (`default-unreachable-toleration-seconds` of kube-apiserver). From then on more and more
/// answers would have addresses of pods that are gone.
const LEASE_MAX: Duration = Duration::from_mins(5);

/// Parses a lease. A lease of less than two heartbeats could end between them.
fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if lease < 2 * crate::maps::heartbeat::INTERVAL {
        return Err("shorter than two heartbeats (2s)".into());
    }
    if lease > LEASE_MAX {
        return Err("longer than 5m: a dead agent's answers would be as old".into());
    }
    Ok(lease)
}

/// The responder.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Responder")]
pub struct ListenArgs {
    /// Address on which the kernel and the agent answer. The default port is 53; with
    /// another port only the agent answers
    #[arg(long, env = "HEADLESS_LISTEN", value_name = "ADDRESS", value_parser = listen,
        value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,
    /// Address on which only the agent answers, for measurements
    #[arg(long, env = "HEADLESS_LISTEN_UNSERVED", value_name = "ADDRESS", value_parser = listen,
        value_delimiter = ',')]
    pub listen_unserved: Vec<SocketAddr>,
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(ip), _) => SocketAddr::new(ip, DNS_PORT),
        (_, Ok(address)) => address,
        _ => return Err("not an IP address, with or without a port".into()),
    };
    if address.ip().is_unspecified() {
        return Err("name each address: a reply must leave from the one that was asked".into());
    }
    Ok(address)
}

/// The admin endpoint.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Admin endpoint")]
pub struct AdminArgs {
    /// Address at which the agent answers /livez, /readyz and /metrics
    #[arg(long, env = "HEADLESS_ADMIN", value_name = "ADDRESS:PORT", default_value_t = ADMIN)]
    pub admin: SocketAddr,
    /// The admin socket.
    #[command(flatten)]
    pub socket: SocketArgs,
}

/// The admin socket.
#[derive(Clone, Debug, Args)]
pub struct SocketArgs {
    /// Unix socket at which the agent answers `status` and `dump`, to its own user only
    #[arg(long, env = "HEADLESS_ADMIN_SOCKET", value_name = "PATH",
        default_value = "/run/headless/admin.sock", value_parser = absolute)]
    pub admin_socket: PathBuf,
}

/// Parses the path of a socket. An empty path would bind an abstract address.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() && path.file_name().is_some() {
        Ok(path)
    } else {
        Err("expected an absolute path".into())
    }
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Options of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print counts of zero, too, and all reports about objects
    #[arg(long, action = ArgAction::SetTrue)]
    pub all: bool,
    /// Print the meaning of each reason for which packets passed, and the next step
    #[arg(long, action = ArgAction::SetTrue)]
    pub explain: bool,
    /// Time over which rates are measured; `0s` prints at once, without rates. JSON has counts
    /// alone
    #[arg(long, value_name = "DURATION", default_value = "1s",
        value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// The agent that is asked.
    #[command(flatten)]
    pub socket: SocketArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Options of `dump`.
#[derive(Clone, Debug, Args)]
pub struct DumpArgs {
    /// Only this name, with or without `svc.<zone>`
    pub name: Option<String>,
    /// Only names whose data in the kernel differ from the agent's
    #[arg(long, action = ArgAction::SetTrue)]
    pub differing: bool,
    /// The agent that is asked.
    #[command(flatten)]
    pub socket: SocketArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Where objects come from.
    #[command(flatten)]
    pub folder: FolderArgs,
    /// What is answered.
    #[command(flatten)]
    pub records: RecordArgs,
}

#[cfg(test)]
mod tests;
