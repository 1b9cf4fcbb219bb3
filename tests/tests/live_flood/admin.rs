//! Many connections to the admin endpoint.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use headless_tests::agent::{Agent, manifests};
use headless_tests::node::Node;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9153);

/// Connections of the flood.
const CONNECTIONS: usize = 10_000;

/// Connections that each thread of the flood opens before it waits for another answer.
const BETWEEN: usize = 250;

/// Without an answer for this long, a probe hangs. An answer takes milliseconds, and seconds where
/// others have the processors.
const HANG: Duration = Duration::from_secs(30);

/// What the clients of the flood do.
#[derive(Clone, Copy, Debug)]
enum Evil {
    /// Send nothing.
    Silent,
    /// Send one byte of a request after the other.
    SlowWriter,
    /// Ask for metrics and do not read them.
    SlowReader,
    /// Send a head without an end.
    Endless,
}

const KINDS: [Evil; 4] = [
    Evil::Silent,
    Evil::SlowWriter,
    Evil::SlowReader,
    Evil::Endless,
];

/// Connects from one of several addresses of the loopback.
fn connect_from(number: usize) -> Option<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    // A small window, so that a reader who does not read holds up the server.
    setsockopt(&socket, sockopt::RcvBuf, &2048).unwrap();
    let source = SockaddrIn::new(127, 0, 0, 1 + (number % 8) as u8, 0);
    bind(socket.as_raw_fd(), &source).unwrap();
    // The agent may be slower than the flood.
    connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 9153)).ok()?;
    // SAFETY: the descriptor is a connected TCP socket, and nobody else has it.
    Some(unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) })
}

impl Evil {
    /// Begins. The agent may have closed the connection already.
    fn begin(self, stream: &mut TcpStream) {
        stream.set_nonblocking(true).unwrap();
        let _sent = match self {
            Self::Silent => Ok(0),
            Self::SlowWriter => stream.write(b"G"),
            Self::SlowReader => stream.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
            Self::Endless => stream.write(&vec![b'a'; 65_536]),
        };
    }

    /// Goes on with another byte.
    fn go_on(self, stream: &mut TcpStream) {
        if matches!(self, Self::SlowWriter) {
            let _sent = stream.write(b"E");
        }
    }
}

/// Opens the connections from four threads, keeps them open, and goes on with slow ones. Probes
/// end meanwhile, however slow the machine is: the flood waits for them now and then.
fn flood(probes: &Probes) -> usize {
    let kept: Vec<usize> = thread::scope(|scope| {
        let threads = KINDS.map(|kind| {
            scope.spawn(move || {
                let mut streams = Vec::new();
                for number in 0..CONNECTIONS / KINDS.len() {
                    if let Some(mut stream) = connect_from(number) {
                        kind.begin(&mut stream);
                        streams.push(stream);
                    }
                    if number % 8 == 0 {
                        // Some 1,600 a second: what is tried here is the number of connections,
                        // not who gets the processors of a busy machine.
                        thread::sleep(Duration::from_millis(20));
                    }
                    if number % BETWEEN == 0 {
                        probes.wait_for(1);
                    }
                    if number % 100 == 0 {
                        for stream in &mut streams {
                            kind.go_on(stream);
                        }
                    }
                }
                for _ in 0..3 {
                    thread::sleep(Duration::from_secs(1));
                    for stream in &mut streams {
                        kind.go_on(stream);
                    }
                }
                streams.len()
            })
        });
        threads.map(|thread| thread.join().unwrap()).into()
    });
    kept.iter().sum()
}

/// Asks `/livez` as kubelet does, and returns the time until the answer.
fn probe() -> Result<Duration, String> {
    let start = Instant::now();
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&ADMIN, HANG)?;
        stream.set_read_timeout(Some(HANG))?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Ok(start.elapsed()),
        other => Err(format!("{other:?} after {:?}", start.elapsed())),
    }
}

/// The number of probes that have ended, with an answer or without.
#[derive(Debug, Default)]
struct Probes {
    ended: Mutex<usize>,
    ends: Condvar,
}

impl Probes {
    /// Waits until this many probes have begun and ended.
    fn wait_for(&self, count: usize) {
        let ended = self.ended.lock().unwrap();
        // The probe that runs now may have begun before.
        let end = *ended + 1 + count;
        let waiting = self.ends.wait_while(ended, |ended| *ended < end);
        drop(waiting.unwrap());
    }

    fn end(&self) {
        *self.ended.lock().unwrap() += 1;
        self.ends.notify_all();
    }
}

/// Asks while `work` runs; returns the times and the failures.
fn probed_while(work: impl FnOnce(&Probes) + Send) -> (Vec<Duration>, Vec<String>) {
    let probes = Probes::default();
    thread::scope(|scope| {
        let (mut times, mut failures) = (Vec::new(), Vec::new());
        let working = scope.spawn(|| work(&probes));
        while !working.is_finished() {
            match probe() {
                Ok(time) => times.push(time),
                Err(failure) => failures.push(failure),
            }
            probes.end();
            thread::sleep(Duration::from_millis(10));
        }
        working.join().unwrap();
        times.sort();
        (times, failures)
    })
}

fn raise_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = (CONNECTIONS + 1000) as u64;
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).unwrap();
}

#[test]
fn probes_are_answered_among_ten_thousand_connections() {
    let _alone = super::alone();
    raise_limit();
    let node = Node::new();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &[]);
    let files = || fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
    let most = AtomicUsize::new(0);
    let (times, failures) = node
        .run(|| {
            Ok(probed_while(|probes| {
                thread::scope(|scope| {
                    let flooding = scope.spawn(|| flood(probes));
                    while !flooding.is_finished() {
                        most.fetch_max(files().count(), Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(50));
                    }
                    let open = flooding.join().unwrap();
                    assert!(open > CONNECTIONS * 9 / 10, "{open} connections");
                });
            }))
        })
        .unwrap();
    let count = times.len();
    let most = most.into_inner();
    println!(
        "{count} answers, {} failures; at most {most} files; median {:?}, 99 % within {:?}, longest {:?}",
        failures.len(),
        times[count / 2],
        times[count * 99 / 100],
        times[count - 1]
    );
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(count > CONNECTIONS / KINDS.len() / BETWEEN);
    // 256 connections, and the agent's own.
    assert!(most > 256 && most < 500, "{most} files");
    assert_eq!(agent.get("/metrics").unwrap().0, 200);
}

/// The agent has fewer files than the endpoint takes connections.
#[test]
fn an_agent_without_files_goes_on_answering() {
    let _alone = super::alone();
    let node = Node::new();
    let manifests = manifests();
    let folder = manifests.path().to_str().unwrap();
    let launcher = ["sh", "-c", r#"ulimit -n 100; exec "$0" "$@""#];
    let mut agent = Agent::spawn_by(&node, &launcher, &["--manifests", folder]);
    agent.ready();
    let (_, failures) = node
        .run(|| {
            Ok(probed_while(|probes| {
                let silent: Vec<_> = (0..200).map(connect_from).collect();
                probes.wait_for(20);
                drop(silent);
            }))
        })
        .unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
    let log = agent.log();
    assert!(log.contains("cannot accept a connection"), "{log}");
    let told = log.matches("cannot accept a connection").count();
    assert_eq!(told, 1, "{log}");
}
