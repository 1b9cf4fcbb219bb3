//! The loaded programs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::{Program, ProgramInfo, SchedClassifier, Xdp};
use headless_ebpf::abi::Path;

use crate::datapath::snapshot;

/// Name of the XDP program in the object.
const XDP: &str = "headless_xdp";

/// Name of the tc program in the object.
pub(super) const TC: &str = "headless_tc";

/// The XDP program.
pub(super) fn xdp(ebpf: &mut Ebpf) -> anyhow::Result<&mut Xdp> {
    match ebpf.program_mut(XDP) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => anyhow::bail!("the BPF object has no XDP program {XDP}"),
    }
}

/// The tc program.
pub(super) fn tc(ebpf: &mut Ebpf) -> anyhow::Result<&mut SchedClassifier> {
    match ebpf.program_mut(TC) {
        Some(Program::SchedClassifier(program)) => Ok(program),
        _ => anyhow::bail!("the BPF object has no tc program {TC}"),
    }
}

/// The kernel's id of a program.
pub(super) fn id(ebpf: &Ebpf, path: Path) -> anyhow::Result<u32> {
    Ok(info(ebpf, path)?.id())
}

/// The programs as the kernel describes them, by path.
pub(super) fn describe(ebpf: &Ebpf) -> anyhow::Result<BTreeMap<&'static str, snapshot::Program>> {
    let describe = |path: Path| {
        let info = info(ebpf, path)?;
        let program = snapshot::Program {
            id: info.id(),
            run_time_ns: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
            run_count: info.run_count(),
            verified_instructions: info.verified_instruction_count(),
            jited_bytes: info.size_jitted(),
        };
        Ok((path.label(), program))
    };
    Path::ALL.into_iter().map(describe).collect()
}

fn info(ebpf: &Ebpf, path: Path) -> anyhow::Result<ProgramInfo> {
    let name = match path {
        Path::Xdp => XDP,
        Path::Tc => TC,
    };
    let program = ebpf.program(name);
    let program = program.with_context(|| format!("the BPF object has no program {name}"))?;
    let info = program.info();
    info.with_context(|| format!("cannot read the state of the program {name}"))
}
