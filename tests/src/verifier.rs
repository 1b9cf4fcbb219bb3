//! What the kernel's verifier says of a program that it accepts.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Instructions that the verifier may look at in a program
/// (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h).
pub const INSTRUCTIONS_MAX: u32 = 1_000_000;

/// Instructions that were looked at when the programs were loaded, by their
/// names; `None` where the kernel does not remember it: it does from 5.16
/// (commit `aba64c7da983`).
pub fn remembered(ebpf: &Ebpf) -> BTreeMap<String, Option<u32>> {
    let count = |program: &Program| {
        let info = program.info();
        info.unwrap().verified_instruction_count()
    };
    ebpf.programs()
        .map(|(name, program)| (name.to_owned(), count(program)))
        .collect()
}

/// The same from the verifier's log, for any kernel.
///
/// The log of a load that succeeds is not to be had from aya. So the load is
/// made to fail after the verifier has had its say: where the program's
/// descriptor should be made, the process has reached its limit of them. No
/// other thread may open files meanwhile.
///
/// `logs` says whether the programs are to log, too, at level debug: two
/// globals, which the loader of the agent sets by [`KernelLog`].
///
/// [`KernelLog`]: headless_agent::datapath::object::KernelLog
pub fn logged(object: &Path, logs: bool) -> BTreeMap<String, u32> {
    let mut loader = EbpfLoader::new();
    if logs {
        loader
            .override_global("LOG", &1_u8, true)
            // `Level::Debug` of aya-log.
            .override_global("AYA_LOG_LEVEL", &4_u8, true);
    }
    let mut ebpf = loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .load_file(object)
        .unwrap_or_else(|error| panic!("cannot load {}: {error}", object.display()));
    ebpf.programs_mut()
        .map(|(name, program)| {
            let log = without_descriptors(|| match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => panic!("program {name} is of no known kind"),
            });
            let count = processed(&log).unwrap_or_else(|| panic!("{name}: no count in:\n{log}"));
            (name.to_owned(), count)
        })
        .collect()
}

/// The log of a load for which no descriptor is left.
fn without_descriptors(load: impl FnOnce() -> Result<(), ProgramError>) -> String {
    // A new descriptor has the lowest free number, and must be below the limit.
    let lowest = File::open("/dev/null").unwrap().as_raw_fd();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, lowest.try_into().unwrap(), hard).unwrap();
    let result = load();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    match result {
        Err(ProgramError::LoadError { verifier_log, .. }) => verifier_log.to_string(),
        other => panic!("a load without descriptors: {other:?}"),
    }
}

/// `N` of `processed N insns (limit ...) ...`.
fn processed(log: &str) -> Option<u32> {
    let line = log
        .lines()
        .find_map(|line| line.strip_prefix("processed "))?;
    line.split(' ').next()?.parse().ok()
}
