//! Brings the BPF object into the kernel.

use std::fs;
use std::path::Path;

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};
use headless_ebpf::abi::{LAYOUT, global, map};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::maps::capacity::Capacities;

/// The object that `build.rs` embedded: empty where none had been built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/headless-xdp.o"));

/// Lines of the verifier's log that an error shows: its verdict is at the end.
const VERIFIER_LINES: usize = 20;

/// Symbol with the object's version of the layouts.
const LAYOUT_SYMBOL: &str = "LAYOUT";

/// Holds `1` on kernels with `PREEMPT_RT`; absent on others.
const REALTIME: &str = "/sys/kernel/realtime";

/// Whether this processor may carry out loads in another order than the program has them:
/// x86 keeps the order of loads.
const WEAKLY_ORDERED: u8 = if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
    0
} else {
    1
};

/// Global with which aya-log filters by level.
const LOG_LEVEL_GLOBAL: &str = aya_log::LEVEL;

/// The verdicts that the programs log, through aya-log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelLog {
    /// Nothing, at no cost: the verifier removes the code.
    #[default]
    Off,
    /// Answers.
    Info,
    /// Answers and passes.
    Debug,
}

/// Why the object was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The agent was built without an object.
    #[error(
        "this agent was built without its BPF object: run `cargo xtask ebpf`, then build again"
    )]
    Stub,
    /// Not an ELF object, or without the symbol.
    #[error("the BPF object cannot be read: {0}")]
    Object(String),
    /// Another version of the layouts.
    #[error(
        "the maps of the BPF object have layout {object:016x}, the agent's have {LAYOUT:016x}: \
         both must be built from the same source"
    )]
    Layout {
        /// The version of the object's layouts.
        object: u64,
    },
    /// The verifier has refused a program.
    #[error("the kernel's verifier refuses program {program}; the end of its log:\n{log}\n")]
    Verifier {
        /// Name of the program.
        program: String,
        /// The end of the log.
        log: String,
        /// The error that `BPF_PROG_LOAD` returned.
        source: std::io::Error,
    },
    /// Another error while loading.
    #[error("cannot load the BPF object")]
    Load(#[from] EbpfError),
    /// Another error while loading a program.
    #[error("cannot load program {program}")]
    Program {
        /// Name of the program.
        program: String,
        /// The cause.
        source: ProgramError,
    },
}

/// Loads the embedded object: makes its maps with these capacities, and lets the kernel
/// verify all its programs. Attaches no program.
pub fn load(capacities: &Capacities, log: KernelLog) -> Result<Ebpf, LoadError> {
    load_object(OBJECT, capacities, log)
}

/// Does the same as [`load`] with any object.
pub fn load_object(
    object: &[u8],
    capacities: &Capacities,
    log: KernelLog,
) -> Result<Ebpf, LoadError> {
    if object.is_empty() {
        return Err(LoadError::Stub);
    }
    match layout_of(object).map_err(LoadError::Object)? {
        LAYOUT => {}
        object => return Err(LoadError::Layout { object }),
    }
    let on = u8::from(log != KernelLog::Off);
    let preemptible = u8::from(is_realtime(Path::new(REALTIME)));
    let level = match log {
        KernelLog::Off => 0,
        KernelLog::Info => aya_log::Level::Info as u8,
        KernelLog::Debug => aya_log::Level::Debug as u8,
    };
    let mut loader = EbpfLoader::new();
    loader
        .override_global(global::LOG, &on, true)
        .override_global(global::PREEMPTIBLE, &preemptible, true)
        .override_global(global::WEAKLY_ORDERED, &WEAKLY_ORDERED, true)
        .override_global(LOG_LEVEL_GLOBAL, &level, false);
    for (map, entries) in [
        (map::TABLE_SLOTS, capacities.table_slots),
        (map::TABLE_BUCKETS, capacities.table_buckets()),
        (map::NAMES_SHORT, capacities.names_short),
        (map::NAMES_MEDIUM, capacities.names_medium),
        (map::NAMES_LONG, capacities.names_long),
        (map::CHUNKS, capacities.chunks),
        (map::ENDPOINTS, capacities.endpoint_buckets),
        (map::REVERSE, capacities.reverse_buckets),
    ] {
        // The kernel has no maps without entries.
        loader.map_max_entries(map, entries.max(1));
    }
    let mut ebpf = loader.load(object)?;
    for (name, program) in ebpf.programs_mut() {
        load_program(name, program)?;
    }
    Ok(ebpf)
}

/// Whether the kernel is one with `PREEMPT_RT`, as the file at `path` says.
fn is_realtime(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

fn load_program(name: &str, program: &mut Program) -> Result<(), LoadError> {
    let loaded = match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => {
            return Err(LoadError::Object(format!(
                "program {name} is of no known kind"
            )));
        }
    };
    loaded.map_err(|error| match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => LoadError::Verifier {
            program: name.into(),
            log: tail(&verifier_log.to_string()),
            source: io_error,
        },
        source => LoadError::Program {
            program: name.into(),
            source,
        },
    })
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(VERIFIER_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// The version of the layouts that an object was built with.
fn layout_of(bytes: &[u8]) -> Result<u64, String> {
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok(LAYOUT_SYMBOL))
        .ok_or_else(|| format!("it has no symbol {LAYOUT_SYMBOL}"))?;
    let section = symbol
        .section_index()
        .and_then(|index| file.section_by_index(index).ok())
        .ok_or_else(|| format!("its symbol {LAYOUT_SYMBOL} is in no section"))?;
    let data = section.data().map_err(|error| error.to_string())?;
    let offset = usize::try_from(symbol.address()).unwrap_or(usize::MAX);
    let value = data
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(|| format!("its symbol {LAYOUT_SYMBOL} is outside its section"))?;
    Ok(u64::from_ne_bytes(*value))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_kernel_is_realtime_where_its_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("realtime");
        assert!(!is_realtime(&path));
        fs::write(&path, "0\n").unwrap();
        assert!(!is_realtime(&path));
        fs::write(&path, "1\n").unwrap();
        assert!(is_realtime(&path));
    }

    #[test]
    fn a_stub_says_how_to_get_an_object() {
        let error = load_object(&[], &Capacities::default(), KernelLog::Off).unwrap_err();
        assert!(error.to_string().contains("cargo xtask ebpf"), "{error}");
    }

    #[test]
    fn what_is_no_object_is_named_so() {
        let error =
            load_object(b"not an object", &Capacities::default(), KernelLog::Off).unwrap_err();
        assert!(matches!(error, LoadError::Object(_)), "{error}");
    }

    #[test]
    fn a_log_is_cut_to_its_end() {
        let lines: Vec<String> = (0..100).map(|line| format!("line {line}\n")).collect();
        let log = lines.join("\n");
        let tail = tail(&log);
        assert_eq!(tail.lines().count(), VERIFIER_LINES);
        assert_eq!(tail.lines().last(), Some("line 99"));
    }
}
