//! The two peers as processes, and the kernel's figures of a process.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use headless_tests::node::Node;
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

/// The longest wait for a peer to have read the cluster.
const READY_MAX: Duration = Duration::from_mins(5);

/// Name of the admin socket in the agent's folder.
pub(crate) const SOCKET: &str = "admin.sock";

/// Ticks of a second in `/proc/PID/stat` (`USER_HZ`).
const TICKS: f64 = 100.0;

/// A peer on a node, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process<'a> {
    node: &'a Node,
    child: Child,
    started: Instant,
    folder: TempDir,
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Memory of a process in bytes (`proc_pid_status(5)`), without the pages of BPF maps that
/// the process has mapped: `Process::maps` counts the maps.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    /// `VmRSS`.
    pub(crate) rss: u64,
    /// `RssAnon`: heap and stacks.
    pub(crate) anonymous: u64,
    /// `RssFile`: pages of the program's file, which the kernel can drop and read again.
    pub(crate) file: u64,
    /// `VmHWM`.
    pub(crate) peak: u64,
}

impl Display for Memory {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let [rss, anonymous] = [self.rss, self.anonymous].map(|bytes| bytes as f64 / 1e6);
        write!(formatter, "VmRSS {rss:.1} MB, RssAnon {anonymous:.1} MB")
    }
}

impl<'a> Process<'a> {
    /// Starts the program whose path is in an environment variable. `prepare` adds
    /// arguments to the command and may put files into the folder.
    pub(crate) fn start(
        node: &'a Node,
        variable: &str,
        prepare: impl FnOnce(&mut Command, &TempDir) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let program = std::env::var_os(variable)
            .with_context(|| format!("{variable} is not set: use `cargo xtask bench scale`"))?;
        let folder = TempDir::new()?;
        let mut command = node.command(&program);
        prepare(&mut command, &folder)?;
        let log = File::create(folder.path().join("log"))?;
        let child = command
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let child = child.with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self {
            node,
            child,
            started: Instant::now(),
            folder,
        })
    }

    /// Waits until a page has status 200. Returns the time since the start.
    pub(crate) fn ready(&mut self, port: u16, path: &str) -> anyhow::Result<Duration> {
        loop {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("ended: {status}\n{}", log());
            }
            if let Ok((200, _)) = self.get(port, path) {
                return Ok(self.started.elapsed());
            }
            if self.started.elapsed() > READY_MAX {
                bail!("not ready in time\n{}", log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Status and body of a page on the node's loopback.
    pub(crate) fn get(&self, port: u16, path: &str) -> anyhow::Result<(u16, String)> {
        let answer = self.node.run(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            // Version 1.0: no chunks.
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.context("no status")?, body.to_owned()))
    }

    /// The status of the agent, from its admin socket.
    pub(crate) fn status(&self) -> anyhow::Result<Value> {
        let mut stream = UnixStream::connect(self.folder.path().join(SOCKET))?;
        write!(
            stream,
            "GET /status.json HTTP/1.0\r\nHost: localhost\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        Ok(serde_json::from_str(body)?)
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// The memory that the process has now.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let status = fs::read_to_string(self.proc("status"))?;
        let field = |name| {
            let value = field(&status, name);
            value.map(|kilobytes| kilobytes * 1024)
        };
        let mapped = mapped_maps(&fs::read_to_string(self.proc("smaps"))?);
        Ok(Memory {
            rss: field("VmRSS:")?.saturating_sub(mapped),
            anonymous: field("RssAnon:")?,
            file: field("RssFile:")?.saturating_sub(mapped),
            // The agent maps its maps for good, so they are in the peak as they are now.
            peak: field("VmHWM:")?.saturating_sub(mapped),
        })
    }

    /// Processor time so far, in seconds.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("no stat")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> anyhow::Result<f64> { Ok(fields.next().context("cut")?.parse()?) };
        Ok((ticks()? + ticks()?) / TICKS)
    }

    /// The memory of its BPF maps in bytes, by the maps' ids, as the kernel counts it
    /// (`memlock` of a map's fdinfo, `bpf_map_memory_usage`).
    pub(crate) fn maps(&self) -> anyhow::Result<BTreeMap<u64, u64>> {
        let mut maps = BTreeMap::new();
        for entry in fs::read_dir(self.proc("fdinfo"))? {
            let info = fs::read_to_string(entry?.path()).unwrap_or_default();
            if let (Ok(id), Ok(bytes)) = (field(&info, "map_id:"), field(&info, "memlock:")) {
                maps.insert(id, bytes);
            }
        }
        Ok(maps)
    }
}

/// Resident bytes of BPF maps that a process has mapped into its memory, by its
/// `/proc/PID/smaps` (`proc_pid_smaps(5)`).
fn mapped_maps(smaps: &str) -> u64 {
    let mut is_map = false;
    let mut bytes = 0;
    for line in smaps.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["Rss:", kilobytes, "kB"] if is_map => {
                bytes += kilobytes.parse().unwrap_or(0) * 1024;
            }
            // A mapping's first line: addresses, permissions, offset, device, inode, path.
            [addresses, _, _, _, _, ref path @ ..] if addresses.contains('-') => {
                is_map = path.first().is_some_and(|path| path.ends_with("bpf-map"));
            }
            _ => {}
        }
    }
    bytes
}

/// The first number on the line that starts with `name`.
fn field(text: &str, name: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_maps_are_told_apart_from_other_memory() {
        let smaps = "\
7f0000000000-7f0000200000 rw-s 00000000 00:0f 1036   anon_inode:bpf-map
Size:               2048 kB
Rss:                1500 kB
Pss:                1500 kB
7f0000200000-7f0000300000 rw-p 00000000 00:00 0
Rss:                 900 kB
7f0000300000-7f0000301000 r--s 00000000 00:0f 1036   anon_inode:bpf-map
Rss:                   4 kB
";
        assert_eq!(mapped_maps(smaps), 1504 * 1024);
    }
}
