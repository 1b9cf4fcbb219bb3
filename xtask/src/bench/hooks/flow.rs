//! One flow of traffic between two network namespaces.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::CpuSet;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::figures::number;
use crate::lab::network::Netns;
use crate::latency;

/// Bytes that a sender writes, or a receiver reads, at once.
const BUFFER_LEN: usize = 128 * 1024;

/// Payload of a small packet.
const SMALL_LEN: usize = 32;

/// Number of small packets between two reads of the clock.
const BURST: u32 = 64;

/// A flow without progress for this long has failed.
const STALL: Duration = Duration::from_secs(5);

/// How often the receiver of small packets checks whether the sender has ended.
const LOOK: Duration = Duration::from_millis(20);

/// One measured flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Bytes that arrived, or packets that were sent.
    pub(super) amount: f64,
    pub(super) seconds: f64,
    /// Processor time in seconds.
    pub(super) cpu: f64,
}

/// The CPUs of sender and receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    pub(crate) sender: CpuSet,
    pub(crate) receiver: CpuSet,
}

/// Sends over TCP from one namespace to `address` in the other.
pub(super) fn tcp(
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

/// Sends small packets over UDP from one namespace to `address` in the other. The port is not
/// the port of DNS, so the programs pass the packets.
pub(super) fn small(
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
    // A slow receiver loses packets. One that gets no packet at all means an error.
    ensure!(arrived > 0, "no packet arrived at {at}");
    Ok(Flow {
        amount: number(packets),
        seconds: elapsed.as_secs_f64(),
        // The receiver's time is left out: it depends on the number of packets lost at its
        // socket.
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
}
