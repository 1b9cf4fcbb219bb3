//! The kernel's information about a loaded program.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, loaded_programs};

/// The loaded program with this id.
///
/// # Errors
/// When no loaded program has it.
pub(crate) fn find(id: u32) -> Result<ProgramInfo> {
    for program in loaded_programs() {
        let program = program?;
        if program.id() == id {
            return Ok(program);
        }
    }
    None.with_context(|| format!("no BPF program {id}"))
}

/// Total run time and number of runs of the program `id`. Both stay as they are unless the
/// kernel counts (`kernel.bpf_stats_enabled`, or [`aya::sys::enable_stats`]).
///
/// # Errors
/// When there is no such program.
pub(crate) fn run_time(id: u32) -> Result<(Duration, u64)> {
    let program = find(id)?;
    Ok((program.run_time(), program.run_count()))
}
