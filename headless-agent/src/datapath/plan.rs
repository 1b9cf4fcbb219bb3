//! The operator's choices: which programs, attached how, to which interfaces.

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::lift::Traffic;
use super::links::Link;
use crate::policy::Mode;

/// Where the kernel answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// As `xdp`, with XDP lifted from an interface while its pod sends much
    #[default]
    Auto,
    /// XDP, and behind it tc for replies that XDP cannot make large enough
    Xdp,
    /// Only tc
    Tc,
}

/// How the XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the network stack, before tc: right for veths.
    #[default]
    Generic,
    /// In the driver: for physical interfaces, refused on veths.
    Native,
}

/// How the tc program is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcMode {
    /// By tcx where the kernel has it, else by clsact
    #[default]
    Auto,
    /// By a link, before other tc programs, from kernel 6.6
    Tcx,
    /// By a filter of the clsact qdisc
    Clsact,
}

/// The operator's choices for the data path.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The programs that are attached.
    pub hook: Hook,
    /// How XDP is attached.
    pub xdp: XdpMode,
    /// How tc is attached.
    pub tc: TcMode,
    /// The interfaces to which programs are attached.
    pub interfaces: InterfacePatterns,
    /// Whether interfaces that lead out of the node get the programs, too.
    pub serve_uplink: bool,
    /// Whether pods are answered of which nothing else says so.
    pub mode: Mode,
    /// The traffic in a second at which [`Hook::Auto`] takes XDP off an interface.
    pub limits: Traffic,
}

/// Chooses interfaces by their names.
#[derive(Clone, Debug)]
pub struct InterfacePatterns {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl InterfacePatterns {
    /// `include`: patterns of the names of interfaces that get the programs, whatever
    /// their kind; without any pattern, every veth gets them whose other end is in another
    /// network namespace. `exclude`: patterns of the names of interfaces that never do.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, globset::Error> {
        Ok(Self {
            include: if include.is_empty() {
                None
            } else {
                Some(patterns(include)?)
            },
            exclude: patterns(exclude)?,
        })
    }

    /// Whether an interface gets the programs: by its name if there are patterns, else by its
    /// kind.
    pub fn choose(&self, link: &Link) -> bool {
        let Self { include, exclude } = self;
        let included = include.as_ref().map_or_else(
            || link.veth && link.peer_elsewhere,
            |patterns| patterns.is_match(&link.name),
        );
        included && !exclude.is_match(&link.name)
    }
}

fn patterns(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn link(name: &str, veth: bool, peer_elsewhere: bool) -> Link {
        Link {
            veth,
            peer_elsewhere,
            ..Link::named(7, name)
        }
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().copied().map(String::from).collect()
    }

    #[test]
    fn without_patterns_pods_veths_are_chosen() {
        let all = InterfacePatterns::new(&[], &[]).unwrap();
        assert!(all.choose(&link("veth1", true, true)));
        assert!(!all.choose(&link("veth2", true, false)), "both ends here");
        assert!(!all.choose(&link("macvlan0", false, true)), "no veth");
        assert!(!all.choose(&link("eth0", false, false)));
    }

    #[test]
    fn patterns_replace_and_restrict() {
        let only = InterfacePatterns::new(&names(&["cali*", "eth0"]), &names(&["cali9*"]));
        let only = only.unwrap();
        assert!(only.choose(&link("cali1", true, true)));
        assert!(only.choose(&link("eth0", false, false)), "any kind by name");
        assert!(!only.choose(&link("cali99", true, true)), "exclusion wins");
        assert!(!only.choose(&link("veth1", true, true)));

        let but = InterfacePatterns::new(&[], &names(&["lxc_health"])).unwrap();
        assert!(!but.choose(&link("lxc_health", true, true)));
        assert!(but.choose(&link("lxc1", true, true)));
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        assert!(InterfacePatterns::new(&names(&["a[b"]), &[]).is_err());
    }
}
