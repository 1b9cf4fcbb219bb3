//! A pod behind the loaded programs, and the engine on the host with the same names. Each
//! reply that the pod receives is compared, byte for byte, with the engine's reply to the
//! frame that the pod sent.

use std::net::IpAddr;

use headless_agent::maps::RecordSink as _;
use headless_agent::maps::memory::MemorySink;
use headless_agent::records::{NameData, RelativeName};
use headless_ebpf::abi::{Counter, NameFlags, Outcome, State};
use headless_ebpf::respond::Verdict;

use crate::frame::{self, HEADERS_LEN, HEADERS_LEN_V6, Query, SERVER, SERVER_V6};
use crate::host::{Hook, Host};
use crate::kernel::Kernel;
use crate::node::{Client, ClusterDns, Node, Pod};
use crate::tap::{Tap, Way};
use crate::{decode, hex, maps};

/// The served addresses, one of each family.
pub const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER), IpAddr::V6(SERVER_V6)];

/// The hooks that see a frame, with their verdicts.
type Run = Vec<(Hook, Verdict)>;

/// A pod behind the programs, and the engine on the host.
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
    /// The frames at the pod's end of the veth.
    pub tap: Tap,
    /// The frames at the node's end of the veth, which XDP has passed.
    pub behind_xdp: Tap,
    /// Stand-ins for the cluster's DNS, in the order of [`SERVERS`].
    cluster_dns: [ClusterDns; 2],
    by_xdp: bool,
    mtu: u32,
    offload: bool,
    /// The most addresses of a family that a name has.
    addresses_max: u32,
}

impl Twin {
    /// A pod behind the programs that the agent attaches with `--hook`. The maps have no
    /// names.
    pub fn new(hook: &str) -> Self {
        let node = Node::new();
        let pod = node.pod("veth-client", 10);
        node.add_ipv6(&pod);
        let mut kernel = Kernel::load();
        let config = maps::config("cluster.local", 30);
        kernel.maps.put_config(&config).unwrap();
        kernel.maps.put_state(maps::state()).unwrap();
        let mut memory = maps::memory(config, maps::state(), SERVER);
        maps::serve(&mut memory, SERVERS);
        maps::serve(&mut kernel.maps, SERVERS);
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

    /// Adds a name with this many addresses of each family. The name has no `svc` and no
    /// zone.
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
        maps::install(&mut self.kernel.maps, [(&name, &data)]);
        maps::install(&mut self.memory, [(&name, &data)]);
        self.addresses_max = self.addresses_max.max(ipv4).max(ipv6);
    }

    /// Writes the agent's state.
    pub fn put_state(&mut self, state: State) {
        self.kernel.maps.put_state(state).unwrap();
        self.memory.put_state(state).unwrap();
    }

    /// Whether a name has been added.
    pub fn holds(&self, name: &str) -> bool {
        let name = RelativeName::from_labels(name.split('.')).expect("a name");
        maps::holds(&self.memory, &name)
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

    /// The stand-in for the cluster's DNS at a served address.
    pub fn cluster_dns(&self, server: IpAddr) -> &ClusterDns {
        let place = SERVERS.iter().position(|it| *it == server);
        &self.cluster_dns[place.expect("a served address")]
    }

    /// The engine on the host. Its clock is at 1, because a deadline of 0 must be over.
    fn host(&self) -> Host<'_> {
        Host {
            now_ns: 1,
            ..Host::new(&self.memory)
        }
    }

    /// The hooks that see a frame, in their order.
    fn hooks(&self) -> Vec<Hook> {
        let xdp = self.by_xdp.then_some(Hook::Xdp);
        xdp.into_iter().chain([Hook::Tc(self.mtu)]).collect()
    }

    /// The engine's verdicts on a frame, hook by hook up to the first answer.
    fn expected(&self, frame: &[u8]) -> Run {
        let mut run = Run::new();
        for hook in self.hooks() {
            let (verdict, after) = self.host().respond_in(hook, frame);
            run.push((hook, verdict));
            if matches!(verdict, Verdict::Answer(..)) {
                break;
            }
            assert_eq!(after, frame, "{verdict:?}");
        }
        run
    }

    /// Runs `work`, and returns the counters that moved meanwhile with their growth. The pod's
    /// kernel sends multicast listener reports, which must not be counted.
    pub fn counting<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<(Counter, u64)>) {
        let before = self.kernel.counters();
        let result = work();
        (result, self.kernel.moved_since(&before))
    }

    /// Asks by a socket of the pod, and compares the outcome with the engine's. Returns the
    /// last hook's verdict.
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
        let (hook, verdict) = *run.last().expect("a program");
        let Some(reply) = reply else {
            assert_eq!(received, Vec::<Vec<u8>>::new(), "a reply to {about}");
            return verdict;
        };
        let [received] = &received[..] else {
            panic!("{} replies to {about}", received.len());
        };
        self.compare(hook, verdict, &sent, received, &about);
        assert_eq!(received[headers_len(received)..], reply, "{about}");
        verdict
    }

    /// Sends a frame that is answered, and compares the reply with the engine's.
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

    /// Compares the reply to a frame with the engine's.
    pub fn compare_reply(&self, sent: &[u8], received: &[u8]) -> Verdict {
        let run = self.expected(sent);
        let (hook, verdict) = *run.last().expect("a program");
        self.compare(hook, verdict, sent, received, &hex::annotate(sent));
        verdict
    }

    /// Compares all bytes of a reply with the engine's replies. The RRset may begin with any
    /// address.
    ///
    /// One field may differ. If the pod left its checksum unfinished and tc answered, the
    /// reply's checksum may be unfinished too: the field has the sum of the pseudo-header.
    /// Some kernels finish the checksum when the program shortens the packet (7.2 does, 6.18
    /// does not). The suite `live_routed` tests what a device makes of an unfinished one.
    fn compare(&self, hook: Hook, verdict: Verdict, sent: &[u8], received: &[u8], about: &str) {
        let field = headers_len(sent) - 2;
        let was_partial = matches!(hook, Hook::Tc(_)) && has_checksum(sent, Checksum::Partial);
        let is_partial = was_partial && has_checksum(received, Checksum::Partial);
        let host = self.host();
        let rotated = matches!(
            verdict,
            Verdict::Answer(_, Outcome::Data | Outcome::Truncated)
        );
        let starts = if rotated { self.addresses_max } else { 1 };
        let mut replies = (0..starts).map(|start| {
            let host = host.starting(start, starts);
            host.respond_in(hook, sent).1
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
            let (_, engine) = host.respond_in(hook, sent);
            let [engine, received] = [&engine, received].map(hex::annotate);
            panic!("{about} by {hook:?}\nengine:\n{engine}\nreceived:\n{received}")
        });
        // The engine's reply must be correct, the checksum included.
        let _message = decode::reply(sent, &reply);
        if is_partial {
            // The finished checksum must be correct. The engine's field is no measure here:
            // for IPv4 the engine sends no checksum.
            let mut completed = received.to_vec();
            complete(&mut completed);
            assert!(has_checksum(&completed, Checksum::Whole), "{about}");
        }
    }

    /// Checks that the frames behind XDP are the frames that XDP has passed, bit for bit.
    fn check_untouched(&self, run: &[(Hook, Verdict)], sent: &[u8], about: &str) {
        let answered = matches!(run, [(Hook::Xdp, Verdict::Answer(..)), ..]);
        let behind = self.behind_xdp.gone(Way::In);
        let expected = if answered { &[][..] } else { &[sent.to_vec()] };
        assert_eq!(behind, expected, "behind XDP of {about}");
    }

    /// Checks that the pod's checksum is unfinished if, and only if, offload is on. Without
    /// this check a test might never send the kind of checksum that it is about.
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

/// The counters that these verdicts move, in their order.
pub fn counters(run: &[(Hook, Verdict)]) -> Vec<(Counter, u64)> {
    let counters = run.iter().filter_map(|(hook, verdict)| {
        let counter = verdict.counter(hook.path())?;
        Some((counter, 1))
    });
    counters.collect()
}

/// Number of bytes before the DNS message.
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
    /// The sum of the pseudo-header: a device is to finish the checksum.
    Partial,
    /// The checksum of the pseudo-header and the datagram.
    Whole,
}

/// Whether the UDP checksum field has this value.
///
/// A field can be whole and partial at once: in one of 65,535 datagrams the whole checksum
/// equals the sum of the pseudo-header. A suite sends thousands, so this happens.
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

/// The pseudo-header: addresses, protocol and length (RFC 768; RFC 8200, section 8.1).
fn pseudo_header(frame: &[u8]) -> Vec<u8> {
    let udp = headers_len(frame) - 8;
    let addresses = if udp == HEADERS_LEN - 8 { 8 } else { 32 };
    let len = [frame[udp + 4], frame[udp + 5]];
    [&frame[udp - addresses..udp], &[0, 17], &len].concat()
}

/// The sum of the pseudo-header, not complemented. Linux writes it into the field of a
/// packet in the state `CHECKSUM_PARTIAL`.
fn pseudo_sum(frame: &[u8]) -> u16 {
    !frame::checksum(&pseudo_header(frame))
}

/// Finishes a partial checksum as a device does (Linux, `skb_checksum_help`).
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
        let coincidence = coincidence.expect("some id leads to each value of the checksum");
        assert_eq!(kinds(&coincidence), [false, true, true]);
    }
}
