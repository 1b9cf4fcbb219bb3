//! If the agent cannot start, it prints one sentence. Its exit status says whether the
//! arguments (64) or the surroundings (1) are the reason.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use headless_tests::agent::{binary, manifests};
use headless_tests::node::Node;

/// Runs the agent to its end, in a namespace of its own.
fn run(arguments: &[&str]) -> Output {
    let node = Node::new();
    let mut command = node.command(binary());
    command.args(["--log", "off", "run"]).args(arguments);
    command.output().unwrap()
}

/// Asserts the exit status, and that the agent has printed one line that contains `words`.
fn assert_refused(output: &Output, status: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1, "not one line: {text}");
    assert!(text.starts_with("error: "), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

fn path(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

#[test]
fn wrong_settings_are_named_in_one_line() {
    let manifests = manifests();
    let folder = path(manifests.path());
    let missing = "/nowhere/to/be/found";
    let output = run(&["--manifests", missing]);
    assert_refused(&output, 64, &[missing, "is not a folder"]);
    let file = manifests.path().join("namespaces.yaml");
    let output = run(&["--manifests", path(&file)]);
    let words = [path(&file), "is a file", &format!("its folder is {folder}")];
    assert_refused(&output, 64, &words);
    for zone in ["", ".", "a..b", &"a".repeat(64)] {
        let output = run(&["--manifests", folder, "--zone", zone]);
        assert_refused(&output, 64, &["zone"]);
    }
    let output = run(&["--manifests", folder, "--interface", "a[b"]);
    assert_refused(&output, 64, &["--interface"]);
}

#[test]
fn wrong_arguments_are_refused() {
    let manifests = manifests();
    let folder = path(manifests.path());
    for arguments in [
        &["--manifests", folder, "--lease", "1s"][..],
        &["--manifests", folder, "--ttl", "3601"],
        &["--manifests", folder, "--listen", "0.0.0.0"],
        &["--manifests", folder, "--listen", "kube-dns"],
        &["--manifests", folder, "--max-map-memory", "much"],
        &["--manifests", folder, "--nonsense"],
    ] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert!(text.starts_with("error: "), "{text}");
    }
}

#[test]
fn a_missing_capability_is_named() {
    let manifests = manifests();
    let folder = path(manifests.path());
    // The agent without capabilities must still be able to read the manifests.
    let open = Command::new("chmod")
        .args(["755", folder])
        .status()
        .unwrap();
    assert!(open.success());
    let node = Node::new();
    for (options, missing) in [
        (
            &["--reuid=65534", "--clear-groups", "--inh-caps=-all"][..],
            "CAP_BPF",
        ),
        (
            &["--bounding-set=-net_admin", "--inh-caps=-all"],
            "CAP_NET_ADMIN",
        ),
    ] {
        let output = node
            .command("setpriv")
            .args(options)
            .arg("--")
            .arg(binary())
            .args(["--log", "off", "run", "--manifests", folder])
            .output()
            .unwrap();
        assert_refused(&output, 1, &[missing]);
    }
}

/// Without `CAP_PERFMON`, the verifier applies the rules for unprivileged users.
#[test]
fn the_verdict_of_the_verifier_is_the_error() {
    let manifests = manifests();
    let node = Node::new();
    let mut command = node.command("setpriv");
    command.args([
        "--bounding-set=-perfmon,-sys_admin",
        "--inh-caps=-all",
        "--",
    ]);
    command
        .arg(binary())
        .args(["--log", "off", "run", "--manifests"]);
    let output = command.arg(manifests.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("error: mirror failed: "), "{text}");
    assert!(
        text.contains("the kernel's verifier refuses program"),
        "{text}"
    );
}

#[test]
fn an_address_in_use_is_named() {
    let manifests = manifests();
    let node = Node::new();
    let _taken = node.cluster_dns();
    let output = node
        .command(binary())
        .args([
            "--log",
            "off",
            "run",
            "--listen",
            "10.96.0.10",
            "--manifests",
        ])
        .arg(manifests.path())
        .output()
        .unwrap();
    assert_refused(&output, 1, &["cannot listen on 10.96.0.10:53/udp"]);
}

#[test]
fn status_and_dump_name_the_socket_at_which_no_agent_listens() {
    let node = Node::new();
    let socket = "/nowhere/admin.sock";
    for command in ["status", "dump"] {
        let output = node
            .command(binary())
            .args(["--log", "off", command, "--admin-socket", socket])
            .output();
        assert_refused(&output.unwrap(), 1, &[socket, "no such socket"]);
    }
}
