//! How the options of a Corefile and the operator's go together.

use headless_ebpf::abi::{PodsMode, Ttls};

use super::corefile::Pods;
use super::{RecordArgs, RunArgs};
use crate::corefile::Options;

/// The default of `--zone`.
const ZONE: &str = "cluster.local";

/// The default of `--ttl`, as in kubeadm's Corefile.
const TTL: u32 = 30;

impl RunArgs {
    /// The options with those of a Corefile, which hold where none is given. Each option that
    /// contradicts the Corefile is told in a sentence.
    #[must_use]
    pub fn with(&self, options: &Options) -> (Self, Vec<String>) {
        let mut args = self.clone();
        let contradictions = args.records.take(options);
        (args, contradictions)
    }
}

impl RecordArgs {
    /// Takes the options of a Corefile over, where none is given.
    fn take(&mut self, options: &Options) -> Vec<String> {
        let mut contradictions = Vec::new();
        let mut contradict = |option: &str, given: &str, says: &str| {
            if given != says {
                contradictions.push(format!(
                    "{option} {given} is given, the Corefile has {says}"
                ));
            }
        };
        let zone = options.zone.trim_end_matches('.');
        let given = self.zone.get_or_insert_with(|| zone.to_owned());
        contradict(
            "--zone",
            &given.trim_end_matches('.').to_ascii_lowercase(),
            zone,
        );
        let given = self.ttl.get_or_insert(options.ttl);
        contradict("--ttl", &given.to_string(), &options.ttl.to_string());
        let says = Pods::from(options.pods);
        let given = self.pods.get_or_insert(says);
        contradict("--pods", given.label(), says.label());
        if self.endpoint_pod_names && !options.endpoint_pod_names {
            contradict("--endpoint-pod-names", "", "no endpoint_pod_names");
        }
        self.endpoint_pod_names |= options.endpoint_pod_names;
        self.exposure = options.exposure.clone();
        self.cache = options.cache;
        self.bufsize = options.bufsize;
        self.any_class = options.any_class;
        contradictions
    }

    /// The options that hold, in the form of a Corefile's.
    pub(super) fn taken(&self) -> Options {
        Options {
            zone: self.zone().to_owned(),
            pods: self.pods(),
            ttl: self.ttl(),
            endpoint_pod_names: self.endpoint_pod_names,
            exposure: self.exposure.clone(),
            cache: self.cache,
            bufsize: self.bufsize,
            any_class: self.any_class,
        }
    }

    /// The cluster's domain.
    pub(super) fn zone(&self) -> &str {
        self.zone.as_deref().unwrap_or(ZONE)
    }

    /// The TTL of records before a cache changes it, in seconds.
    pub(super) fn ttl(&self) -> u32 {
        self.ttl.unwrap_or(TTL)
    }

    /// Which names of pods exist.
    pub(super) fn pods(&self) -> PodsMode {
        self.pods.unwrap_or_default().into()
    }

    /// The TTLs of answers.
    pub(super) fn ttls(&self) -> Ttls {
        let ttls = Ttls::of(self.ttl());
        self.cache.map_or(ttls, |cache| cache.bound(ttls))
    }
}
