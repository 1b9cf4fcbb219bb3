//! The processes of a lab, arranged so that nothing outlives it.
//!
//! A lab has three stages. Each is this binary, started by the stage before:
//!
//! ```text
//! outside   the command the user started: builds, forwards signals, hands on the exit status
//!   └ init  PID 1 of a new PID namespace, in a new mount and network namespace: reaps, nothing else
//!       └ node  the lab proper: the node's network namespace, the pods, the agent, the command
//! ```
//!
//! When `init` dies, the kernel kills every process of the PID namespace
//! (`pid_namespaces(7)`). With the last process the mounts disappear, pins in bpffs
//! included, and the network namespaces, which have no names. `init` asks the kernel to be
//! killed when `outside` dies, so `kill -9` of `outside` ends a lab. A pipe covers the
//! moment before that request: it reaches its end when `outside` is gone. Nothing in a lab
//! has a name outside of it, so labs cannot clash.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid, pipe2};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::mounts;

/// Environment variable that tells a process its stage: `init FD` or `node FD PID`.
const STAGE: &str = "HEADLESS_LAB_STAGE";

/// `si_code` of a signal from the terminal (`sigaction(2)`). The whole foreground process
/// group has received such a signal.
const SI_KERNEL: i32 = 0x80;

/// Bit in a byte of the control pipe: the terminal sent the signal.
const FROM_TERMINAL: u8 = 0x80;

/// The signals that are forwarded into a lab.
const FORWARDED: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// A signal that reached the command outside the lab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt {
    /// The signal.
    pub(crate) signal: Signal,
    /// Whether the terminal sent the signal. Then every process in the foreground has
    /// received it.
    pub(crate) from_terminal: bool,
}

impl Interrupt {
    /// The exit status a shell gives a command that this signal ended.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(128 + self.signal as u8)
    }
}

/// The node stage's connection to the stage `outside`.
#[derive(Debug)]
pub(crate) struct Control {
    pipe: pipe::Receiver,
    /// PID of `init` in the user's PID namespace, for `nsenter --target`.
    pub(crate) init_pid: u32,
}

impl Control {
    /// Waits for the next signal. Fails when the process outside is gone.
    pub(crate) async fn interrupted(&mut self) -> Result<Interrupt> {
        let mut byte = [0];
        if self.pipe.read(&mut byte).await? == 0 {
            bail!("the process that started the lab is gone");
        }
        let [byte] = byte;
        Ok(Interrupt {
            signal: Signal::try_from(i32::from(byte & !FROM_TERMINAL))?,
            from_terminal: byte & FROM_TERMINAL != 0,
        })
    }
}

/// Runs `node` in a new lab, after `prepare` has run outside it.
///
/// The binary starts itself twice with the same arguments. So the same arguments must lead
/// the caller here again, without side effects before.
///
/// # Errors
/// When not root, when a namespace or mount is refused, and errors of `prepare` and `node`.
pub(crate) fn enter(
    prepare: impl FnOnce() -> Result<()>,
    node: impl AsyncFnOnce(Control) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let Some(stage) = env::var_os(STAGE) else {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "a lab needs root: it makes network namespaces and loads BPF programs"
        );
        prepare()?;
        return outside();
    };
    // SAFETY: no other thread runs yet: each stage comes here first.
    unsafe { env::remove_var(STAGE) };
    let stage = stage.into_string().unwrap_or_default();
    match stage.split(' ').collect::<Vec<_>>()[..] {
        ["init", fd] => init(fd.parse()?),
        ["node", fd, init_pid] => {
            ensure!(getppid() == Pid::from_raw(1), "{STAGE} is set by hand");
            ignore_signals()?;
            let fd: RawFd = fd.parse()?;
            // SAFETY: `outside` opened this descriptor for us and nothing else
            // in this process knows its number.
            let control = unsafe { OwnedFd::from_raw_fd(fd) };
            set_close_on_exec(&control, true)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let init_pid = init_pid.parse()?;
            let result = runtime.block_on(async {
                let pipe = pipe::Receiver::from_owned_fd(control)?;
                node(Control { pipe, init_pid }).await
            });
            // Do not wait for threads that still measure.
            runtime.shutdown_background();
            result
        }
        _ => bail!("{STAGE} is set by hand"),
    }
}

/// The status that a shell reports: the exit code, or 128 and the signal.
pub(crate) fn exit_status(status: ExitStatus) -> u8 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

/// Starts `init`, forwards signals to the node stage, waits.
fn outside() -> Result<ExitCode> {
    let (control, signals_out) = pipe2(OFlag::O_CLOEXEC)?;
    let mut mask = SigSet::from_iter(FORWARDED);
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)?;

    // The new PID namespace is for this process's children. The first child becomes PID 1.
    unshare(CloneFlags::CLONE_NEWPID).context("cannot make a PID namespace")?;
    let mut command = this_binary();
    command.env(STAGE, format!("init {}", control.as_raw_fd()));
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    // SAFETY: between fork and exec only system calls are made, no memory is
    // allocated and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            mask.thread_unblock()?;
            unshare(namespaces)?;
            set_close_on_exec(&control, false)?;
            Ok(())
        });
    }
    let mut child = command
        .spawn()
        .context("cannot start the lab's first process")?;
    drop(command);

    loop {
        let Some(info) = signals.read_signal()? else {
            continue;
        };
        let signal = Signal::try_from(i32::try_from(info.ssi_signo)?)?;
        if signal == Signal::SIGCHLD {
            if let Some(status) = child.try_wait()? {
                return Ok(ExitCode::from(exit_status(status)));
            }
            continue;
        }
        let terminal = if info.ssi_code == SI_KERNEL {
            FROM_TERMINAL
        } else {
            0
        };
        // When the write fails, the lab is ending, and its SIGCHLD arrives next.
        nix::unistd::write(&signals_out, &[signal as u8 | terminal]).ok();
    }
}

/// PID 1 of the lab: makes the mounts, starts the node stage, reaps orphans.
///
/// It handles no signals: the kernel discards signals with default actions for PID 1.
fn init(control: RawFd) -> Result<ExitCode> {
    ensure!(getpid() == Pid::from_raw(1), "{STAGE} is set by hand");
    // /proc is still the one of the user's PID namespace.
    let here = fs::read_link("/proc/self").context("cannot read /proc/self")?;
    mounts::isolate()?;
    let node = this_binary()
        .env(STAGE, format!("node {control} {}", here.display()))
        .spawn()
        .context("cannot start the lab's node")?;
    let node = Pid::from_raw(i32::try_from(node.id())?);
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == node => {
                return Ok(ExitCode::from(u8::try_from(code)?));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == node => {
                return Ok(ExitCode::from(128 + signal as u8));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the lab's node"),
        }
    }
}

/// A command that starts this binary again with the same arguments.
fn this_binary() -> Command {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("xtask"));
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(arguments);
    command
}

/// Ignores signals, since the control pipe ends this process.
///
/// The handler does nothing. `SIG_IGN` would be inherited by the lab's children, whereas
/// exec resets handlers to the default actions.
fn ignore_signals() -> Result<()> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in FORWARDED {
        // SAFETY: the handler does nothing, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

fn set_close_on_exec(fd: &OwnedFd, on: bool) -> nix::Result<()> {
    let flags = if on {
        FdFlag::FD_CLOEXEC
    } else {
        FdFlag::empty()
    };
    fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop)
}
