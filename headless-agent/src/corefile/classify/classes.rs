//! Questions of other classes than IN.

use super::super::address::covers;
use super::Serving;
use super::state::{Addressed, Classifier};

/// The plugins with which a server answers questions of every class (`EnableChaos` in
/// `core/dnsserver/server.go`).
const ENABLING: [&str; 2] = ["chaos", "forward"];

/// The names for which `chaos` answers questions of class CH (`chaos/chaos.go`).
const CHAOS_NAMES: [&str; 5] = [
    "authors.bind.",
    "version.bind.",
    "version.server.",
    "hostname.bind.",
    "id.server.",
];

impl Addressed<'_> {
    fn has(&self, plugins: &[&str]) -> bool {
        let mut own = self.block.plugins.iter();
        own.any(|plugin| plugins.contains(&&*plugin.name))
    }
}

impl Classifier<'_> {
    /// Decides whether questions of any class have the answers of class IN. `kubernetes` does not
    /// look at the class, and CoreDNS refuses other classes before it
    /// asks a plugin, unless some server block of the same socket has one of [`ENABLING`].
    pub(super) fn classes(&mut self, blocks: &[Addressed<'_>], port: u16, serving: &Serving<'_>) {
        let own = serving.block;
        // A server block with `bind` may have other sockets.
        let shares = |other: &Addressed<'_>| {
            let mut addresses = other.addresses.iter();
            let is_bound = own.has(&["bind"]) || other.has(&["bind"]);
            std::ptr::eq(own, other) || !is_bound && addresses.any(|(_, it)| it.port == Some(port))
        };
        let mut enabling = blocks.iter().filter(|it| it.has(&ENABLING));
        let is_enabled = enabling.any(shares);
        let zone = self.scope.zone.as_str();
        let is_chaos = own.has(&["chaos"]) && CHAOS_NAMES.iter().any(|it| covers(zone, it));
        let any_class = is_enabled && !is_chaos && !self.has_classes;
        if let Some(options) = &mut self.rules.options {
            options.any_class = any_class;
        }
    }
}
