//! The promises of `cargo xtask lab`: the command's exit status is handed on,
//! labs do not clash, and nothing is left of one, however it ends.
//!
//! Needs root. `HEADLESS_AGENT` names the agent, which is built if it does not:
//! `cargo test -p xtask --features root-tests`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The longest wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// The node's and one pod's.
const NETWORK_NAMESPACES: usize = 2;

/// In the environment of every process of one lab.
const MARK: &str = "HEADLESS_TEST_LAB";

/// A lab under test, found again by its mark.
struct Lab {
    outside: Child,
    mark: String,
}

impl Lab {
    fn start(options: &[&str], command: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{MARK}={}-{number}", std::process::id());
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo");
        let mut lab = Command::new(env!("CARGO_BIN_EXE_xtask"));
        lab.arg("lab").arg("--manifests").arg(manifests);
        if let Some(agent) = std::env::var_os("HEADLESS_AGENT") {
            lab.arg("--agent").arg(agent);
        }
        let outside = lab
            .args(options)
            .arg("--")
            .args(command)
            .env(MARK, mark.split_once('=').unwrap().1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { outside, mark }
    }

    /// Waits for the command's first line.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.outside.stdout.as_mut().unwrap();
        // Only the first line is there yet, so the buffer takes no more.
        BufReader::new(stdout).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Lets a command that reads its standard input go on, and waits.
    fn finish(mut self) -> (ExitStatus, String) {
        drop(self.outside.stdin.take());
        let mut rest = String::new();
        let mut stdout = self.outside.stdout.take().unwrap();
        stdout.read_to_string(&mut rest).unwrap();
        (self.outside.wait().unwrap(), rest)
    }

    /// Sends the signal to the process outside and waits for its end.
    fn end_by(&mut self, signal: Signal) -> ExitStatus {
        let pid = Pid::from_raw(self.outside.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        self.outside.wait().unwrap()
    }

    /// The processes of the lab.
    fn processes(&self) -> Vec<PathBuf> {
        all_processes()
            .filter(|process| {
                fs::read(process.join("environ")).is_ok_and(|environment| {
                    environment
                        .split(|byte| *byte == 0)
                        .any(|variable| variable == self.mark.as_bytes())
                })
            })
            .collect()
    }

    /// The network namespaces of the lab's processes, without ours.
    fn network_namespaces(&self) -> BTreeSet<PathBuf> {
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let mut namespaces: BTreeSet<_> = self
            .processes()
            .iter()
            .filter_map(|process| fs::read_link(process.join("ns/net")).ok())
            .collect();
        namespaces.remove(&own);
        namespaces
    }

    fn assert_gone(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.processes().is_empty() {
            assert!(
                Instant::now() < deadline,
                "left behind: {:?}",
                self.processes()
            );
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Lab {
    /// A test that fails must not leave what it found.
    fn drop(&mut self) {
        for process in self.processes() {
            let pid = process.file_name().unwrap().to_string_lossy().parse();
            kill(Pid::from_raw(pid.unwrap()), Signal::SIGKILL).ok();
        }
    }
}

fn all_processes() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Asserts that neither a process nor a mount of this machine holds one of the
/// namespaces, and that the lab's mounts were its own.
///
/// A process that ends gives up its memory, and with it the mark by which
/// [`Lab::assert_gone`] knows it, before it gives up its namespaces (`do_exit`).
fn assert_unused(namespaces: &BTreeSet<PathBuf>) {
    let holders = || -> Vec<_> {
        all_processes()
            .filter(|process| {
                fs::read_link(process.join("ns/net")).is_ok_and(|held| namespaces.contains(&held))
            })
            .collect()
    };
    let deadline = Instant::now() + DEADLINE;
    while !holders().is_empty() {
        assert!(
            Instant::now() < deadline,
            "{:?} are still in {namespaces:?}",
            holders()
        );
        sleep(Duration::from_millis(5));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for mount in mounts.lines() {
        assert!(!mount.contains("/target/lab "), "{mount}");
        let root = Path::new(mount.split(' ').nth(3).unwrap());
        assert!(!namespaces.contains(root), "{mount}");
    }
}

#[test]
fn exit_status_is_the_commands() {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -KILL $$", 128 + 9),
        ("kill -TERM $$", 128 + 15),
    ] {
        let (ended, _) = Lab::start(&[], &["sh", "-c", script]).finish();
        assert_eq!(ended.code(), Some(status), "{script}");
    }
    let (ended, _) = Lab::start(&[], &["a-program-that-nobody-has"]).finish();
    assert_eq!(ended.code(), Some(127));
}

#[test]
fn the_command_is_in_a_pod() {
    let script = "cat /etc/resolv.conf; getent ahostsv4 nginx-headless | cut -d' ' -f1 | sort -u; \
                  ls /sys/class/net";
    let (ended, output) = Lab::start(&[], &["sh", "-c", script]).finish();
    assert!(ended.success());
    assert_eq!(
        output,
        "search default.svc.cluster.local svc.cluster.local cluster.local\n\
         nameserver 10.96.0.10\n\
         options ndots:5\n\
         10.0.0.22\n10.0.0.23\n10.0.0.39\n\
         eth0\nlo\n"
    );
}

#[test]
fn counters_are_written_at_the_end() {
    let file = std::env::temp_dir().join(format!("headless-lab-{}.json", std::process::id()));
    let options = ["--stats", file.to_str().unwrap()];
    let command = ["getent", "ahostsv4", "nginx-headless"];
    let (ended, _) = Lab::start(&options, &command).finish();
    let text = fs::read(&file);
    fs::remove_file(&file).ok();
    assert!(ended.success());
    let counters: serde_json::Value = serde_json::from_slice(&text.unwrap()).unwrap();
    let kernel = ["/answers/xdp", "/answers/tc"]
        .map(|key| counters.pointer(key).and_then(serde_json::Value::as_u64));
    assert!(
        kernel.iter().flatten().sum::<u64>() >= 1,
        "no answer by the kernel: {counters}"
    );
    assert!(counters["passes"].is_object(), "{counters}");
}

#[test]
fn nothing_is_left_when_the_lab_is_killed_or_interrupted() {
    for signal in [
        Signal::SIGKILL,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ] {
        // A process in a session of its own must not outlive the lab either.
        let script = "setsid sleep 1000 & echo up; exec sleep 1000";
        let mut lab = Lab::start(&[], &["sh", "-c", script]);
        assert_eq!(lab.first_line(), "up");
        let namespaces = lab.network_namespaces();
        assert_eq!(namespaces.len(), NETWORK_NAMESPACES, "{namespaces:?}");
        let ended = lab.end_by(signal);
        if signal != Signal::SIGKILL {
            assert_eq!(ended.code(), Some(128 + signal as i32), "{signal}");
        }
        lab.assert_gone();
        assert_unused(&namespaces);
    }
}

#[test]
fn nothing_is_left_when_the_lab_is_killed_while_it_starts() {
    // Once, so that what is killed below is a lab and not a compiler.
    let (ended, _) = Lab::start(&[], &["true"]).finish();
    assert!(ended.success());
    for delay in (0..600).step_by(25) {
        let mut lab = Lab::start(&[], &["sleep", "1000"]);
        sleep(Duration::from_millis(delay));
        lab.end_by(Signal::SIGKILL);
        lab.assert_gone();
    }
    assert_unused(&BTreeSet::new());
}

#[test]
fn labs_do_not_clash() {
    let script = "echo up; read -r _; getent ahostsv4 nginx-headless | cut -d' ' -f1 | sort -u";
    let mut labs: Vec<_> = (0..3)
        .map(|_| Lab::start(&["--pods", "2"], &["sh", "-c", script]))
        .collect();
    for lab in &mut labs {
        assert_eq!(lab.first_line(), "up");
    }
    // Now all are up at once.
    for lab in labs {
        let (ended, output) = lab.finish();
        assert!(ended.success());
        assert_eq!(output, "10.0.0.22\n10.0.0.23\n10.0.0.39\n");
    }
}
