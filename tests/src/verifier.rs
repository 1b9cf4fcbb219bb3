//! Number of instructions that the kernel's verifier processes for a program.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use headless_ebpf::abi::global;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Most instructions that the verifier processes before it refuses a program
/// (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h).
pub const INSTRUCTIONS_MAX: u32 = 1_000_000;

/// Instructions that the verifier processed when it loaded the programs, by program
/// name, from the kernel's program info. `None` before kernel 5.16, whose commit
/// `aba64c7da983` added the count.
pub fn remembered(ebpf: &Ebpf) -> BTreeMap<String, Option<u32>> {
    let count = |program: &Program| {
        let info = program.info();
        info.unwrap().verified_instruction_count()
    };
    ebpf.programs()
        .map(|(name, program)| (name.to_owned(), count(program)))
        .collect()
}

/// Turns on the programs' own log at level debug, 4 in aya-log.
pub const KERNEL_LOG: [(&str, u8); 2] = [(global::LOG, 1), ("AYA_LOG_LEVEL", 4)];

/// The same count from the verifier's log, which every kernel writes.
///
/// aya returns the log only when a load fails. This function therefore makes each load
/// fail late: the process has no file descriptor left for the program that the verifier
/// has accepted. No other thread may open files meanwhile.
///
/// `globals` are names of globals with the values to load them with; see
/// [`headless_ebpf::abi::global`] and [`KERNEL_LOG`].
pub fn logged(object: &Path, globals: &[(&str, u8)]) -> BTreeMap<String, u32> {
    let mut loader = EbpfLoader::new();
    for (name, value) in globals {
        loader.override_global(name, value, true);
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
                _ => panic!("program {name} is neither XDP nor tc"),
            });
            let count = processed(&log)
                .unwrap_or_else(|| panic!("{name}: the log has no instruction count:\n{log}"));
            (name.to_owned(), count)
        })
        .collect()
}

/// Runs a load while the process may open no more files; returns the verifier's log.
fn without_descriptors(load: impl FnOnce() -> Result<(), ProgramError>) -> String {
    // Every new descriptor gets the lowest free number, which must be below the limit.
    // With the limit at the number that is free now, none can be opened.
    let lowest = File::open("/dev/null").unwrap().as_raw_fd();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, lowest.try_into().unwrap(), hard).unwrap();
    let result = load();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    match result {
        Err(ProgramError::LoadError { verifier_log, .. }) => verifier_log.to_string(),
        other => panic!("the load should fail for lack of descriptors: {other:?}"),
    }
}

/// The number `N` in the log's line `processed N insns (limit ...) ...`.
fn processed(log: &str) -> Option<u32> {
    let line = log
        .lines()
        .find_map(|line| line.strip_prefix("processed "))?;
    line.split(' ').next()?.parse().ok()
}
