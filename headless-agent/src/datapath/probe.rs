//! What the machine must have, said in one sentence each where it does not.

use std::io;
use std::path::Path;

use aya::programs::ProgramType;
use aya::sys::is_program_supported;
use aya::util::KernelVersion;
use rustix::thread::{CapabilitySet, capabilities};
use tracing::warn;

/// The oldest kernel with all that the programs use: links of XDP programs
/// (5.9, commit `aa8d3a716b59`) and `bpf_redirect_peer` (5.10, `9aa1206e8f48`).
const KERNEL_MIN: KernelVersion = KernelVersion::new(5, 10, 0);

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not allowed.
    #[error("missing capability {0}: run as root, or add CAP_BPF and CAP_NET_ADMIN")]
    Capability(&'static str),
    /// Capabilities cannot be read.
    #[error("cannot read this process's capabilities")]
    Capabilities(#[source] io::Error),
    /// Too old.
    #[error("kernel {0} is too old: 5.10 is the oldest supported")]
    Kernel(String),
    /// No version.
    #[error("cannot tell the kernel's version: {0}")]
    Version(String),
    /// The syscall is refused or does not know such programs.
    #[error(
        "the kernel refuses {kind} programs by bpf(2) ({reason}): look at seccomp, kernel \
         lockdown and CONFIG_BPF_SYSCALL"
    )]
    Syscall {
        /// Of which kind.
        kind: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Whether programs can be loaded and attached here.
pub fn probe() -> Result<(), ProbeError> {
    let version =
        KernelVersion::current().map_err(|error| ProbeError::Version(error.to_string()))?;
    if version < KERNEL_MIN {
        return Err(ProbeError::Kernel(format!("{version:?}")));
    }
    let sets = capabilities(None).map_err(|errno| ProbeError::Capabilities(errno.into()))?;
    check_capabilities(sets.effective)?;
    for (kind, program) in [
        ("XDP", ProgramType::Xdp),
        ("tc", ProgramType::SchedClassifier),
    ] {
        let reason = match is_program_supported(program) {
            Ok(true) => continue,
            Ok(false) => "not supported".into(),
            Err(error) => error.to_string(),
        };
        return Err(ProbeError::Syscall { kind, reason });
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        // The programs need none of it, the kernel only names types less well.
        warn!("the kernel has no BTF (/sys/kernel/btf/vmlinux): loading without");
    }
    Ok(())
}

/// `CAP_BPF` exists from kernel 5.8; `CAP_SYS_ADMIN` holds it.
fn check_capabilities(effective: CapabilitySet) -> Result<(), ProbeError> {
    if !effective.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN) {
        return Err(ProbeError::Capability("CAP_BPF"));
    }
    if !effective.contains(CapabilitySet::NET_ADMIN) {
        return Err(ProbeError::Capability("CAP_NET_ADMIN"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn each_missing_capability_is_named() {
        let named = |set| check_capabilities(set).unwrap_err().to_string();
        assert!(named(CapabilitySet::empty()).contains("CAP_BPF"));
        assert!(named(CapabilitySet::BPF).contains("capability CAP_NET_ADMIN"));
        check_capabilities(CapabilitySet::BPF | CapabilitySet::NET_ADMIN).unwrap();
        check_capabilities(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN).unwrap();
    }
}
