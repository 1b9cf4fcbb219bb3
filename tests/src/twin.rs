//! A pod behind the loaded programs, and the engine on the host with the same
//! names: what the pod receives is, byte for byte, what the engine makes of the
//! frame that the pod sent.

use std::net::IpAddr;

use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::{MapName, RecordSink as _};
use headless_agent::records::{NameData, RelativeName};
use headless_ebpf::abi::{Counter, NameFlags, Outcome, PassReason, Path, State};
use headless_ebpf::respond::Verdict;

use crate::frame::{self, HEADERS_LEN, HEADERS_LEN_V6, Query, SERVER, SERVER_V6};
use crate::host::{Home, Host};
use crate::kernel::Kernel;
use crate::node::{Client, ClusterDns, Node, Pod};
use crate::tap::{Tap, Way};
use crate::{decode, hex, maps};

/// The addresses that are asked, one of each family.
pub const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER), IpAddr::V6(SERVER_V6)];

/// What becomes of a frame, program by program.
type Run = Vec<(Home, Verdict)>;

/// The pair.
#[derive(Debug)]
pub struct Twin {
    /// The node.
    pub node: Node,
    /// The pod, with addresses of both families.
    pub pod: Pod,
    /// The programs and their maps.
    pub kernel: Kernel,
    /// The engine's maps.
    memory: MemorySink,
    /// The frames at the pod's end.
    pub tap: Tap,
    /// What XDP has left.
    pub behind_xdp: Tap,
    /// Who gets what is passed, by [`SERVERS`].
    cluster_dns: [ClusterDns; 2],
    by_xdp: bool,
    mtu: u32,
    offload: bool,
    /// The most addresses under a name.
    addresses_max: u32,
}

impl Twin {
    /// With nothing but the zone, behind the programs that `--hook` would put there.
    pub fn new(hook: &str) -> Self {
        let node = Node::new();
        let pod = node.pod("veth-client", 10);
        node.add_ipv6(&pod);
        let mut kernel = Kernel::load();
        let config = maps::config("cluster.local", 30);
        kernel.maps.put_config(&config).unwrap();
        kernel.maps.put_state(maps::state()).unwrap();
        let mut memory = maps::memory(config, maps::state(), SERVER);
        memory.put_server(maps::address(SERVER_V6), 1).unwrap();
        for (number, server) in (0..).zip(SERVERS) {
            kernel
                .maps
                .put_server(maps::address(server), number)
                .unwrap();
        }
        let by_xdp = hook == "xdp";
        kernel.attach(&node, &pod.host_end, by_xdp);
        let mut twin = Self {
            tap: Tap::of_pod(&pod),
            behind_xdp: Tap::of_node(&node, &pod.host_end),
            cluster_dns: SERVERS.map(|server| node.cluster_dns_at(server)),
            node,
            pod,
            kernel,
            memory,
            by_xdp,
            mtu: 0,
            offload: true,
            addresses_max: 1,
        };
        twin.set_mtu(1500);
        twin
    }

    /// Adds a name, written with dots and without `svc` and the zone, with this many
    /// addresses of each family.
    pub fn add(&mut self, name: &str, ipv4: u32, ipv6: u32) {
        let name = RelativeName::from_labels(name.split('.')).expect("a name");
        let data = NameData {
            flags: NameFlags::empty(),
            ipv4: (0..ipv4).map(|i| (0x0a01_0001 + i).into()).collect(),
            ipv6: (0..ipv6)
                .map(|i| ((0xfd << 120) + u128::from(i)).into())
                .collect(),
            details: None,
        };
        // Each name has sets of chunks of its own.
        let set = 1 + self.memory.names.len() as u32;
        maps::install_from(set, &mut self.kernel.maps, [(&name, &data)]);
        maps::install_from(set, &mut self.memory, [(&name, &data)]);
        self.addresses_max = self.addresses_max.max(ipv4).max(ipv6);
    }

    /// Says how the agent is.
    pub fn put_state(&mut self, state: State) {
        self.kernel.maps.put_state(state).unwrap();
        self.memory.put_state(state).unwrap();
    }

    /// Whether a name has been added.
    pub fn holds(&self, name: &str) -> bool {
        let name = RelativeName::from_labels(name.split('.')).expect("a name");
        let name = MapName::from_wire(name.as_bytes()).expect("a name");
        self.memory.names.contains_key(&name)
    }

    /// Sets the MTU of both ends of the veth.
    pub fn set_mtu(&mut self, mtu: u32) {
        self.pod.set_mtu(&self.node, mtu);
        self.kernel
            .put_interface(&self.node, &self.pod.host_end, mtu);
        self.mtu = mtu;
    }

    /// Turns the checksum offload of the pod's interface on or off.
    pub fn offload_checksums(&mut self, on: bool) {
        self.pod.offload_checksums(on);
        self.offload = on;
    }

    /// The socket that gets what is passed to this address.
    pub fn cluster_dns(&self, server: IpAddr) -> &ClusterDns {
        let place = SERVERS.iter().position(|it| *it == server);
        &self.cluster_dns[place.expect("a served address")]
    }

    /// The engine on the host, at the first moment that is one.
    fn host(&self) -> Host<'_> {
        Host {
            now_ns: 1,
            ..Host::new(&self.memory)
        }
    }

    /// The programs that see a frame, in their order.
    fn homes(&self) -> Vec<Home> {
        let xdp = self.by_xdp.then_some(Home::Xdp);
        xdp.into_iter().chain([Home::Tc(self.mtu)]).collect()
    }

    /// What becomes of a frame, program by program up to the one that answers.
    fn expected(&self, frame: &[u8]) -> Run {
        let mut run = Run::new();
        for home in self.homes() {
            let (verdict, after) = self.host().respond_in(home, frame);
            run.push((home, verdict));
            if matches!(verdict, Verdict::Answer(..)) {
                break;
            }
            assert_eq!(after, frame, "{verdict:?}");
        }
        run
    }

    /// Runs `work` and says which counters it moved. Packets with IPv6 extension
    /// headers are the pod's multicast listener reports.
    pub fn counting<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<(Counter, u64)>) {
        let before = self.kernel.counters();
        let result = work();
        let mut moved = self.kernel.moved_since(&before);
        let reports = Path::ALL.map(|path| Counter::pass(path, PassReason::IpHeader));
        moved.retain(|(counter, _)| !reports.contains(counter));
        (result, moved)
    }

    /// Asks by a socket of the pod, and compares what becomes of it.
    pub fn ask(&self, client: &Client, server: IpAddr, query: &Query) -> Verdict {
        let about = format!("{query:?} to {server}");
        let (outcome, moved) = self.counting(|| {
            client.send(query);
            let sent = self.tap.wait(Way::Out);
            let run = self.expected(&sent);
            if let Some((_, Verdict::Answer(..))) = run.last() {
                let reply = client
                    .receive()
                    .unwrap_or_else(|| panic!("no reply to {about}"));
                (sent, run, Some(reply))
            } else {
                let passed = self.cluster_dns(server).receive();
                assert_eq!(passed, query.message(), "{about}");
                (sent, run, None)
            }
        });
        let (sent, run, reply) = outcome;
        self.check_checksum(&sent, &about);
        assert_eq!(moved, counters(&run), "counters of {about}: {run:?}");
        self.check_untouched(&run, &sent, &about);
        let received = self.tap.gone(Way::In);
        let (home, verdict) = *run.last().expect("a program");
        let Some(reply) = reply else {
            assert_eq!(received, Vec::<Vec<u8>>::new(), "a reply to {about}");
            return verdict;
        };
        let [received] = &received[..] else {
            panic!("{} replies to {about}", received.len());
        };
        self.compare(home, verdict, &sent, received, &about);
        assert_eq!(received[headers_len(received)..], reply, "{about}");
        verdict
    }

    /// Sends a frame as it stands, which is answered, and compares the reply.
    pub fn send(&self, frame: &[u8]) -> Verdict {
        let about = hex::annotate(frame);
        let run = self.expected(frame);
        let (received, moved) = self.counting(|| {
            self.tap.send(frame);
            self.tap.wait(Way::In)
        });
        assert_eq!(moved, counters(&run), "counters of {run:?}\n{about}");
        self.check_untouched(&run, frame, &about);
        assert_eq!(self.tap.gone(Way::In), Vec::<Vec<u8>>::new(), "{about}");
        self.compare_reply(frame, &received)
    }

    /// Compares the reply to a frame that is answered.
    pub fn compare_reply(&self, sent: &[u8], received: &[u8]) -> Verdict {
        let run = self.expected(sent);
        let (home, verdict) = *run.last().expect("a program");
        self.compare(home, verdict, sent, received, &hex::annotate(sent));
        verdict
    }

    /// Holds a reply against the engine's, with whatever start of an RRset. All bytes
    /// are compared. One field may have another value than the engine's where the pod
    /// left its checksum to a device and tc answered: the sum of the pseudo-header, for
    /// a device to complete. A kernel that ends this state where a packet is cut (7.2
    /// does, 6.18 does not) has the engine's; what a device makes of it, `live_routed`
    /// sees.
    fn compare(&self, home: Home, verdict: Verdict, sent: &[u8], received: &[u8], about: &str) {
        let field = headers_len(sent) - 2;
        let was_partial = matches!(home, Home::Tc(_)) && has_checksum(sent, Checksum::Partial);
        let is_partial = was_partial && has_checksum(received, Checksum::Partial);
        let host = self.host();
        let rotated = matches!(
            verdict,
            Verdict::Answer(_, Outcome::Data | Outcome::Truncated)
        );
        let starts = if rotated { self.addresses_max } else { 1 };
        let mut replies = (0..starts).map(|start| {
            let host = host.starting(start, starts);
            host.respond_in(home, sent).1
        });
        let same = replies.find(|reply| {
            let mut reply = reply.clone();
            if is_partial {
                let sum = pseudo_sum(&reply);
                reply[field..field + 2].copy_from_slice(&sum.to_be_bytes());
            }
            reply == received
        });
        let reply = same.unwrap_or_else(|| {
            let (_, engine) = host.respond_in(home, sent);
            let [engine, received] = [&engine, received].map(hex::annotate);
            panic!("{about} by {home:?}\nengine:\n{engine}\nreceived:\n{received}")
        });
        // What the engine made is right by itself, the checksum included.
        let _message = decode::reply(sent, &reply);
        if is_partial {
            // The device would have made the very checksum, and for IPv4, where the
            // engine leaves it out, a right one.
            let mut completed = received.to_vec();
            complete(&mut completed);
            assert!(has_checksum(&completed, Checksum::Whole), "{about}");
        }
    }

    /// What XDP has passed, and nothing else, is behind it, bit for bit.
    fn check_untouched(&self, run: &[(Home, Verdict)], sent: &[u8], about: &str) {
        let answered = matches!(run, [(Home::Xdp, Verdict::Answer(..)), ..]);
        let behind = self.behind_xdp.gone(Way::In);
        let expected = if answered { &[][..] } else { &[sent.to_vec()] };
        assert_eq!(behind, expected, "behind XDP of {about}");
    }

    /// Checks that the pod left the checksum to its device if, and only if, its offload is
    /// on. Otherwise the test would not test what it says.
    fn check_checksum(&self, sent: &[u8], about: &str) {
        let expected = if self.offload {
            Checksum::Partial
        } else {
            Checksum::Whole
        };
        let found = has_checksum(sent, expected);
        assert!(found, "{about}: the pod's checksum is not {expected:?}");
    }
}

/// The counters that verdicts move, one after the other.
pub fn counters(run: &[(Home, Verdict)]) -> Vec<(Counter, u64)> {
    let counters = run.iter().filter_map(|(home, verdict)| {
        let counter = verdict.counter(home.path())?;
        Some((counter, 1))
    });
    counters.collect()
}

/// Bytes before the DNS message.
pub fn headers_len(frame: &[u8]) -> usize {
    match frame[12..14] {
        [0x86, 0xdd] => HEADERS_LEN_V6,
        _ => HEADERS_LEN,
    }
}

/// A value of the UDP checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Zero: the datagram has no checksum.
    None,
    /// The sum of the pseudo-header, for a device to complete.
    Partial,
    /// The checksum of the pseudo-header and the datagram.
    Whole,
}

/// Whether the UDP checksum field has this value.
///
/// A field can be whole and partial at once: in one of 65,535 datagrams, the whole
/// checksum happens to equal the sum of the pseudo-header. A suite sends thousands.
pub fn has_checksum(frame: &[u8], value: Checksum) -> bool {
    let udp = headers_len(frame) - 8;
    let field = u16::from_be_bytes([frame[udp + 6], frame[udp + 7]]);
    match value {
        Checksum::None => field == 0,
        Checksum::Partial => field != 0 && field == pseudo_sum(frame),
        Checksum::Whole => {
            let covered = [&pseudo_header(frame), &frame[udp..]].concat();
            field != 0 && frame::checksum(&covered) == 0
        }
    }
}

/// Addresses, protocol and length (RFC 768; RFC 8200, section 8.1).
fn pseudo_header(frame: &[u8]) -> Vec<u8> {
    let udp = headers_len(frame) - 8;
    let addresses = if udp == HEADERS_LEN - 8 { 8 } else { 32 };
    let len = [frame[udp + 4], frame[udp + 5]];
    [&frame[udp - addresses..udp], &[0, 17], &len].concat()
}

/// Its sum, not complemented: what `CHECKSUM_PARTIAL` of Linux has in the field.
fn pseudo_sum(frame: &[u8]) -> u16 {
    !frame::checksum(&pseudo_header(frame))
}

/// Does what a device does that a checksum is left to (`skb_checksum_help`).
fn complete(frame: &mut [u8]) {
    let udp = headers_len(frame) - 8;
    let checksum = match frame::checksum(&frame[udp..]) {
        0 => 0xffff,
        checksum => checksum,
    };
    frame[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::qtype;

    #[test]
    fn a_whole_checksum_can_look_partial() {
        let partial = |id| {
            let query = Query::new("web.default.svc.cluster.local", qtype::A);
            let mut frame = Query { id, ..query }.frame_v6();
            let sum = pseudo_sum(&frame);
            frame[HEADERS_LEN_V6 - 2..HEADERS_LEN_V6].copy_from_slice(&sum.to_be_bytes());
            frame
        };
        let kinds = |frame: &[u8]| {
            let values = [Checksum::None, Checksum::Partial, Checksum::Whole];
            values.map(|value| has_checksum(frame, value))
        };
        let mut frame = partial(0);
        assert_eq!(kinds(&frame), [false, true, false]);
        complete(&mut frame);
        assert_eq!(kinds(&frame), [false, false, true]);
        let coincidence = (0..=u16::MAX)
            .map(partial)
            .find(|frame| has_checksum(frame, Checksum::Whole));
        let coincidence = coincidence.expect("the ids take the sum through all values");
        assert_eq!(kinds(&coincidence), [false, true, true]);
    }
}
