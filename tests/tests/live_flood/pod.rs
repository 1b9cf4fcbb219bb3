//! A pod that floods its veth pays for the flood itself: the programs run in the context of
//! the sender, and no packet costs the agent anything.

use std::fs;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use headless_tests::agent::{Agent, manifests};
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::node::{Node, Pod};

headless_tests::for_each_hook! { a_flood_costs_the_agent_nothing }

const NAME: &str = "nginx-headless.default.svc.cluster.local";

/// Datagrams of each kind that a flood sends.
const DATAGRAMS: u64 = 100_000;

/// The most processor time that the agent takes in the time of a flood, in ticks of 10 ms. The
/// agent beats and compares its interfaces about once a second. An agent that got each packet
/// would take some seconds.
const TICKS_MAX: u64 = 50;

/// Processor time of the agent so far, in ticks (`proc_pid_stat(5)`).
fn ticks(agent: &Agent<'_>) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// A message of each kind that a pod may flood with: answered, denied, of another zone,
/// malformed, no DNS.
fn messages() -> [Vec<u8>; 5] {
    let mut malformed = Query::new(NAME, qtype::A).message();
    malformed.truncate(20);
    [
        Query::new(NAME, qtype::A).message(),
        Query::new("nope.default.svc.cluster.local", qtype::A).message(),
        Query::new("www.example.com", qtype::A).message(),
        malformed,
        vec![0xff; 512],
    ]
}

/// Sends each message [`DATAGRAMS`] times, without reading replies.
fn flood(pod: &Pod) {
    pod.within(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        let messages = messages();
        for _ in 0..DATAGRAMS {
            for message in &messages {
                // A connected socket would get the node's refusal of a passed message, since
                // nobody listens there, in place of the next one's sending.
                socket.send_to(message, (SERVER, 53))?;
            }
        }
        Ok(())
    })
    .unwrap();
}

fn a_flood_costs_the_agent_nothing(hook: &str) {
    let _alone = super::alone();
    let node = Node::new();
    let noisy = node.pod("veth-noisy", 10);
    let quiet = node.pod("veth-quiet", 11);
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    let before = (ticks(&agent), agent.kernel_answers());
    let over = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        scope.spawn(|| {
            flood(&noisy);
            over.store(true, Ordering::Relaxed);
        });
        let mut asked = 0;
        while !over.load(Ordering::Relaxed) {
            assert_eq!(quiet.addresses(NAME, qtype::A).len(), 3);
            asked += 1;
        }
        asked
    });
    let ticks = ticks(&agent) - before.0;
    assert!(asked > 0 && ticks <= TICKS_MAX, "{ticks} ticks");
    let answered = agent.kernel_answers() - before.1;
    assert_eq!(
        answered,
        2 * DATAGRAMS + asked,
        "every question is answered"
    );
}
