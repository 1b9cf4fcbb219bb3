//! The unix socket at which the agent answers `status` and `dump`.
//!
//! The answers name everything in the cluster, so only the agent's user may connect. The socket
//! has a path: an abstract one would be open to every process of the network namespace, which
//! is the node's.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::debug;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// How often, and how many times, the agent tries to lock the folder, which others lock for less
/// than a millisecond.
const LOCK_TRIES: (u32, Duration) = (100, Duration::from_millis(20));

/// A listening socket. Dropping it removes its path.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the path, so that no other socket is removed.
    inode: (u64, u64),
}

impl AdminSocket {
    /// Listens at a path. Replaces the socket of an agent that has ended. Makes the folder, with
    /// mode 0700, where only that is missing.
    ///
    /// # Errors
    /// Where another agent listens at the path, where the path is no socket, and where the
    /// folder cannot be written.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        Self::listen(path)
            .with_context(|| format!("cannot listen on --admin-socket {}", path.display()))
    }

    fn listen(path: &Path) -> anyhow::Result<Self> {
        let folder = path.parent().context("the path has no folder")?;
        // Two agents that start at once must not both replace the socket of a third.
        let _lock = lock(folder)?;
        clear(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The kernel gives the path the mode that the socket has before it is bound
        // (`unix_bind_bsd`), so the path never has a wider one.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let inode = inode(path)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            listener: socket.into(),
            path: path.to_owned(),
            inode,
        })
    }

    /// The socket for tokio.
    ///
    /// # Errors
    /// Outside of a runtime with I/O.
    pub fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let removed = match inode(&self.path) {
            Ok(inode) if inode == self.inode => fs::remove_file(&self.path),
            _ => Ok(()),
        };
        if let Err(error) = removed {
            debug!("{} stays: {error}", self.path.display());
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Locks the folder, which is made if it is missing.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let named = || format!("the folder {}", folder.display());
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| {
                format!(
                    "{} does not exist and cannot be made: in a pod, mount an emptyDir there",
                    named()
                )
            });
        }
        _ => {}
    }
    let file = File::open(folder).with_context(named)?;
    let (tries, pause) = LOCK_TRIES;
    for _ in 0..tries {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(pause),
            Err(error) => return Err(error).with_context(named),
        }
    }
    bail!("another process holds a lock on {}", named())
}

/// Removes the socket of an agent that has ended.
fn clear(path: &Path) -> anyhow::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !metadata.file_type().is_socket() {
        bail!("something that is no socket is there already, and is left alone");
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose queue is full would block the agent.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).context("cannot remove the socket of an agent that has ended")
        }
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            Err(error).context("cannot tell whether another agent listens there")
        }
        _ => bail!("another agent listens there: stop it, or give each agent a path of its own"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::net::UnixStream;

    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn error(path: &Path) -> String {
        format!("{:#}", AdminSocket::bind(path).unwrap_err())
    }

    #[test]
    fn only_the_user_may_connect_and_the_end_removes_the_path() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("new/admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
        let missing = folder.path().join("a/b/admin.sock");
        assert!(
            error(&missing).contains("does not exist"),
            "{}",
            error(&missing)
        );
    }

    #[test]
    fn a_dead_agents_socket_is_replaced_and_a_live_ones_is_not() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("admin.sock");
        // A listener leaves its path behind, as a killed agent does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = AdminSocket::bind(&path).unwrap();
        let refusal = error(&path);
        assert!(refusal.contains("another agent listens"), "{refusal}");
        assert!(refusal.contains(path.to_str().unwrap()), "{refusal}");
        UnixStream::connect(&path).unwrap();
        // Somebody removed the path, and a second agent made it again.
        fs::remove_file(&path).unwrap();
        let second = AdminSocket::bind(&path).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_queue_that_is_full_is_a_live_agents() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("admin.sock");
        let _agent = AdminSocket::bind(&path).unwrap();
        let mut waiting = Vec::new();
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            match client.connect(&SockAddr::unix(&path).unwrap()) {
                Ok(()) => waiting.push(client),
                Err(_) => break,
            }
        }
        assert!(error(&path).contains("another agent listens"));
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "kept").unwrap();
        assert!(error(&path).contains("no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(error(&link).contains("no socket"));
        assert!(link.exists());
        assert!(error(folder.path()).contains("no socket"));
    }

    #[test]
    fn of_many_agents_that_start_at_once_one_gets_the_path() {
        const AGENTS: usize = 4;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("admin.sock");
        for _ in 0..100 {
            drop(UnixListener::bind(&path).unwrap());
            let start = std::sync::Barrier::new(AGENTS);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let agent = || {
                    start.wait();
                    AdminSocket::bind(&path)
                };
                let agents = [(); AGENTS].map(|()| scope.spawn(agent));
                agents.map(|agent| agent.join().unwrap()).into()
            });
            assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1);
            UnixStream::connect(&path).unwrap();
        }
    }
}
