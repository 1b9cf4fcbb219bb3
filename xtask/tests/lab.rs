//! The promises of `cargo xtask lab`: it ends with the command's exit status, several
//! labs run side by side, and a lab leaves nothing behind, however it ends.
//!
//! Run as root: `cargo test -p xtask --features root-tests`. `HEADLESS_AGENT` is the path of
//! the agent's binary. Without it, the lab builds the agent.

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

/// Longest time that a test waits for the end of a lab's processes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Number of a lab's network namespaces: the node's and one pod's.
const NETWORK_NAMESPACES: usize = 2;

/// Environment variable of all processes of a lab. Its value identifies the lab.
const MARK: &str = "HEADLESS_TEST_LAB";

/// A lab under test.
struct Lab {
    /// The process `xtask lab`, which is outside of the lab's namespaces.
    outside: Child,
    /// The environment variable [`MARK`] of this lab, as `NAME=VALUE`.
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

    /// Waits for the first line that the command prints.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.outside.stdout.as_mut().unwrap();
        // The command has printed only its first line so far, so the buffer takes no more
        // than that from the pipe.
        BufReader::new(stdout).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Closes the command's standard input and waits for its end. Returns the exit status and
    /// the rest of the output.
    fn finish(mut self) -> (ExitStatus, String) {
        drop(self.outside.stdin.take());
        let mut rest = String::new();
        let mut stdout = self.outside.stdout.take().unwrap();
        stdout.read_to_string(&mut rest).unwrap();
        (self.outside.wait().unwrap(), rest)
    }

    /// Sends a signal to the process `xtask lab` and waits for its end.
    fn end_by(&mut self, signal: Signal) -> ExitStatus {
        let pid = Pid::from_raw(self.outside.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        self.outside.wait().unwrap()
    }

    /// Folders in `/proc` of the lab's processes, by their environment.
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

    /// Network namespaces of the lab's processes, without this test's own.
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
                "the lab left processes behind: {:?}",
                self.processes()
            );
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Lab {
    /// Kills the processes that a failed test leaves.
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

/// Asserts that no process and no mount of this machine holds one of the namespaces, and
/// that no mount of the lab is visible here.
///
/// An ending process releases its memory before its namespaces (`do_exit` in
/// kernel/exit.c). [`Lab::assert_gone`], which reads the environment from that memory,
/// can therefore miss a process that still holds a namespace.
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
            "processes {:?} still hold {namespaces:?}",
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
fn the_lab_ends_with_the_commands_exit_status() {
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
fn the_command_runs_in_a_pod() {
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
fn the_counters_are_written_when_the_command_ends() {
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
        "the kernel gave no answer: {counters}"
    );
    assert!(counters["passes"].is_object(), "{counters}");
}

#[test]
fn the_agents_complaints_about_the_folder_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("broken.yaml"), "a: [").unwrap();
    let mut lab = Command::new(env!("CARGO_BIN_EXE_xtask"));
    lab.arg("lab").arg("--manifests").arg(folder.path());
    if let Some(agent) = std::env::var_os("HEADLESS_AGENT") {
        lab.arg("--agent").arg(agent);
    }
    let output = lab.args(["--", "true"]).output().unwrap();
    assert!(output.status.success());
    let shown = String::from_utf8(output.stderr).unwrap();
    assert!(
        shown.contains("broken.yaml document 1: unclosed bracket"),
        "{shown}"
    );
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
    // The first lab may build the agent. The labs below then start at once.
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
fn three_labs_run_side_by_side() {
    let script = "echo up; read -r _; getent ahostsv4 nginx-headless | cut -d' ' -f1 | sort -u";
    let mut labs: Vec<_> = (0..3)
        .map(|_| Lab::start(&["--pods", "2"], &["sh", "-c", script]))
        .collect();
    for lab in &mut labs {
        assert_eq!(lab.first_line(), "up");
    }
    // All three labs are up now.
    for lab in labs {
        let (ended, output) = lab.finish();
        assert!(ended.success());
        assert_eq!(output, "10.0.0.22\n10.0.0.23\n10.0.0.39\n");
    }
}
