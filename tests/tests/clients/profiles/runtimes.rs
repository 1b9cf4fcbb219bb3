//! Resolvers of languages' runtimes and libraries, which `cargo xtask test --clients` installs.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use super::{Needs, Profile};
use crate::cluster::{ADDRESSES, FULL_NAMES, NAMES, SERVICES};
use crate::site::{Site, View, run, view};

/// The program built from `programs/go`.
const GO: &str = "HEADLESS_CLIENTS_GO";

/// The folder with the compiled `programs/Resolve.java`.
const JAVA: &str = "HEADLESS_CLIENTS_JAVA";

/// Node's program.
const NODE: &str = "HEADLESS_CLIENTS_NODE";

/// Python's program, with the packages of `programs/requirements.txt`.
const PYTHON: &str = "HEADLESS_CLIENTS_PYTHON";

/// Envoy's program.
const ENVOY: &str = "HEADLESS_CLIENTS_ENVOY";

/// A path that xtask gives.
fn path(variable: &str) -> PathBuf {
    let path = env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set"))
        .into()
}

/// The path of a program's source.
fn source(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/programs");
    format!("{folder}/{name}")
}

/// Asks for all names by the search path, for SRV RRsets and for the names of addresses.
fn all_questions(command: &mut Command) -> View {
    run(command.args(NAMES).args(SERVICES).args(ADDRESSES))
}

fn go(site: &Site<'_>, by: &str) -> View {
    all_questions(site.command(path(GO)).arg(by))
}

fn java(site: &Site<'_>) -> View {
    let mut command = site.command("java");
    command.arg("-cp").arg(path(JAVA)).arg("Resolve");
    all_questions(&mut command)
}

/// `resolve` has no search path.
fn node(site: &Site<'_>, by: &str) -> View {
    let mut command = site.command(path(NODE));
    command.args([&source("resolve.js"), by]);
    if by == "lookup" {
        return all_questions(&mut command);
    }
    run(command.args(FULL_NAMES).args(SERVICES).args(ADDRESSES))
}

fn dnspython(site: &Site<'_>, by: &str) -> View {
    let mut command = site.command(path(PYTHON));
    all_questions(command.args([&source("with_dnspython.py"), by]))
}

fn aiodns(site: &Site<'_>) -> View {
    let mut command = site.command(path(PYTHON));
    all_questions(command.arg(source("with_aiodns.py")))
}

/// curl shows the addresses of a name in two lines, in the order of the reply.
fn curl(site: &Site<'_>) -> View {
    let mut command = site.command(path(PYTHON));
    let output = command.arg(source("with_curl.py")).args(NAMES).output();
    let output = String::from_utf8(output.unwrap().stderr).unwrap();
    let told = ["* IPv", "was resolved", "Could not resolve"];
    let lines = output.lines();
    let lines = lines.filter(|line| told.iter().any(|part| line.contains(part)));
    let addresses = |line: &str| view(&line.replace([',', ' '], "\n")).join(" ");
    lines.map(addresses).collect()
}

/// Envoy asks all the time, and shows the addresses of each cluster.
fn envoy(site: &Site<'_>) -> View {
    let file = site.file("envoy.yaml", include_str!("envoy.yaml"));
    let mut command = site.command(path(ENVOY));
    command.args([
        "--use-dynamic-base-id",
        "--concurrency",
        "1",
        "-l",
        "warn",
        "-c",
        &file,
    ]);
    let _envoy = site.start(&mut command);
    site.wait(|| {
        let text = site.get(9901, "/clusters");
        let text = text.map_err(|error| error.to_string())?;
        let rows = text.lines().filter(|line| line.contains("::cx_active::"));
        let view = view(&rows.collect::<Vec<_>>().join("\n"));
        (view.len() == 6).then_some(view).ok_or(text)
    })
}

pub(super) fn all() -> Vec<Profile> {
    let needs = Needs::Variable;
    vec![
        Profile::new("Go", needs(GO), |site| go(site, "net")),
        Profile::new("miekg/dns, DO", needs(GO), |site| go(site, "dns")),
        Profile::new("Java", needs(JAVA), java),
        Profile::new("Node, lookup", needs(NODE), |site| node(site, "lookup")),
        Profile::new("Node, resolve", needs(NODE), |site| node(site, "resolve")),
        Profile::new("dnspython", needs(PYTHON), |site| dnspython(site, "plain")),
        Profile::new("dnspython, EDNS", needs(PYTHON), |site| {
            dnspython(site, "edns")
        }),
        Profile::new("aiodns", needs(PYTHON), aiodns),
        Profile::new("curl with c-ares", needs(PYTHON), curl),
        Profile::new("Envoy", needs(ENVOY), envoy),
    ]
}
