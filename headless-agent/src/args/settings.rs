//! From options to settings. Errors name the option.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use headless_ebpf::abi::{Config, PodsMode};
use hickory_proto::rr::Name;

use super::source::{ApiArgs, SourceArgs, SourceKind};
use super::{
    CheckArgs, DNS_PORT, DumpArgs, Endpoints, ListenArgs, Output, RecordArgs, RunArgs, StatusArgs,
    XdpArgs,
};
use crate::config::{self, ConfigError};
use crate::corefile::{Exposure, Namespaces};
use crate::datapath::lift::Traffic;
use crate::datapath::plan::{InterfacePatterns, Plan};
use crate::maps;
use crate::maps::capacity;
use crate::mirror::Policy;
use crate::observe::client;
use crate::policy;
use crate::records::{EndpointScope, Settings};
use crate::selector::Selector;
use crate::watch::Keep;
use crate::watch::kubernetes::{self, Access, Patience, Selection, SliceSelection};

/// A million bits.
const BYTES_PER_MBIT: u64 = 1_000_000 / 8;

impl RunArgs {
    /// The settings of `run`.
    ///
    /// # Errors
    /// Where options contradict each other or cannot be used; names the option.
    pub fn settings(&self) -> Result<config::Run, ConfigError> {
        let Self {
            source,
            records,
            corefile,
            xdp,
            policy,
            listen,
            admin,
        } = self;
        let kind = source.kind(kubernetes::in_cluster())?;
        let served = listen.served();
        Ok(config::Run {
            source: source.settings(kind, records)?,
            records: records.settings(kind)?,
            corefile: corefile.settings(kind)?,
            zone: records.zone.clone(),
            taken: records.taken(),
            programs: records.programs()?,
            policy: Policy {
                lease: xdp.lease,
                source_max_age_deny: source.source_max_age_deny,
                cluster_dns: records.cluster_dns_service.clone(),
                listen: served,
            },
            plan: xdp.plan(policy.mode.into())?,
            pods: policy.settings(kind, &records.cluster_dns_service)?,
            map_memory: xdp.map_memory(),
            kernel_log: xdp.kernel_log.into(),
            listen: listen.all().collect(),
            admin: admin.admin,
            admin_socket: admin.socket.admin_socket.clone(),
        })
    }
}

impl CheckArgs {
    /// The settings of `check`.
    ///
    /// # Errors
    /// As [`RunArgs::settings`].
    pub fn settings(&self) -> Result<config::Check, ConfigError> {
        let Self { folder, records } = self;
        Ok(config::Check {
            folder: config::folder(&folder.manifests)?,
            keep: records.keep(),
            records: records.settings(SourceKind::Manifests)?,
        })
    }
}

impl StatusArgs {
    /// The parts of the status that are printed.
    pub fn view(&self) -> client::View {
        client::View {
            all: self.all,
            explain: self.explain,
            interval: self.interval,
        }
    }

    /// The agent that is asked, and the form of the output.
    pub fn ask(&self) -> client::Ask {
        client::Ask {
            socket: self.socket.admin_socket.clone(),
            output: self.output.into(),
        }
    }
}

impl DumpArgs {
    /// The agent that is asked, and the form of the output.
    pub fn ask(&self) -> client::Ask {
        client::Ask {
            socket: self.socket.admin_socket.clone(),
            output: self.output.into(),
        }
    }

    /// The names that are asked for.
    pub fn names(&self) -> client::Names {
        client::Names {
            name: self.name.clone(),
            differing: self.differing,
        }
    }
}

impl From<Output> for client::Output {
    fn from(output: Output) -> Self {
        match output {
            Output::Table => Self::Table,
            Output::Json => Self::Json,
        }
    }
}

impl SourceArgs {
    /// The kind of source that the options mean.
    pub(super) fn kind(&self, in_cluster: bool) -> Result<SourceKind, ConfigError> {
        let api = Access::from(&self.api).is_given();
        let wrong = |text: &str| Err(anyhow::Error::msg(text.to_owned()).into());
        match (self.source, self.manifests.is_some()) {
            (Some(SourceKind::Kubernetes), true) => {
                wrong("--manifests: the source is the API server")
            }
            (Some(SourceKind::Manifests), false) => {
                wrong("--source manifests: --manifests is missing, which names the folder")
            }
            (_, true) if api => {
                wrong("--manifests: options of the API server are given, which is no source then")
            }
            (_, true) => Ok(SourceKind::Manifests),
            (Some(SourceKind::Kubernetes), false) => Ok(SourceKind::Kubernetes),
            (None, false) if in_cluster || api => Ok(SourceKind::Kubernetes),
            (None, false) => wrong(
                "not in a cluster: --source kubernetes follows the API server of the default \
                 kubeconfig, --kubeconfig or --api-server that of another, --manifests a folder",
            ),
        }
    }

    fn settings(
        &self,
        kind: SourceKind,
        records: &RecordArgs,
    ) -> Result<config::Source, ConfigError> {
        if let (SourceKind::Manifests, Some(path)) = (kind, &self.manifests) {
            return Ok(config::Source::Manifests {
                folder: config::folder(path)?,
                keep: records.keep(),
            });
        }
        Ok(config::Source::Kubernetes {
            access: Access::from(&self.api),
            selection: Selection {
                slices: match records.endpoints(kind) {
                    _ if records.exposure.no_endpoints => SliceSelection::None,
                    EndpointScope::All => SliceSelection::All,
                    EndpointScope::Headless => SliceSelection::Headless,
                },
                pods: records.pods() == PodsMode::Verified,
                cluster_dns: records.cluster_dns_service.clone(),
                keep: records.keep(),
            },
            slices_max: (records.chosen_endpoints(kind) == Endpoints::Auto)
                .then_some(self.endpoints_max),
            patience: Patience::within(self.source_max_age_deny),
        })
    }
}

impl From<&ApiArgs> for Access {
    fn from(args: &ApiArgs) -> Self {
        let ApiArgs {
            kubeconfig,
            context,
            api_server,
            api_ca,
            api_token_file,
        } = args.clone();
        Self {
            kubeconfig,
            context,
            server: api_server,
            ca: api_ca,
            token_file: api_token_file,
        }
    }
}

impl RecordArgs {
    /// Settings of the index, where objects come from `source`.
    fn settings(&self, source: SourceKind) -> Result<Settings, ConfigError> {
        let given = self.zone();
        let bad = |error: &dyn std::fmt::Display| {
            ConfigError::from(anyhow::anyhow!("--zone `{given}`: {error}"))
        };
        let mut zone: Name = given.parse().map_err(|error| bad(&error))?;
        zone.set_fqdn(true);
        if zone.is_root() {
            return Err(bad(&"the root cannot be a cluster's domain"));
        }
        Ok(Settings {
            ttls: self.ttls(),
            cache: self.cache,
            edns_max: self.bufsize.unwrap_or(u16::MAX),
            any_class: self.any_class,
            pods: self.pods(),
            endpoints: self.endpoints(source),
            exposure: self.exposure.clone(),
            dns_service: self.cluster_dns_service.clone(),
            ..Settings::new(zone)
        })
    }

    /// Which objects and which optional parts of objects are kept.
    fn keep(&self) -> Keep {
        let Exposure {
            namespaces, labels, ..
        } = &self.exposure;
        Keep {
            pod_names: self.endpoint_pod_names,
            namespaces: match namespaces {
                Namespaces::Labelled(selector) => selector.clone(),
                Namespaces::All | Namespaces::Listed(_) => Selector::default(),
            },
            labels: labels.clone(),
        }
    }

    /// Settings of the programs.
    fn programs(&self) -> Result<Config, ConfigError> {
        let hash_key = maps::new_hash_key()
            .map_err(anyhow::Error::from)
            .context("no random numbers for the key of the maps' hashes")?;
        let zone = self.zone();
        let mut config = Config::new(zone, self.ttl(), self.pods(), &hash_key)
            .with_context(|| format!("--zone: `{zone}` is not a domain name"))?;
        config.set_ttls(self.ttls());
        config.edns_max = self.bufsize.unwrap_or(u16::MAX).into();
        config.any_class = self.any_class.into();
        Ok(config)
    }
}

impl XdpArgs {
    /// Most memory in bytes that the maps take.
    fn map_memory(&self) -> u64 {
        let given = self.max_map_memory.map(|bound| bound.as_u64());
        given.unwrap_or_else(capacity::default_bound)
    }

    fn plan(&self, mode: policy::Mode) -> Result<Plan, ConfigError> {
        let interfaces = InterfacePatterns::new(&self.interface, &self.exclude_interface)
            .context("--interface or --exclude-interface")?;
        Ok(Plan {
            hook: self.hook.into(),
            xdp: self.xdp_mode.into(),
            tc: self.tc_mode.into(),
            interfaces,
            serve_uplink: self.serve_uplink,
            mode,
            limits: Traffic {
                bytes: u64::from(self.egress_limit) * BYTES_PER_MBIT,
                packets: u64::from(self.egress_packets),
            },
        })
    }
}

impl ListenArgs {
    /// Addresses that the programs answer too: those with the port of DNS.
    fn served(&self) -> Vec<IpAddr> {
        let listen = self.listen.iter();
        let dns = listen.filter(|address| address.port() == DNS_PORT);
        dns.map(SocketAddr::ip).collect()
    }

    /// All addresses of the responder.
    fn all(&self) -> impl Iterator<Item = SocketAddr> {
        let unserved = self.listen_unserved.iter();
        self.listen.iter().chain(unserved).copied()
    }
}
