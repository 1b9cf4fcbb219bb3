//! Tools that ask for one name at a time.

use super::{Needs, Profile};
use crate::cluster::{ADDRESSES, BIG, FULL_NAMES, NAMES, SERVICES};
use crate::site::{DEBIAN, Site, View, debian, run};

/// Runs a program of Debian with each of the argument lists.
fn each<const N: usize>(
    site: &Site<'_>,
    program: &str,
    lists: impl IntoIterator<Item = [&'static str; N]>,
) -> View {
    let lists = lists.into_iter();
    let views = lists.flat_map(|list| run(site.command(debian(program)).args(list)));
    views.collect()
}

/// Asks by `dig` with one more option.
fn dig(site: &Site<'_>, option: &'static str) -> View {
    let names = NAMES
        .iter()
        .flat_map(|name| ["A", "AAAA"].map(|qtype| [option, "+search", *name, qtype]));
    let mut view = each(site, "usr/bin/dig", names);
    view.extend(each(
        site,
        "usr/bin/dig",
        SERVICES.map(|name| [option, name, "SRV"]),
    ));
    view.extend(each(site, "usr/bin/dig", [[option, BIG]]));
    view.extend(each(
        site,
        "usr/bin/dig",
        ADDRESSES.map(|address| [option, "-x", address]),
    ));
    view
}

fn drill(site: &Site<'_>) -> View {
    let names = FULL_NAMES
        .iter()
        .flat_map(|name| ["A", "AAAA"].map(|qtype| [*name, qtype]));
    let mut view = each(site, "usr/bin/drill", names);
    view.extend(each(
        site,
        "usr/bin/drill",
        SERVICES.map(|name| [name, "SRV"]),
    ));
    view.extend(each(
        site,
        "usr/bin/drill",
        ADDRESSES.map(|address| ["-x", address]),
    ));
    view
}

/// kdig has no search path.
fn kdig(site: &Site<'_>) -> View {
    let names = FULL_NAMES
        .iter()
        .flat_map(|name| ["A", "AAAA"].map(|qtype| ["+edns", *name, qtype]));
    let mut view = each(site, "usr/bin/kdig", names);
    view.extend(each(
        site,
        "usr/bin/kdig",
        SERVICES.map(|name| ["+edns", name, "SRV"]),
    ));
    view.extend(each(
        site,
        "usr/bin/kdig",
        ADDRESSES.map(|address| ["-x", address]),
    ));
    view
}

fn host(site: &Site<'_>) -> View {
    let mut view = each(site, "usr/bin/host", NAMES.map(|name| [name]));
    view.extend(each(
        site,
        "usr/bin/host",
        SERVICES.map(|name| ["-t", "SRV", name]),
    ));
    view.extend(each(
        site,
        "usr/bin/host",
        ADDRESSES.map(|address| [address]),
    ));
    view
}

fn nslookup(site: &Site<'_>) -> View {
    let mut view = each(site, "usr/bin/nslookup", NAMES.map(|name| [name]));
    view.extend(each(
        site,
        "usr/bin/nslookup",
        SERVICES.map(|name| ["-type=SRV", name]),
    ));
    view.extend(each(
        site,
        "usr/bin/nslookup",
        ADDRESSES.map(|address| [address]),
    ));
    view
}

pub(super) fn all() -> Vec<Profile> {
    let of_debian = || Needs::Variable(DEBIAN);
    vec![
        Profile::new("dig", of_debian(), |site| dig(site, "+cookie")),
        Profile::new("dig +nocookie", of_debian(), |site| dig(site, "+nocookie")),
        Profile::new("drill", of_debian(), drill),
        Profile::new("kdig", of_debian(), kdig),
        Profile::new("host", of_debian(), host),
        Profile::new("nslookup of BIND", of_debian(), nslookup),
    ]
}
