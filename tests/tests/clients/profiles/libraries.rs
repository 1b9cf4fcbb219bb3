//! Resolvers of C libraries.

use std::process::Command;

use super::{Needs, Profile};
use crate::cluster::{ADDRESSES, BIG, NAMES, SERVICES};
use crate::site::{Site, View, run};

/// The program that asks through the C library.
const SOURCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/clients/programs/resolve.c"
);

/// Compiles the program for a C library into the client's folder.
fn compile(site: &Site<'_>, compiler: &str, options: &[&str]) -> String {
    let program = site.path("resolve");
    let output = Command::new(compiler)
        .args(["-O1", "-Wall", "-Werror", "-o", &program, SOURCE])
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    program
}

/// Asks by glibc with options as in `/etc/resolv.conf`.
fn glibc(site: &Site<'_>, options: &str) -> View {
    let program = compile(site, "gcc", &["-lresolv"]);
    let mut command = site.command(program);
    command.env("RES_OPTIONS", options);
    run(command.args(NAMES).args(SERVICES).args(ADDRESSES).arg(BIG))
}

/// musl before 1.2.4 takes what a truncated reply holds, which is a random part. So it is not
/// asked for the large Service.
fn musl(site: &Site<'_>) -> View {
    let program = compile(site, "musl-gcc", &["-static"]);
    run(site
        .command(program)
        .args(NAMES)
        .args(SERVICES)
        .args(ADDRESSES))
}

fn busybox(site: &Site<'_>) -> View {
    let mut view = View::new();
    let ask = |arguments: &[&str]| {
        let mut command = site.command("busybox");
        run(command.arg("nslookup").args(arguments))
    };
    for name in NAMES {
        view.extend(ask(&[name]));
    }
    for name in SERVICES {
        view.extend(ask(&["-type=srv", name]));
    }
    view.extend(ask(&["-type=ptr", "1.1.96.10.in-addr.arpa"]));
    view
}

pub(super) fn all() -> Vec<Profile> {
    let gcc = || Needs::Program("gcc");
    vec![
        Profile::new("glibc", gcc(), |site| glibc(site, "")),
        Profile::new("glibc edns0", gcc(), |site| glibc(site, "edns0")),
        Profile::new("glibc single-request", gcc(), |site| {
            glibc(site, "single-request")
        }),
        Profile::new("glibc trust-ad", gcc(), |site| glibc(site, "trust-ad")),
        Profile::new("glibc rotate no-aaaa", gcc(), |site| {
            glibc(site, "rotate no-aaaa")
        }),
        Profile::new("musl", Needs::Program("musl-gcc"), musl),
        Profile::new("busybox nslookup", Needs::Program("busybox"), busybox),
    ]
}
