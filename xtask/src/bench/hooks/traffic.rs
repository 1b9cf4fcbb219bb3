//! What the programs cost the pods' other traffic: TCP out of and into a pod,
//! and small UDP packets out of it that are not DNS.
//!
//! The sender is on one CPU, the receiver on another. Both ends of a veth work
//! in the sender's thread, so their cost is part of its processor time
//! (`RUSAGE_THREAD`), which other work on the machine does not change much.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::CpuSet;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Serialize;

use super::extent::Extent;
use super::site::Site;
use crate::figures::{median, number, ratio};
use crate::lab::network::{self, GATEWAY, Netns};
use crate::latency;

/// What a sender writes and a receiver reads at once.
const BUFFER_LEN: usize = 128 * 1024;

/// Payload of a small packet.
const SMALL_LEN: usize = 32;

/// Small packets between two looks at the clock.
const BURST: u32 = 64;

/// Before each measured flow, one that is not.
const WARM_UP: Duration = Duration::from_millis(200);

/// The longest that `--hook auto` is given to take XDP off.
const LIFT_TIMEOUT: Duration = Duration::from_secs(4);

/// A flow that stands still this long has failed.
const STALL: Duration = Duration::from_secs(5);

/// How often the receiver of small packets looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// What programs are on a pod's interface.
const HOOKS: [&str; 4] = ["none", "xdp", "tc", "auto"];
const AUTO: usize = 3;

/// What flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Egress,
    Ingress,
    Small,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Egress, Self::Ingress, Self::Small];

    fn label(self) -> &'static str {
        match self {
            Self::Egress => "TCP out of the pod",
            Self::Ingress => "TCP into the pod",
            Self::Small => "small UDP packets out",
        }
    }

    /// Of a rate, in units of [`Flow::amount`] per second.
    fn unit(self) -> (&'static str, f64) {
        match self {
            Self::Egress | Self::Ingress => ("Gbit/s", 8.0 / 1e9),
            Self::Small => ("million/s", 1e-6),
        }
    }

    /// Of a cost.
    fn cost_unit(self) -> (&'static str, f64) {
        match self {
            Self::Egress | Self::Ingress => ("ns/KiB", 1e9 * 1024.0),
            Self::Small => ("ns/packet", 1e9),
        }
    }
}

/// One kind of traffic and one hook.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) traffic: &'static str,
    pub(crate) hook: &'static str,
    /// Median of the rounds.
    pub(crate) rate: f64,
    pub(crate) rate_unit: &'static str,
    /// Median of the rounds' ratios to no program.
    pub(crate) rate_ratio: f64,
    /// Processor time for a byte (both threads) or packet (the sender), median.
    pub(crate) cost: f64,
    pub(crate) cost_unit: &'static str,
    pub(crate) cost_ratio: f64,
    /// The least ratio of a round, and the greatest.
    pub(crate) rate_ratio_range: [f64; 2],
    /// Rounds at whose end XDP was on the interface.
    pub(crate) rounds_with_xdp: u32,
}

/// One measured flow.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// Bytes that arrived, or packets that were sent.
    amount: f64,
    seconds: f64,
    /// Processor time in seconds.
    cpu: f64,
}

#[derive(Debug, Default)]
struct Rounds {
    rates: Vec<f64>,
    costs: Vec<f64>,
    with_xdp: u32,
}

/// A pod, from the outside.
struct End {
    netns: Arc<Netns>,
    address: Ipv4Addr,
    interface: String,
}

/// The CPUs of sender and receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    pub(crate) sender: CpuSet,
    pub(crate) receiver: CpuSet,
}

/// Measures each kind in alternating rounds.
///
/// # Errors
/// When a connection fails or stands still.
pub(crate) async fn measure(site: &Site, extent: Extent, cpus: Cpus) -> Result<Vec<Row>> {
    let pods = [&site.bare, &site.xdp.pod, &site.tc.pod, &site.auto.pod];
    let ends = pods.map(|pod| End {
        netns: Arc::clone(pod.netns()),
        address: pod.address(),
        interface: pod.host_end(),
    });
    let node = Arc::clone(&site.node);
    tokio::task::spawn_blocking(move || {
        let mut rows = Vec::new();
        for kind in Kind::ALL {
            let rounds = alternate(kind, &node, &ends, extent, cpus)
                .with_context(|| format!("cannot measure {}", kind.label()))?;
            for (hook, of) in HOOKS.into_iter().zip(&rounds) {
                rows.push(row(kind, hook, of, &rounds[0]));
            }
        }
        Ok(rows)
    })
    .await?
}

fn alternate(
    kind: Kind,
    node: &Netns,
    ends: &[End; HOOKS.len()],
    extent: Extent,
    cpus: Cpus,
) -> Result<[Rounds; HOOKS.len()]> {
    let mut all: [Rounds; HOOKS.len()] = Default::default();
    for number in 0..extent.flow_rounds as usize {
        for step in 0..HOOKS.len() {
            let hook = (number + step) % HOOKS.len();
            let end = &ends[hook];
            let flow = |duration| flow(kind, node, end, cpus, duration);
            flow(WARM_UP)?;
            let has_xdp = || anyhow::Ok(network::xdp_program_id(node, &end.interface)?.is_some());
            // What it is like while a pod sends much, not in the first second.
            if hook == AUTO && kind != Kind::Ingress {
                let deadline = Instant::now() + LIFT_TIMEOUT;
                while has_xdp()? && Instant::now() < deadline {
                    flow(WARM_UP)?;
                }
            }
            let Flow {
                amount,
                seconds,
                cpu,
            } = flow(extent.flow)?;
            ensure!(
                amount > 0.0,
                "nothing came through with the hook {}",
                HOOKS[hook]
            );
            let rounds = &mut all[hook];
            rounds.rates.push(amount / seconds);
            rounds.costs.push(cpu / amount);
            rounds.with_xdp += u32::from(has_xdp()?);
        }
    }
    Ok(all)
}

fn flow(kind: Kind, node: &Netns, end: &End, cpus: Cpus, duration: Duration) -> Result<Flow> {
    match kind {
        Kind::Egress => tcp((&end.netns, node), GATEWAY, cpus, duration),
        Kind::Ingress => tcp((node, &end.netns), end.address, cpus, duration),
        Kind::Small => small((&end.netns, node), GATEWAY, cpus, duration),
    }
}

/// Sends over TCP from one namespace to `address` in the other.
fn tcp(
    (from, to): (&Netns, &Netns),
    address: Ipv4Addr,
    cpus: Cpus,
    duration: Duration,
) -> Result<Flow> {
    let listener = to.run(|| Ok(TcpListener::bind((address, 0))?))?;
    let at = listener.local_addr()?;
    let mut sending = from.run(|| Ok(TcpStream::connect_timeout(&at, STALL)?))?;
    let (mut receiving, _) = listener.accept()?;
    sending.set_write_timeout(Some(STALL))?;
    receiving.set_read_timeout(Some(STALL))?;
    let start = Instant::now();
    let (sent, received) = pair(
        || {
            latency::pin_thread(&cpus.sender)?;
            let buffer = vec![0; BUFFER_LEN];
            while start.elapsed() < duration {
                sending.write_all(&buffer).context("cannot send")?;
            }
            sending.shutdown(Shutdown::Write)?;
            thread_cpu()
        },
        || {
            latency::pin_thread(&cpus.receiver)?;
            let mut buffer = vec![0; BUFFER_LEN];
            let mut bytes = 0_u64;
            loop {
                match receiving.read(&mut buffer).context("cannot receive")? {
                    0 => return Ok((bytes, start.elapsed(), thread_cpu()?)),
                    length => bytes += u64::try_from(length)?,
                }
            }
        },
    )?;
    let (bytes, elapsed, cpu) = received;
    Ok(Flow {
        amount: number(bytes),
        seconds: elapsed.as_secs_f64(),
        cpu: sent + cpu,
    })
}

/// Sends small packets over UDP from one namespace to `address` in the other,
/// to a port that is not DNS's.
fn small(
    (from, to): (&Netns, &Netns),
    address: Ipv4Addr,
    cpus: Cpus,
    duration: Duration,
) -> Result<Flow> {
    let receiving = to.run(|| Ok(UdpSocket::bind((address, 0))?))?;
    let at: SocketAddr = receiving.local_addr()?;
    let sending = from.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(at)?;
        Ok(socket)
    })?;
    receiving.set_read_timeout(Some(LOOK))?;
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let (sent, received) = pair(
        || {
            let flood = || {
                latency::pin_thread(&cpus.sender)?;
                let mut packets = 0_u64;
                while start.elapsed() < duration {
                    for _ in 0..BURST {
                        sending.send(&[0; SMALL_LEN]).context("cannot send")?;
                    }
                    packets += u64::from(BURST);
                }
                Ok((packets, start.elapsed(), thread_cpu()?))
            };
            let result = flood();
            done.store(true, Ordering::Relaxed);
            result
        },
        || {
            latency::pin_thread(&cpus.receiver)?;
            let mut buffer = [0; SMALL_LEN];
            let mut packets = 0_u64;
            loop {
                match receiving.recv(&mut buffer) {
                    Ok(_) => packets += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if done.load(Ordering::Relaxed) {
                            return Ok((packets, thread_cpu()?));
                        }
                    }
                    Err(error) => return Err(error).context("cannot receive"),
                }
            }
        },
    )?;
    let ((packets, elapsed, sender_cpu), (arrived, _)) = (sent, received);
    // A receiver that is slower than the sender loses packets, but one that
    // gets none was never sent to.
    ensure!(arrived > 0, "no packet arrived at {at}");
    Ok(Flow {
        amount: number(packets),
        seconds: elapsed.as_secs_f64(),
        // The receiver's depends on how many were lost at its socket.
        cpu: sender_cpu,
    })
}

/// Runs sender and receiver, each on a thread of its own.
fn pair<S: Send, R: Send>(
    outgoing: impl FnOnce() -> Result<S> + Send,
    incoming: impl FnOnce() -> Result<R> + Send,
) -> Result<(S, R)> {
    thread::scope(|scope| {
        let (sender, receiver) = (scope.spawn(outgoing), scope.spawn(incoming));
        let sent = sender.join().map_err(|_| anyhow!("the sender panicked"));
        let arrived = receiver
            .join()
            .map_err(|_| anyhow!("the receiver panicked"));
        Ok((sent??, arrived??))
    })
}

/// Processor time of the calling thread in seconds.
fn thread_cpu() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let total = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(u64::try_from(total.num_microseconds())?).as_secs_f64())
}

fn row(kind: Kind, hook: &'static str, of: &Rounds, none: &Rounds) -> Row {
    let (rate_unit, rate_scale) = kind.unit();
    let (cost_unit, cost_scale) = kind.cost_unit();
    let ratios = || of.rates.iter().zip(&none.rates).map(|(of, none)| of / none);
    Row {
        traffic: kind.label(),
        hook,
        rate: median(of.rates.iter().copied()) * rate_scale,
        rate_unit,
        rate_ratio: ratio(&of.rates, &none.rates),
        cost: median(of.costs.iter().copied()) * cost_scale,
        cost_unit,
        cost_ratio: ratio(&of.costs, &none.costs),
        rate_ratio_range: [
            ratios().fold(f64::INFINITY, f64::min),
            ratios().fold(0.0, f64::max),
        ],
        rounds_with_xdp: of.with_xdp,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn cpus() -> Cpus {
        let all = latency::allowed_cpus().unwrap();
        Cpus {
            sender: all,
            receiver: all,
        }
    }

    #[test]
    fn flows_over_loopback_arrive() {
        let here = Netns::current().unwrap();
        let duration = Duration::from_millis(20);
        let ends = (&here, &here);
        for flow in [
            tcp(ends, Ipv4Addr::LOCALHOST, cpus(), duration).unwrap(),
            small(ends, Ipv4Addr::LOCALHOST, cpus(), duration).unwrap(),
        ] {
            assert!(flow.amount > 0.0 && flow.seconds >= duration.as_secs_f64());
        }
    }

    #[test]
    fn rows_have_units_and_ratios() {
        let rounds = |rates: &[f64]| Rounds {
            rates: rates.to_vec(),
            costs: rates.iter().map(|rate| 1.0 / rate).collect(),
            with_xdp: 2,
        };
        let (none, xdp) = (rounds(&[1e9, 2e9, 4e9]), rounds(&[1e9, 1e9, 3e9]));
        let row = row(Kind::Egress, "xdp", &xdp, &none);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(row.rate, 8.0) && row.rate_unit == "Gbit/s");
        assert!(close(row.rate_ratio, 0.75));
        assert!(close(row.rate_ratio_range[0], 0.5) && close(row.rate_ratio_range[1], 1.0));
        assert!(close(row.cost, 1024.0) && row.cost_unit == "ns/KiB");
        assert_eq!(row.rounds_with_xdp, 2);
    }
}
