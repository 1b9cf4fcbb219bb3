//! Every plugin of CoreDNS 1.14.7 (`plugin.cfg`), and what it means for the programs' answers.
//!
//! CoreDNS asks its plugins in the order of `plugin.cfg`, not of the Corefile. A plugin behind
//! `kubernetes` sees a question for a name of the zone only where `kubernetes` lets it fall
//! through.

/// A plugin.
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    /// Its name in a Corefile.
    pub name: &'static str,
    /// The plugin's meaning for the programs' answers.
    pub role: Role,
    /// The reason in words.
    pub why: &'static str,
}

/// A plugin's meaning for the programs' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The plugin changes no answer for a name of the zone.
    Harmless,
    /// The plugin changes no answer, but does not hear about what the programs answer.
    Blind,
    /// The plugin stands behind `kubernetes`, so it sees only what falls through.
    Behind,
    /// The agent takes its options over.
    Modelled,
    /// The plugin can change answers for names in the zones that its arguments name, or in all
    /// zones of the server block where it names none.
    InItsZones,
    /// As [`Self::InItsZones`], for the first part of each argument up to a colon.
    InItsHostedZones,
    /// The plugin can change answers for the names that its rules match.
    ByItsRules,
    /// The plugin can change answers to questions for names in its zones that do not exist.
    NxDomainInItsZones,
    /// The plugin can change denials.
    Denials,
    /// The plugin can change every answer.
    Everything,
}

const fn plugin(name: &'static str, role: Role, why: &'static str) -> Plugin {
    Plugin { name, role, why }
}

/// Every plugin, in the order of `plugin.cfg`.
pub const PLUGINS: [Plugin; 60] = [
    plugin("root", Role::Harmless, "the folder of relative paths"),
    plugin("metadata", Role::Harmless, "data for other plugins"),
    plugin("geoip", Role::Harmless, "data for other plugins"),
    plugin("cancel", Role::Harmless, "a time limit for slow answers"),
    plugin(
        "proxyproto",
        Role::Harmless,
        "a protocol between proxies and CoreDNS",
    ),
    plugin("quic", Role::Harmless, "another transport"),
    plugin("grpc_server", Role::Harmless, "another transport"),
    plugin("https", Role::Harmless, "another transport"),
    plugin("https3", Role::Harmless, "another transport"),
    plugin("timeouts", Role::Harmless, "other transports"),
    plugin("multisocket", Role::Harmless, "the number of sockets"),
    plugin("reload", Role::Modelled, "when a changed Corefile holds"),
    plugin("nsid", Role::Everything, "it names the server in answers"),
    plugin("bufsize", Role::Modelled, "the largest UDP answer"),
    plugin(
        "bind",
        Role::Modelled,
        "the addresses that the server block serves",
    ),
    plugin("debug", Role::Harmless, "how faults are shown"),
    plugin(
        "trace",
        Role::Blind,
        "what the programs answer is not traced",
    ),
    plugin("ready", Role::Harmless, "a page for probes"),
    plugin("health", Role::Harmless, "a page for probes"),
    plugin("pprof", Role::Harmless, "a page for developers"),
    plugin("shed", Role::Harmless, "what to drop under load"),
    plugin(
        "prometheus",
        Role::Blind,
        "what the programs answer is in the agent's metrics only",
    ),
    plugin("errors", Role::Harmless, "a log of errors"),
    plugin("log", Role::Blind, "what the programs answer is not logged"),
    plugin(
        "dnstap",
        Role::Blind,
        "what the programs answer is not reported",
    ),
    plugin(
        "local",
        Role::Everything,
        "it answers for names that begin with localhost",
    ),
    plugin(
        "dns64",
        Role::Denials,
        "it makes IPv6 addresses where there are none",
    ),
    plugin("any", Role::Denials, "it answers questions of type ANY"),
    plugin("chaos", Role::Harmless, "questions of another class"),
    plugin("loadbalance", Role::Modelled, "the order of addresses"),
    plugin("tsig", Role::Everything, "it demands signatures"),
    plugin(
        "rewrite",
        Role::ByItsRules,
        "it changes questions and answers",
    ),
    plugin(
        "autopath",
        Role::NxDomainInItsZones,
        "it walks the search path for the client",
    ),
    plugin(
        "acl",
        Role::InItsZones,
        "it refuses questions by the client's address",
    ),
    plugin("cache", Role::Modelled, "the TTLs of answers"),
    plugin("header", Role::Everything, "it changes flags of answers"),
    plugin("dnssec", Role::InItsZones, "it signs answers"),
    plugin("tls", Role::Harmless, "another transport"),
    plugin("minimal", Role::Everything, "it leaves out records"),
    plugin("template", Role::ByItsRules, "it answers by patterns"),
    plugin(
        "transfer",
        Role::Harmless,
        "zone transfers, which the programs leave to CoreDNS",
    ),
    plugin("hosts", Role::ByItsRules, "it answers for hosts"),
    plugin(
        "route53",
        Role::InItsHostedZones,
        "it answers for its zones",
    ),
    plugin("azure", Role::InItsHostedZones, "it answers for its zones"),
    plugin(
        "clouddns",
        Role::InItsHostedZones,
        "it answers for its zones",
    ),
    plugin("k8s_external", Role::InItsZones, "it answers for its zones"),
    plugin(
        "kubernetes",
        Role::Modelled,
        "the names of Services and pods",
    ),
    plugin("file", Role::Behind, "it answers for its zones"),
    plugin("auto", Role::Behind, "it answers for its zones"),
    plugin("secondary", Role::Behind, "it answers for its zones"),
    plugin("etcd", Role::Behind, "it answers for its zones"),
    plugin("loop", Role::Behind, "it finds loops of forwarders"),
    plugin("forward", Role::Behind, "it asks other servers"),
    plugin("grpc", Role::Behind, "it asks other servers"),
    plugin("erratic", Role::Behind, "it disturbs answers for tests"),
    plugin(
        "whoami",
        Role::Behind,
        "it answers with the client's address",
    ),
    plugin("on", Role::Harmless, "commands at start and stop"),
    plugin("sign", Role::Harmless, "it signs files"),
    plugin("view", Role::Everything, "it chooses clients"),
    plugin("nomad", Role::Behind, "it answers for its zones"),
];

impl Plugin {
    /// The plugin with this name. `None` for a plugin that CoreDNS 1.14.7 does not have.
    pub fn named(name: &str) -> Option<Self> {
        PLUGINS.into_iter().find(|plugin| plugin.name == name)
    }
}
