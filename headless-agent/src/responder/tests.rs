//! Queries in, replies out, decoded by another DNS implementation.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use headless_ebpf::abi::{
    AnswerKind, Config, Counter, HashKey, Outcome, PassReason, Path, PodsMode,
};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::ResponderCounts;
use super::server::{Memory, Responder, Server, Stopper};
use crate::corefile::Left;
use crate::corefile::standing::{Report, Standing};
use crate::mirror::Mirror;
use crate::records::{Index, Settings};
use crate::watch::{Endpoint, EndpointSlice, Event, Kind, Namespace, Object, Service, ServiceKind};

/// A cluster with a headless Service `web` of this many endpoints.
fn responder(endpoints: u32) -> (Responder, Arc<ResponderCounts>) {
    over(index(endpoints))
}

fn config() -> Config {
    Config::new(
        "cluster.local",
        30,
        PodsMode::Insecure,
        &HashKey::from_seed(1),
    )
    .unwrap()
}

fn over(index: Index) -> (Responder, Arc<ResponderCounts>) {
    let counts = Arc::<ResponderCounts>::default();
    let mirror = Arc::new(Mirror::new(index, config()));
    (Responder::new(mirror, Arc::clone(&counts)), counts)
}

fn index(endpoints: u32) -> Index {
    let settings = Settings::new(Name::from_str("cluster.local.").unwrap());
    let mut index = Index::new(settings);
    let objects = [
        Object::Namespace(Namespace {
            name: "default".into(),
        }),
        Object::Service(Service {
            namespace: "default".into(),
            name: "web".into(),
            kind: ServiceKind::Headless,
            ports: Box::new([]),
            selector: true,
            partial: false,
            selected: true,
        }),
        Object::EndpointSlice(EndpointSlice {
            namespace: "default".into(),
            name: "web-1".into(),
            service: "web".into(),
            ports: Box::new([]),
            aliases: Box::default(),
            partial: false,
            selected: true,
            endpoints: (0..endpoints)
                .map(|i| Endpoint {
                    address: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i)),
                    name: None,
                })
                .collect(),
        }),
    ];
    index.apply_all(objects.map(Event::Apply));
    index.apply_all(Kind::ALL.map(Event::Restarted));
    index
}

fn query(name: &str, qtype: RecordType, edns: Option<u16>) -> Message {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), qtype));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message
}

fn ask(responder: &Responder, query: &Message) -> Message {
    let mut reply = Vec::new();
    let query = query.to_vec().unwrap();
    responder.reply(&query, &mut Memory::default(), &mut reply);
    Message::from_vec(&reply).unwrap()
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let mut addresses: Vec<Ipv4Addr> = message
        .answers
        .iter()
        .map(|record| match &record.data {
            RData::A(address) => address.0,
            other => panic!("{other}"),
        })
        .collect();
    addresses.sort_unstable();
    addresses
}

#[test]
fn the_engine_answers_from_the_index() {
    for endpoints in [1, 3, 5, 6, 20] {
        let (responder, counts) = responder(endpoints);
        let question = query("wEb.default.svc.cluster.local.", RecordType::A, None);
        let reply = ask(&responder, &question);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.metadata.authoritative);
        assert_eq!(reply.queries, question.queries);
        let expected: Vec<_> = (0..endpoints)
            .map(|i| Ipv4Addr::from(0x0a00_0000 + i))
            .collect();
        assert_eq!(addresses(&reply), expected, "{endpoints} endpoints");
        let Counter(cell) = Counter::answer(Path::Xdp, AnswerKind::A, Outcome::Data);
        assert_eq!(counts.read()[cell as usize], 1);
    }
}

#[test]
fn a_missing_name_does_not_exist() {
    let (responder, _) = responder(1);
    let question = query("nope.default.svc.cluster.local.", RecordType::A, None);
    let reply = ask(&responder, &question);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(reply.authorities.len(), 1, "the SOA");
}

#[test]
fn an_index_that_is_not_current_denies_nothing() {
    let mut index = index(2);
    index.set_current(false);
    let (responder, counts) = over(index);
    for (name, qtype) in [
        ("nope.default.svc.cluster.local.", RecordType::A),
        ("web.default.svc.cluster.local.", RecordType::AAAA),
        ("web.default.svc.cluster.local.", RecordType::MX),
        ("10-9-9-9.web.default.svc.cluster.local.", RecordType::A),
    ] {
        let reply = ask(&responder, &query(name, qtype, None));
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::Refused,
            "{name}"
        );
        assert!(reply.authorities.is_empty());
    }
    assert_eq!(counts.refused.load(Ordering::Relaxed), 4);
    let Counter(cell) = Counter::pass(Path::Xdp, PassReason::Incomplete);
    assert!(counts.read()[cell as usize] >= 3);
    let name = "web.default.svc.cluster.local.";
    let reply = ask(&responder, &query(name, RecordType::A, None));
    assert_eq!(addresses(&reply).len(), 2);
}

/// CoreDNS may answer these otherwise. The rules do not know which, so they refuse all that the
/// engine passes.
#[test]
fn names_that_are_left_to_coredns_are_refused_and_others_are_not() {
    let standing = Arc::new(Standing::default());
    let left = |names: &[&str]| Report {
        left: Left {
            names: names.iter().map(|name| (*name).into()).collect(),
            ..Left::NOTHING
        },
        ..Report::default()
    };
    let mirror = Mirror::new(index(2), config()).standing_by(Arc::clone(&standing));
    let counts = Arc::<ResponderCounts>::default();
    let responder = Responder::new(Arc::new(mirror), Arc::clone(&counts));
    let mut memory = Memory::default();
    let mut is_refused = |name: &str, qtype| {
        let query = query(&format!("{name}.cluster.local."), qtype, None);
        let mut reply = Vec::new();
        responder.reply(&query.to_vec().unwrap(), &mut memory, &mut reply);
        let reply = Message::from_vec(&reply).unwrap();
        reply.metadata.response_code == ResponseCode::Refused
    };
    let (web, endpoint) = ("Web.default.svc", "10-0-0-1.web.default.svc");
    assert!(!is_refused(web, RecordType::A));
    standing.set(left(&["web.default.svc", "db"]));
    for qtype in [
        RecordType::A,
        RecordType::AAAA,
        RecordType::SRV,
        RecordType::TXT,
    ] {
        assert!(is_refused(web, qtype) && is_refused("db", qtype), "{qtype}");
    }
    let Counter(cell) = Counter::pass(Path::Xdp, PassReason::Corefile);
    assert_eq!(counts.read()[cell as usize], 8);
    assert!(!is_refused(endpoint, RecordType::A));
    assert!(!is_refused("missing", RecordType::A));
    standing.set(left(&["db"]));
    assert!(!is_refused(web, RecordType::A) && is_refused("db", RecordType::A));
    standing.set(Report::default());
    assert!(!is_refused("db", RecordType::A));
}

#[test]
fn what_is_not_ours_is_counted_with_its_reason() {
    let (responder, counts) = responder(1);
    let reply = ask(&responder, &query("example.com.", RecordType::A, None));
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert_eq!(reply.metadata.id, 4711);
    let Counter(cell) = Counter::pass(Path::Xdp, PassReason::OutsideZone);
    assert_eq!(counts.read()[cell as usize], 1);
    assert_eq!(counts.refused.load(Ordering::Relaxed), 1);
}

#[test]
fn what_the_engine_leaves_is_answered_by_the_rules() {
    let (responder, counts) = responder(2);
    let name = "_._.web.default.svc.cluster.local.";
    let reply = ask(&responder, &query(name, RecordType::A, None));
    assert_eq!(addresses(&reply).len(), 2);
    let Counter(cell) = Counter::pass(Path::Xdp, PassReason::Userspace);
    assert_eq!(counts.read()[cell as usize], 1);
    assert_eq!(counts.resolved.load(Ordering::Relaxed), 1);
}

#[test]
fn a_large_answer_has_all_addresses_for_a_client_that_takes_them() {
    let (responder, counts) = responder(60);
    let name = "web.default.svc.cluster.local.";
    let reply = ask(&responder, &query(name, RecordType::A, Some(1232)));
    assert_eq!(addresses(&reply).len(), 60);
    assert!(!reply.metadata.truncation);
    let Counter(cell) = Counter::pass(Path::Xdp, PassReason::TooLarge);
    assert_eq!(counts.read()[cell as usize], 1);
    let reply = ask(&responder, &query(name, RecordType::A, None));
    assert!(reply.metadata.truncation);
    // 512 bytes less the header, the name's 30 and 4, by records of 16.
    assert_eq!(addresses(&reply).len(), (512 - 12 - 30 - 4) / 16);
}

#[test]
fn what_is_no_query_gets_no_reply() {
    let (responder, counts) = responder(1);
    let mut response = query("web.default.svc.cluster.local.", RecordType::A, None);
    response.metadata.message_type = hickory_proto::op::MessageType::Response;
    let bytes = response.to_vec().unwrap();
    for message in [&bytes[..], b"", b"\0", &bytes[..11], &[0xff; 2000]] {
        let mut reply = vec![1, 2, 3];
        responder.reply(message, &mut Memory::default(), &mut reply);
        assert!(reply.is_empty(), "{message:?}");
    }
    assert_eq!(counts.ignored.load(Ordering::Relaxed), 5);
}

/// A server that runs on a thread of its own, and a client.
struct Serving {
    address: SocketAddr,
    stopper: Stopper,
    thread: JoinHandle<anyhow::Result<()>>,
    client: UdpSocket,
}

impl Serving {
    fn start() -> Self {
        let (responder, _) = responder(2);
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let (address, stopper) = (server.address(), server.stopper());
        let thread = std::thread::spawn(move || server.serve(&responder));
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let deadline = Some(Duration::from_secs(10));
        client.set_read_timeout(deadline).unwrap();
        Self {
            address,
            stopper,
            thread,
            client,
        }
    }

    fn stop(self) {
        self.stopper.stop();
        self.thread.join().unwrap().unwrap();
    }
}

#[test]
fn a_server_answers_from_the_address_that_was_asked_until_stopped() {
    let serving = Serving::start();
    let (client, address) = (&serving.client, serving.address);
    // A client that is gone must not stop the server.
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let question = query("web.default.svc.cluster.local.", RecordType::A, Some(1232));
    gone.send_to(&question.to_vec().unwrap(), address).unwrap();
    drop(gone);
    client
        .send_to(&question.to_vec().unwrap(), address)
        .unwrap();
    let mut buffer = [0; 1232];
    let (len, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(from, address);
    assert_eq!(
        addresses(&Message::from_vec(&buffer[..len]).unwrap()).len(),
        2
    );
    serving.stop();
}

/// The thread blocks in the kernel, in a receive that leaves no sender in its buffers once the
/// socket is shut down.
#[test]
fn a_server_that_has_had_datagrams_stops_as_quietly_as_a_new_one() {
    for asked in [0, 1, 100] {
        let serving = Serving::start();
        let (client, address) = (&serving.client, serving.address);
        let question = query("web.default.svc.cluster.local.", RecordType::A, None);
        for _ in 0..asked {
            client
                .send_to(&question.to_vec().unwrap(), address)
                .unwrap();
            client.recv(&mut [0; 1232]).unwrap();
        }
        serving.stop();
    }
}
