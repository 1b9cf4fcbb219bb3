//! Where a client runs, and what it shows.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use headless_tests::node::{Pod, wait_for};
use tempfile::TempDir;

/// The folder into which xtask has extracted Debian's packages of clients.
pub(crate) const DEBIAN: &str = "HEADLESS_CLIENTS_DEBIAN";

/// What a client shows: lines in the order of their text.
pub(crate) type View = Vec<String>;

/// A pod with a folder for a client's files.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    /// The pod.
    pub(crate) pod: &'a Pod,
    folder: TempDir,
}

/// A program that runs in a pod until it is dropped.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both calls fail if the program has ended by itself.
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

impl<'a> Site<'a> {
    /// A folder for a client in `pod`.
    pub(crate) fn new(pod: &'a Pod) -> Self {
        Self {
            pod,
            folder: TempDir::new().unwrap(),
        }
    }

    /// A path in the client's folder, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a file into the client's folder; `FOLDER` in the text stands for that folder.
    /// Returns the file's path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text.replace("FOLDER", &self.path(""))).unwrap();
        path
    }

    /// A command in the pod. Debian's programs find their libraries.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.pod.command(program.as_ref());
        if let Some(root) = env::var_os(DEBIAN) {
            let root = PathBuf::from(root);
            let libraries = fs::read_dir(root.join("usr/lib")).unwrap();
            let libraries = libraries.map(|entry| entry.unwrap().path());
            // Folders of libraries are named by the machine: `x86_64-linux-gnu`.
            let folders = libraries.filter(|path| path.display().to_string().ends_with("-gnu"));
            let folders = folders.flat_map(|path| [path.join("systemd"), path]);
            command.env("LD_LIBRARY_PATH", env::join_paths(folders).unwrap());
        }
        command
    }

    /// Starts a program that stays. What it prints is in the file `log` of the client's folder.
    pub(crate) fn start(&self, command: &mut Command) -> Daemon {
        let log = fs::File::create(self.path("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Daemon(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Repeats `look` until it returns lines. Panics with the log if it does not.
    pub(crate) fn wait(&self, mut look: impl FnMut() -> Result<View, String>) -> View {
        wait_for(|| {
            look().map_err(|missing| {
                let log = fs::read_to_string(self.path("log")).unwrap_or_default();
                format!("{missing}\n{log}")
            })
        })
    }

    /// Asks an HTTP server on the pod's loopback; returns the answer.
    pub(crate) fn get(&self, port: u16, path: &str) -> anyhow::Result<String> {
        self.pod.within(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }
}

/// A program among Debian's clients.
pub(crate) fn debian(path: &str) -> PathBuf {
    let root = env::var_os(DEBIAN).unwrap_or_else(|| panic!("{DEBIAN} is not set"));
    PathBuf::from(root).join(path)
}

/// Runs a command and returns its output's lines, and its status if that is no success.
pub(crate) fn run(command: &mut Command) -> View {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut view = view(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        view.push(output.status.to_string());
    }
    view
}

/// The lines of a text, sorted. Left out is what differs from one question to the next: ids,
/// serials, cookies, times and sizes. Servers put records into a random order.
pub(crate) fn view(text: &str) -> View {
    let varies = |line: &&str| {
        let parts = [
            "Query time:",
            "WHEN:",
            "MSG SIZE",
            ";; From ",
            "Time ",
            "Received ",
        ];
        parts.iter().any(|part| line.contains(part))
    };
    let mut lines: View = text
        .lines()
        .filter(|line| !varies(line) && !line.trim().is_empty())
        .map(masked)
        .collect();
    lines.sort_unstable();
    lines
}

/// A line with a star in place of each id, cookie, and serial, which is a Unix time.
fn masked(line: &str) -> String {
    let mut words = Vec::new();
    let mut last = "";
    for word in line.split_whitespace() {
        let digits = word.trim_end_matches([',', ';', ')']);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_id = last == "id:" || last == "id";
        let is_cookie = last == "COOKIE:";
        words.push(if is_cookie || is_number && (is_id || digits.len() >= 10) {
            "*"
        } else {
            word
        });
        last = word;
    }
    words.join(" ")
}
