//! Runs other programs. An error names the command.

use anyhow::{Context as _, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Environment variables that cargo and rustup set for `xtask`. A nested cargo must not see
/// them, or it builds with the outer toolchain, flags or folders.
const INHERITED: [&str; 12] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
];

/// The workspace's root, as a path at compile time: `cargo xtask` compiles this crate in
/// every checkout.
pub(crate) fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// The workspace's `target` folder, whatever `CARGO_TARGET_DIR` says: other crates look
/// there for the BPF objects.
pub(crate) fn target() -> PathBuf {
    workspace().join("target")
}

/// The cargo that runs `xtask`, or the one on `PATH`, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// A command without the environment that the outer cargo and rustup set.
pub(crate) fn isolated(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in env::vars_os() {
        let name = variable.to_string_lossy();
        // CARGO_MANIFEST_DIR and CARGO_PKG_* describe xtask itself.
        if INHERITED.contains(&name.as_ref())
            || name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
        {
            command.env_remove(&variable);
        }
    }
    command.current_dir(workspace());
    command
}

/// Runs the command with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs the command and returns its standard output. The error of a failed command has its
/// standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed: {}: {}",
            shown(command),
            output.status,
            errors.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first executable of this name on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
}

/// Whether this process may load BPF programs, make namespaces and install
/// packages.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A progress line on standard error.
pub(crate) fn progress(topic: &str, message: &str) {
    eprintln!("{topic}: {message}");
}

/// `4.2 s` below a minute, `3 min 07 s` above.
pub(crate) fn elapsed(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// The command line with its variables, as one could type it.
fn shown(command: &Command) -> String {
    let mut line = String::from("`");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let value = value.to_string_lossy().replace('\x1f', " ");
            let _infallible = write!(line, "{}='{value}' ", name.to_string_lossy());
        }
    }
    line.push_str(&command.get_program().to_string_lossy());
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line.push('`');
    line
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn failure_names_the_command_and_keeps_its_errors() {
        let error = output(
            Command::new("sh")
                .env("WHERE", "here")
                .args(["-c", "echo no >&2; exit 3"]),
        )
        .unwrap_err()
        .to_string();
        assert!(error.starts_with("`WHERE='here' sh -c"), "{error}");
        assert!(error.ends_with("exit status: 3: no"), "{error}");
    }

    #[test]
    fn isolated_commands_do_not_see_the_outer_cargo() {
        let environment = output(&mut isolated("env")).unwrap();
        assert!(!environment.contains("CARGO_PKG_NAME="), "{environment}");
        assert!(!environment.contains("RUSTUP_TOOLCHAIN="), "{environment}");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(elapsed(Duration::from_millis(4240)), "4.2 s");
        assert_eq!(elapsed(Duration::from_secs(187)), "3 min 07 s");
    }

    #[test]
    fn only_executables_are_found() {
        assert!(on_path("sh").is_some());
        assert!(on_path("a-program-that-nobody-has").is_none());
    }
}
