//! The admin socket: who may use it, and who owns its path.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use headless_tests::agent::{Agent, binary, manifests};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Node, wait_for};
use nix::sys::signal::Signal;

use super::stop;

fn said(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn only_the_agents_user_may_ask() {
    let node = Node::new();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &[]);
    let socket = agent.socket();
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    // Others may enter the folder, and still not use the socket.
    let folder = socket.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.join("headless-agent");
    fs::copy(binary(), &program).unwrap();
    for command in ["status", "dump"] {
        let output = node
            .command("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .args([command, "--admin-socket", socket.to_str().unwrap()])
            .output()
            .unwrap();
        let said = said(&output);
        assert!(said.contains("only the agent's user"), "{said}");
        assert!(said.contains(socket.to_str().unwrap()), "{said}");
    }
    assert!(agent.run(&["status"]).contains("synced yes"));
    // What others can reach has no names.
    for path in ["/status.json", "/dump.json", "/dump.jsonl", "/"] {
        let (status, text) = agent.get(path).unwrap();
        assert_eq!(status, 404);
        assert!(text.contains("headless-agent status"), "{text}");
    }
    let lines = stop(agent);
    assert!(!socket.exists());
    let [line] = &lines[..] else {
        panic!("{lines:#?}");
    };
    assert!(line.contains("stopped on SIGTERM"), "{line}");
}

#[test]
fn a_second_agent_takes_the_path_of_a_dead_one_only() {
    let node = Node::new();
    let manifests = manifests();
    let mut first = Agent::start(&node, manifests.path(), &[]);
    let socket = first.socket();
    let second = || {
        let mut command = node.command(binary());
        command
            .args(["run", "--admin", "127.0.0.1:9154", "--admin-socket"])
            .arg(&socket)
            .arg("--manifests")
            .arg(manifests.path());
        command
    };
    let refused = said(&second().output().unwrap());
    assert!(refused.contains("another agent listens there"), "{refused}");
    assert!(refused.contains(socket.to_str().unwrap()), "{refused}");
    assert!(first.run(&["status"]).contains("synced yes"));

    first.signal(Signal::SIGKILL);
    first.wait();
    assert!(socket.exists());
    let mut second = second().spawn().unwrap();
    wait_for(|| match first.ask("/status.json") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    second.kill().unwrap();
    second.wait().unwrap();
}

#[test]
fn an_agent_that_has_answered_stops_with_one_line() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let listen = [
        "--listen",
        "10.96.0.10",
        "--listen-unserved",
        "169.254.20.10",
    ];
    for _ in 0..5 {
        let agent = Agent::start(&node, manifests.path(), &listen);
        let name = "nginx-headless.default.svc.cluster.local";
        assert_eq!(pod.addresses(name, qtype::A).len(), 3);
        let asked = node.run(|| {
            let client = std::net::UdpSocket::bind("0.0.0.0:0")?;
            client.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
            let query = Query::new(name, qtype::A).message();
            for _ in 0..10 {
                client.send_to(&query, "169.254.20.10:53")?;
                client.recv(&mut [0; 4096])?;
            }
            Ok(())
        });
        asked.unwrap();
        let lines = stop(agent);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("INFO"), "{lines:#?}");
    }
}
