//! Dumps of a large cluster.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use headless_tests::agent::{Agent, binary};
use headless_tests::node::{Node, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use super::{number, slice};

/// Services with an endpoint for each number below [`ENDPOINTS`].
const SERVICES: usize = 300;
const ENDPOINTS: usize = 100;

/// A folder of manifests with more than 30,000 names.
fn large() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: big}\n".to_owned();
    for service in 0..SERVICES {
        let name = format!("service-{service}");
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: big}}\n\
             spec: {{clusterIP: None}}\n---\n"
        )
        .unwrap();
        let addresses =
            (0..ENDPOINTS).map(|i| format!("10.{}.{}.{i}", service / 256, service % 256));
        text += &slice("big", &name, addresses);
    }
    fs::write(folder.path().join("large.yaml"), text).unwrap();
    folder
}

/// A figure in kB of `/proc/PID/status`.
fn memory(agent: &Agent<'_>, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    number(&status, name)
}

#[test]
fn a_dump_is_streamed_alone_and_ends_with_its_client() {
    let node = Node::new();
    let manifests = large();
    let agent = Agent::start(&node, manifests.path(), &[]);
    let dump = |arguments: &[&str]| {
        let mut command = node.command(binary());
        command.arg("dump").args(arguments);
        command.env("HEADLESS_ADMIN_SOCKET", agent.socket());
        command.output().unwrap()
    };

    // Makes the peak of the memory start anew (`proc_pid_clear_refs(5)`).
    fs::write(format!("/proc/{}/clear_refs", agent.pid()), "5").unwrap();
    let before = memory(&agent, "VmRSS:");
    let names: Vec<Value> = serde_json::from_slice(&dump(&["--output", "json"]).stdout).unwrap();
    assert!(names.len() > SERVICES * ENDPOINTS, "{}", names.len());
    assert!(names.iter().all(|name| name["current"] == true));
    let maps: BTreeSet<_> = names.iter().map(|name| name["map"].as_str()).collect();
    let held = ["endpoints", "names_table"].map(Some);
    assert_eq!(maps, held.into(), "each name is where the kernel finds it");
    let grown = memory(&agent, "VmHWM:").saturating_sub(before);
    println!("a dump of {} names takes {grown} kB", names.len());
    // A list of these names, of 100 bytes and more each, would be larger.
    assert!(grown < 2500, "{grown} kB");
    let lines = String::from_utf8(dump(&[]).stdout).unwrap();
    assert_eq!(
        lines.lines().count(),
        1 + names.len(),
        "a head and the names"
    );

    // A client that reads only the beginning.
    let mut slow = UnixStream::connect(agent.socket()).unwrap();
    slow.write_all(b"GET /dump.jsonl HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut beginning = [0; 1000];
    slow.read_exact(&mut beginning).unwrap();
    assert!(beginning.starts_with(b"HTTP/1.1 200 OK"));
    std::thread::sleep(Duration::from_millis(100));
    let refused = dump(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(
        said.contains("429") && said.contains("another dump is under way"),
        "{said}"
    );
    // One name, and the state, are told all the same.
    let one = String::from_utf8(dump(&["service-7.big"]).stdout).unwrap();
    assert!(
        one.contains("service-7.big") && one.contains("96 more"),
        "{one}"
    );
    assert_eq!(agent.ask("/status.json").unwrap().0, 200);
    let missing = dump(&["nope.big"]);
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(said.contains("has a name nope.big"), "{said}");

    drop(slow);
    wait_for(|| match dump(&["--differing"]) {
        output if output.status.success() => Ok(()),
        output => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    });
}
