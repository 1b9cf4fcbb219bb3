//! Caches in the pod itself, which forward what they do not know. `dig` asks them without a
//! cookie, since some of them forward the options that they get.

use super::{Needs, Profile};
use crate::cluster::{ADDRESSES, FULL_NAMES, SERVICES};
use crate::site::{DEBIAN, Site, View, debian, run};

/// The port of the caches.
const PORT: &str = "5300";

/// Asks a cache for all names. A cache counts TTLs down, so only the records' data are shown.
fn ask(site: &Site<'_>, server: &str, port: &str) -> View {
    let (server, dig) = (format!("@{server}"), debian("usr/bin/dig"));
    let asked = |arguments: &[&str]| {
        let mut command = site.command(&dig);
        command.args([&server, "-p", port, "+nocookie", "+short"]);
        run(command.args(arguments))
    };
    let first = FULL_NAMES[0];
    let mut view = site.wait(|| {
        let view = asked(&["+tries=1", "+timeout=1", first, "A"]);
        let ready = view.iter().any(|line| line.starts_with("10."));
        ready.then_some(view.clone()).ok_or(format!("{view:?}"))
    });
    for name in FULL_NAMES {
        for qtype in ["A", "AAAA"] {
            view.push(format!(
                "{name} {qtype}: {}",
                asked(&[name, qtype]).join(", ")
            ));
        }
    }
    for name in SERVICES {
        view.push(format!("{name}: {}", asked(&[name, "SRV"]).join(", ")));
    }
    for address in ADDRESSES {
        view.push(format!("{address}: {}", asked(&["-x", address]).join(", ")));
    }
    view
}

fn unbound(site: &Site<'_>) -> View {
    let file = site.file("unbound.conf", include_str!("unbound.conf"));
    let mut command = site.command(debian("usr/sbin/unbound"));
    let _cache = site.start(command.args(["-d", "-c", &file]));
    ask(site, "127.0.0.1", PORT)
}

fn bind(site: &Site<'_>) -> View {
    let file = site.file("named.conf", include_str!("named.conf"));
    let mut command = site.command(debian("usr/sbin/named"));
    let _cache = site.start(command.args(["-g", "-n", "1", "-c", &file]));
    ask(site, "127.0.0.1", PORT)
}

fn dnsmasq(site: &Site<'_>) -> View {
    let mut command = site.command(debian("usr/sbin/dnsmasq"));
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-hosts",
    ]);
    command.args([
        "--no-resolv",
        "--server=10.96.0.10",
        "--user=root",
        "--group=root",
    ]);
    command.args([
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--port=5300",
    ]);
    command.arg(format!("--pid-file={}", site.path("pid")));
    let _cache = site.start(&mut command);
    ask(site, "127.0.0.1", PORT)
}

/// systemd-resolved reads its options below `/run`, wants a user of its own, and offers its
/// stub at port 53 alone. It runs without a bus.
fn resolved(site: &Site<'_>, dnssec: &str) -> View {
    let options = format!(
        "[Resolve]\nDNS=10.96.0.10\nDomains=~.\nDNSSEC={dnssec}\nLLMNR=no\nMulticastDNS=no\n\
         FallbackDNS=\nDNSStubListener=yes\n"
    );
    let options = site.file("options", &options);
    let script = site.file("start", include_str!("resolved.sh"));
    let program = debian("lib/systemd/systemd-resolved");
    let mut command = site.command("unshare");
    command
        .args(["--mount", "sh", &script, &options])
        .arg(program);
    let _cache = site.start(&mut command);
    ask(site, "127.0.0.53", "53")
}

pub(super) fn all() -> Vec<Profile> {
    let of_debian = || Needs::Variable(DEBIAN);
    vec![
        Profile::new("unbound, forwarding", of_debian(), unbound),
        Profile::new("BIND, forwarding", of_debian(), bind),
        Profile::new("dnsmasq, forwarding", of_debian(), dnsmasq),
        Profile::new("systemd-resolved", of_debian(), |site| resolved(site, "no")),
        Profile::new("systemd-resolved, DNSSEC", of_debian(), |site| {
            resolved(site, "allow-downgrade")
        }),
    ]
}
