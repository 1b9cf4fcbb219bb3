//! Checks at the start what the machine must have, and names whatever is missing.

use std::io;
use std::path::Path;

use aya::programs::ProgramType;
use aya::sys::is_program_supported;
use aya::util::KernelVersion;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use tracing::warn;

/// The oldest kernel with all that the programs use: links of XDP programs
/// (5.9, commit `aa8d3a716b59`) and `bpf_redirect_peer` (5.10, `9aa1206e8f48`).
const KERNEL_MIN: KernelVersion = KernelVersion::new(5, 10, 0);

/// The kernel from which on an open map can be read and written without `CAP_BPF` while
/// `kernel.unprivileged_bpf_disabled` is set (commit `c8644cd0efe7`).
const KERNEL_OPEN_MAPS: KernelVersion = KernelVersion::new(5, 19, 0);

/// The kernel from which on maps count as memory of the cgroup ("bpf: switch to memcg-based memory
/// accounting"). Before, they count as locked memory of the user.
const KERNEL_MAPS_IN_CGROUPS: KernelVersion = KernelVersion::new(5, 11, 0);

/// The capabilities with which the object is loaded and its programs are attached.
pub const TO_LOAD: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::PERFMON);

/// The capabilities with which open maps are read and written: none, or `CAP_BPF` on kernels
/// before 5.19.
pub fn to_use_maps() -> CapabilitySet {
    let version = KernelVersion::current();
    if version.is_ok_and(|version| version >= KERNEL_OPEN_MAPS) {
        CapabilitySet::empty()
    } else {
        CapabilitySet::BPF
    }
}

/// The machine lacks something.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The process lacks a capability.
    #[error("missing capability {0}: run as root, or add CAP_BPF and CAP_NET_ADMIN")]
    Capability(&'static str),
    /// Capabilities cannot be read.
    #[error("cannot read this process's capabilities")]
    Capabilities(#[source] io::Error),
    /// The kernel is too old.
    #[error("kernel {0} is too old: 5.10 is the oldest supported")]
    Kernel(String),
    /// The kernel does not tell its version.
    #[error("cannot tell the kernel's version: {0}")]
    Version(String),
    /// The kernel refuses `bpf(2)`, or does not know programs of this type.
    #[error(
        "the kernel refuses {kind} programs by bpf(2) ({reason}): look at seccomp, kernel \
         lockdown and CONFIG_BPF_SYSCALL"
    )]
    Syscall {
        /// Type of the programs.
        kind: &'static str,
        /// The kernel's answer.
        reason: String,
    },
}

/// Lifts the limit of locked memory on kernels before 5.11, which count maps as such. Call this
/// while the thread still has `CAP_SYS_RESOURCE`, if it ever had.
pub fn lift_memory_lock_limit() {
    if KernelVersion::current().is_ok_and(|version| version >= KERNEL_MAPS_IN_CGROUPS) {
        return;
    }
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let limit = getrlimit(Resource::Memlock);
    if limit.current.is_some() && setrlimit(Resource::Memlock, unlimited).is_err() {
        warn!(
            "maps count as locked memory on this kernel, and the limit of it cannot be lifted: \
             add CAP_SYS_RESOURCE, or raise the limit (RLIMIT_MEMLOCK)"
        );
    }
}

/// Checks that programs can be loaded and attached here.
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
        // The programs do not need BTF; without it, listings show no type names.
        warn!("the kernel has no BTF (/sys/kernel/btf/vmlinux): loading without");
    }
    Ok(())
}

/// Checks for the two capabilities. `CAP_BPF` exists from kernel 5.8; `CAP_SYS_ADMIN`
/// includes it.
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
