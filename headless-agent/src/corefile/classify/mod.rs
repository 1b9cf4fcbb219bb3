//! From server blocks to [`Rules`].

mod cache;
mod classes;
mod hosts;
mod kubernetes;
mod names;
mod rewrite;
mod settings;
mod state;
mod template;

use headless_ebpf::abi::PASSED_MAX;

use self::names::Scope;
use self::state::{Addressed, Classifier, PluginError, addresses};
use super::address::{DNS_PORT, REVERSE_ZONES, covers};
use super::files::Files;
use super::left::Left;
use super::parse::{Directive, ServerBlock};
use super::plugins::{Plugin, Role};
use super::rules::{Finding, Part, Parts, Reload, Rules};
use super::token::{Token, Words, shown};

/// The zone of a cluster without a `kubernetes` plugin in its Corefile.
const DEFAULT_ZONE: &str = "cluster.local.";

/// Says what the server blocks mean for `zone`, or for the first zone of the first `kubernetes`
/// plugin.
pub(super) fn classify(blocks: &[ServerBlock], files: &Files, zone: Option<&str>) -> Rules {
    let result = addresses(blocks).and_then(|addressed| {
        let zone = match zone {
            Some(zone) => super::address::fqdn(zone),
            None => kubernetes::first_zone(&addressed)?.unwrap_or_else(|| DEFAULT_ZONE.into()),
        };
        let mut classifier = Classifier {
            scope: Scope { zone },
            files,
            rules: Rules {
                options: None,
                findings: Vec::new(),
                reload: Reload::Never,
                unread: None,
            },
            has_classes: false,
        };
        classifier.all(&addressed)?;
        classifier.count_names();
        Ok(classifier.rules)
    });
    result.unwrap_or_else(|error| {
        Rules::unknown(Finding {
            left: Left::ALL,
            place: Some(error.place.clone()),
            text: format!(
                "CoreDNS refuses this Corefile: at `{}`: {}",
                error.word, error.reason
            ),
        })
    })
}

/// The server block that serves a name.
#[derive(Clone, Copy)]
struct Serving<'a> {
    block: &'a Addressed<'a>,
    /// The address that covers the name.
    key: &'a Token,
    zone: &'a str,
}

impl Classifier<'_> {
    /// Leaves everything to CoreDNS, for a reason that no line has.
    fn leave_all(&mut self, text: String) {
        self.rules.findings.push(Finding {
            left: Left::ALL,
            place: None,
            text,
        });
    }

    /// Adds a finding where the lines have too many names, so that the whole zone is left to
    /// CoreDNS.
    fn count_names(&mut self) {
        let findings = &self.rules.findings;
        let is_named = |finding: &Finding| finding.left.parts.has(Part::Zone);
        if self.rules.parts().has(Part::Zone) && !findings.iter().any(is_named) {
            self.rules.findings.push(Finding {
                left: Part::Zone.into(),
                place: None,
                text: format!("more than {PASSED_MAX} names of the zone"),
            });
        }
    }

    fn all(&mut self, blocks: &[Addressed<'_>]) -> Result<(), PluginError> {
        self.reload(blocks)?;
        let zone = self.scope.zone.clone();
        let Some(port) = port(blocks, &zone) else {
            self.leave_all(format!(
                "no server block serves the zone {zone} on port 53, or on one other port"
            ));
            return Ok(());
        };
        let serving = serving(blocks, &zone, port);
        let [serving] = serving.as_slice() else {
            for Serving { key, .. } in serving {
                self.find(Parts::ALL, key, "another server block has the same address");
            }
            return Ok(());
        };
        self.children(blocks, port, serving);
        self.reverse(blocks, port, serving);
        for directive in &serving.block.block.plugins {
            self.plugin(directive, serving)?;
        }
        self.classes(blocks, port, serving);
        if !serving
            .block
            .block
            .plugins
            .iter()
            .any(|it| &*it.name == "kubernetes")
        {
            let text = format!("this server block has no plugin kubernetes for {zone}");
            self.find(Parts::ALL, serving.key, text);
        }
        Ok(())
    }

    /// Looks for server blocks that serve names below the zone, or some reverse names.
    fn children(&mut self, blocks: &[Addressed<'_>], port: u16, serving: &Serving<'_>) {
        let zone = self.scope.zone.clone();
        for (key, address) in blocks.iter().flat_map(|it| &it.addresses) {
            if address.port != Some(port) {
                continue;
            }
            for child in &address.zones {
                if covers(&zone, child) && *child != zone {
                    let text = format!("a server block of its own serves {}", shown(child));
                    self.find(Part::Zone, key, text);
                }
                let mut reverse = REVERSE_ZONES.iter();
                if reverse.any(|it| covers(it, child) && child != it) && child != serving.zone {
                    let text = format!("a server block of its own serves {}", shown(child));
                    self.find(Part::Reverse, key, text);
                }
            }
        }
    }

    /// Looks whether another server block than the zone's serves reverse names.
    fn reverse(&mut self, blocks: &[Addressed<'_>], port: u16, serving: &Serving<'_>) {
        for zone in REVERSE_ZONES {
            let others = self::serving(blocks, zone, port);
            match others.as_slice() {
                [one] if std::ptr::eq(one.block, serving.block) => {}
                [other, ..] => {
                    let text = format!("another server block serves {zone}");
                    self.find(Part::Reverse, other.key, text);
                }
                [] => {
                    let text = format!("no server block serves {zone}");
                    self.find(Part::Reverse, serving.key, text);
                }
            }
        }
    }

    /// Says what a plugin of the zone's server block means.
    fn plugin(&mut self, directive: &Directive, serving: &Serving<'_>) -> Result<(), PluginError> {
        let Some(name) = directive.tokens.first() else {
            return Ok(());
        };
        let Some(plugin) = Plugin::named(&directive.name) else {
            let text = format!("the plugin {} is not known", shown(&directive.name));
            self.find(Parts::ALL, name, text);
            return Ok(());
        };
        let why = |text: &str| format!("{}: {text}", plugin.name);
        match plugin.role {
            Role::Harmless | Role::Behind => return Ok(()),
            Role::Blind => {
                self.find(Parts::NONE, name, why(plugin.why));
                return Ok(());
            }
            _ => {}
        }
        // A word whose value is not known could mean anything.
        if let Some(word) = directive.tokens.iter().find(|it| it.variable().is_some()) {
            let variable = shown(word.variable().unwrap_or_default());
            let text = format!("the value of the variable {variable} is not known");
            self.find(Parts::ALL, word, why(&text));
            return Ok(());
        }
        let words = Words::new(&directive.tokens);
        let zones = serving.block.zones();
        match plugin.role {
            Role::Modelled => return self.modelled(plugin.name, words, &zones),
            Role::ByItsRules => match plugin.name {
                "rewrite" => self.rewrite(words)?,
                "template" => self.template(words, &zones)?,
                _ => self.hosts(words, &zones)?,
            },
            Role::Everything => self.find(Parts::ALL, name, why(plugin.why)),
            Role::Denials => {
                let all = directive
                    .tokens
                    .iter()
                    .find(|it| &*it.text == "translate_all");
                let parts = if all.is_some() {
                    Part::Zone
                } else {
                    Part::Denials
                };
                self.find(parts, all.unwrap_or(name), why(plugin.why));
            }
            Role::Harmless
            | Role::Behind
            | Role::Blind
            | Role::InItsZones
            | Role::InItsHostedZones
            | Role::NxDomainInItsZones => self.in_zones(plugin, words, &zones),
        }
        Ok(())
    }

    fn modelled(
        &mut self,
        name: &str,
        words: Words<'_>,
        zones: &[String],
    ) -> Result<(), PluginError> {
        match name {
            "kubernetes" => self.kubernetes(words, zones),
            "cache" => self.cache(words, zones),
            "bufsize" => self.bufsize(words),
            "loadbalance" => self.loadbalance(words),
            "bind" => {
                self.bind(words);
                Ok(())
            }
            // `reload` is read for the whole Corefile.
            _ => Ok(()),
        }
    }

    /// A plugin whose arguments are the zones in which it changes answers.
    fn in_zones(&mut self, plugin: Plugin, mut words: Words<'_>, zones: &[String]) {
        while let Some(word) = words.next() {
            if &*word.text != plugin.name {
                continue;
            }
            let mut args = words.args();
            if plugin.name == "autopath" {
                // The last one is a file or a plugin.
                args.pop();
            }
            let hosted = plugin.role == Role::InItsHostedZones;
            let mut touched = self.scope.touched_by_arguments(&args, zones, hosted);
            if plugin.role == Role::NxDomainInItsZones {
                let is_ours = touched.has(Part::Zone);
                touched = if is_ours {
                    Part::NxDomain.into()
                } else {
                    Parts::NONE
                };
            }
            if !touched.is_empty() {
                self.find(touched, word, format!("{}: {}", plugin.name, plugin.why));
            }
        }
    }
}

/// The port on which the Corefile serves the zone: 53, or the only other one, to which the
/// Service of the cluster's DNS then leads.
fn port(blocks: &[Addressed<'_>], zone: &str) -> Option<u16> {
    let addresses = blocks.iter().flat_map(|it| &it.addresses);
    let serving = addresses.filter(|(_, it)| it.zones.iter().any(|it| covers(it, zone)));
    let mut ports: Vec<_> = serving.filter_map(|(_, it)| it.port).collect();
    ports.sort_unstable();
    ports.dedup();
    match ports.as_slice() {
        [port] => Some(*port),
        ports => ports.contains(&DNS_PORT).then_some(DNS_PORT),
    }
}

/// The server blocks with the longest zone that covers `name` (`server.go`, `ServeDNS`). A
/// Corefile that CoreDNS accepts has more than one only with `view` or `bind`.
fn serving<'a>(blocks: &'a [Addressed<'a>], name: &str, port: u16) -> Vec<Serving<'a>> {
    let mut best: Vec<Serving<'_>> = Vec::new();
    for block in blocks {
        for (key, address) in &block.addresses {
            let zones = address.zones.iter().filter(|it| covers(it, name));
            for zone in zones.filter(|_| address.port == Some(port)) {
                let longest = best.first().map_or(0, |best| best.zone.len());
                if zone.len() < longest {
                    continue;
                }
                if zone.len() > longest {
                    best.clear();
                }
                best.push(Serving { block, key, zone });
            }
        }
    }
    best
}
