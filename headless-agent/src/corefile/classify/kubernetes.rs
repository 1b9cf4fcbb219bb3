//! The plugin `kubernetes` (`plugin/kubernetes/setup.go`).

use std::collections::BTreeSet;

use headless_ebpf::abi::PodsMode;

use super::super::address::{REVERSE_ZONES, covers, overlap};
use super::super::exposure::Namespaces;
use super::super::rules::{Part, Parts};
use super::super::token::{Token, Words, shown};
use super::names::{fall, zones_or};
use super::state::{Addressed, Classifier, PluginError};
use crate::selector::Selector;

/// The largest `ttl` in seconds.
const TTL_MAX: u32 = 3600;

/// The first zone of the first `kubernetes` plugin that is no reverse zone.
pub(super) fn first_zone(blocks: &[Addressed<'_>]) -> Result<Option<String>, PluginError> {
    for block in blocks
        .iter()
        .filter(|it| it.addresses.iter().any(|it| it.1.port.is_some()))
    {
        let plugins = block.block.plugins.iter();
        for plugin in plugins.filter(|it| &*it.name == "kubernetes") {
            let mut words = Words::new(&plugin.tokens);
            words.next();
            let args = words.args();
            if let Some(arg) = args.iter().find(|arg| arg.variable().is_some()) {
                return Err(arg.error("the zone is not known: it is an environment variable"));
            }
            let zones = zones_or(&args, &block.zones());
            let zone = zones.into_iter().find(|zone| !is_reverse(zone));
            if let Some(zone) = zone.filter(|zone| zone != ".") {
                return Ok(Some(zone));
            }
        }
    }
    Ok(None)
}

fn is_reverse(zone: &str) -> bool {
    REVERSE_ZONES.iter().any(|it| covers(it, zone))
}

/// The label selector that these words make, the first of which is `first`. CoreDNS takes all that
/// `kubectl` takes, apart from `!=` (`ParseToLabelSelector` in k8s.io/apimachinery).
fn selector(first: &Token, args: &[&Token]) -> Result<Selector, PluginError> {
    let words: Vec<_> = args.iter().map(|arg| &*arg.text).collect();
    let text = words.join(" ");
    if text.trim().is_empty() {
        return Ok(Selector::default());
    }
    if text.contains("!=") {
        return Err(first.error("CoreDNS takes no != in label selectors, but notin"));
    }
    let selector: Selector = text
        .parse()
        .map_err(|error| first.error(format!("{error}")))?;
    let mut keys = BTreeSet::new();
    // Of `a=1,a=2` CoreDNS forgets the first.
    if let Some(key) = selector.keys().find(|key| !keys.insert(*key)) {
        let text = format!(
            "the agent does not read a selector with {} twice",
            shown(key)
        );
        return Err(first.error(text));
    }
    Ok(selector)
}

impl Classifier<'_> {
    /// Takes the options over.
    pub(super) fn kubernetes(
        &mut self,
        mut words: Words<'_>,
        block: &[String],
    ) -> Result<(), PluginError> {
        let Some(name) = words.next() else {
            return Ok(());
        };
        self.zones(name, &zones_or(&words.args(), block));
        self.options();
        let mut has_namespaces = None;
        while let Some(option) = words.next_in_block() {
            let args = words.args();
            if matches!(&*option.text, "namespaces" | "namespace_labels") {
                if has_namespaces.is_some_and(|it| it != &*option.text) {
                    return Err(option.error("namespaces and namespace_labels exclude each other"));
                }
                has_namespaces = Some(&*option.text);
            }
            self.option(option, &args)?;
        }
        words.end()
    }

    /// Looks whether the plugin serves the zone and the reverse zones.
    fn zones(&mut self, name: &Token, zones: &[String]) {
        let zone = self.scope.zone.clone();
        if !zones.contains(&zone) {
            let text = format!("kubernetes does not serve the zone {zone}");
            self.find(Parts::ALL, name, text);
        }
        // CoreDNS's reverse answers name hosts of the first zone that is not below a reverse one:
        // `in-addr.arpa` itself counts as any other (`setup.go`; `IsReverse` in `dnsutil`).
        let below = |it: &&String| is_reverse(it) && !REVERSE_ZONES.contains(&it.as_str());
        let primary = zones.iter().find(|it| !below(it));
        if let Some(primary) = primary.filter(|it| **it != zone) {
            let text = format!(
                "the reverse answers of kubernetes are in {}",
                shown(primary)
            );
            self.find(Part::Reverse, name, text);
        }
        for child in zones.iter().filter(|it| covers(&zone, it) && **it != zone) {
            let text = format!("kubernetes has a zone of its own for {}", shown(child));
            self.find(Part::Zone, name, text);
        }
        for reverse in REVERSE_ZONES {
            if !zones.iter().any(|it| it == reverse) {
                let text = format!("kubernetes does not serve all of {reverse}");
                self.find(Part::Reverse, name, text);
            }
        }
    }

    fn option(&mut self, option: &Token, args: &[&Token]) -> Result<(), PluginError> {
        if matches!(
            &*option.text,
            "endpoint_pod_names" | "noendpoints" | "zonal"
        ) && let Some(arg) = args.first()
        {
            return Err(arg.error(format!("{} takes no argument", option.text)));
        }
        let first = args.first().copied();
        let missing = || option.error("an argument is missing");
        match &*option.text {
            "pods" => {
                let mode = first.filter(|_| args.len() == 1).ok_or_else(missing)?;
                self.options().pods = match &*mode.text {
                    "disabled" => PodsMode::Disabled,
                    "insecure" => PodsMode::Insecure,
                    "verified" => PodsMode::Verified,
                    _ => return Err(mode.error("pods has no such mode")),
                };
            }
            "ttl" => {
                let ttl = first.ok_or_else(missing)?;
                let seconds = ttl.text.parse().ok().filter(|it| *it <= TTL_MAX);
                let wrong = || ttl.error(format!("not a number of seconds up to {TTL_MAX}"));
                self.options().ttl = seconds.ok_or_else(wrong)?;
            }
            "endpoint_pod_names" => self.options().endpoint_pod_names = true,
            "fallthrough" => self.fallthrough(option, args),
            "namespaces" | "namespace_labels" | "labels" | "noendpoints" | "ignore" => {
                self.exposure(option, args)?;
            }
            "zonal" | "multicluster" => {
                let text = format!("the agent does not have the option {}", option.text);
                self.find(Parts::ALL, option, text);
            }
            // The objects of another API server may be others.
            "endpoint" | "kubeconfig" => {
                let text = format!("another API server may be followed ({})", option.text);
                self.find(Parts::ALL, option, text);
            }
            // The last two are without effect since CoreDNS 1.7.
            "tls"
            | "startup_timeout"
            | "apiserver_qps"
            | "apiserver_burst"
            | "apiserver_max_inflight"
            | "upstream"
            | "resyncperiod" => {}
            _ => {
                let text = format!("kubernetes has an unknown option {}", shown(&option.text));
                self.find(Parts::ALL, option, text);
            }
        }
        Ok(())
    }

    /// Takes an option over that says which objects have names.
    fn exposure(&mut self, option: &Token, args: &[&Token]) -> Result<(), PluginError> {
        let first = args.first().copied();
        let missing = || option.error("an argument is missing");
        match (&*option.text, first) {
            // CoreDNS ignores the word without an argument, and every further argument.
            ("ignore", None) => {}
            ("ignore", Some(what)) if &*what.text == "empty_service" => {
                self.options().exposure.ignore_empty = true;
            }
            ("ignore", Some(what)) => return Err(what.error("ignore has no such argument")),
            ("noendpoints", _) => self.options().exposure.no_endpoints = true,
            (_, None) => return Err(missing()),
            // The last line of these two holds, and the names of all lines of `namespaces`.
            ("labels", Some(first)) => self.options().exposure.labels = selector(first, args)?,
            ("namespace_labels", Some(first)) => {
                let selector = selector(first, args)?;
                self.options().exposure.namespaces = Namespaces::Labelled(selector);
            }
            (_, Some(_)) => {
                let names = args.iter().map(|arg| Box::from(&*arg.text));
                match &mut self.options().exposure.namespaces {
                    Namespaces::Listed(listed) => listed.extend(names),
                    other => *other = Namespaces::Listed(names.collect()),
                }
            }
        }
        Ok(())
    }

    /// What falls through has no answer of `kubernetes`: names that do not exist.
    fn fallthrough(&mut self, option: &Token, args: &[&Token]) {
        let zone = self.scope.zone.clone();
        // Reverse names that do not exist are left to CoreDNS in any case.
        if fall(args).iter().any(|it| overlap(it, &zone)) {
            self.find(Part::NxDomain, option, format!("fallthrough covers {zone}"));
        }
    }
}
