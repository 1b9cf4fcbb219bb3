//! Brings the BPF object into the kernel.

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};
use headless_ebpf::abi::{ABI_VERSION, REVERSE_SLOTS};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::maps::{self, MapKind};

/// The object that `build.rs` embedded: empty where none had been built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/headless-xdp.o"));

/// Lines of the verifier's log that an error shows: its verdict is at the end.
const VERIFIER_LINES: usize = 20;

/// Symbol with the object's version of the layouts.
const ABI_SYMBOL: &str = "ABI";

/// Global that turns the programs' log on.
const LOG_GLOBAL: &str = "LOG";

/// Global with which aya-log filters by level.
const LOG_LEVEL_GLOBAL: &str = aya_log::LEVEL;

/// What the programs log, through aya-log.
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

/// Room of the maps that can grow, in entries.
#[derive(Clone, Copy, Debug)]
pub struct Capacities {
    /// Names of up to 40 bytes in the table.
    pub names_table: u32,
    /// Names of up to 40 bytes beyond it.
    pub names_short: u32,
    /// Names of up to 104 bytes.
    pub names_medium: u32,
    /// Names of up to 248 bytes.
    pub names_long: u32,
    /// Chunks.
    pub chunks: u32,
    /// Addresses that have reverse names.
    pub reverse: u32,
}

impl Capacities {
    /// Most entries of a map.
    pub fn of(&self, map: MapKind) -> u32 {
        match map {
            MapKind::NamesShort => self.names_short,
            MapKind::NamesMedium => self.names_medium,
            MapKind::NamesLong => self.names_long,
            MapKind::Chunks => self.chunks,
            MapKind::Servers => headless_ebpf::abi::SERVERS_MAX,
            // Of the slots, which addresses do not fill evenly.
            MapKind::Reverse => maps::buckets(self.reverse) * REVERSE_SLOTS as u32,
            MapKind::Table => self.names_table,
        }
    }
}

/// Why the object was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The agent was built without.
    #[error(
        "this agent was built without its BPF object: run `cargo xtask ebpf`, then build again"
    )]
    Stub,
    /// Not an ELF object, or without the symbol.
    #[error("the BPF object cannot be read: {0}")]
    Object(String),
    /// Another version of the layouts.
    #[error("the BPF object has ABI version {object}, this agent {ABI_VERSION}")]
    Abi {
        /// The object's.
        object: u32,
    },
    /// The verifier's word.
    #[error("the kernel's verifier refuses program {program}; the end of its log:\n{log}\n")]
    Verifier {
        /// Name of the program.
        program: String,
        /// The end of the log.
        log: String,
        /// What `BPF_PROG_LOAD` returned.
        source: std::io::Error,
    },
    /// Anything else that loading can meet.
    #[error("cannot load the BPF object")]
    Load(#[from] EbpfError),
    /// Anything else that a program can meet.
    #[error("cannot load program {program}")]
    Program {
        /// Name of the program.
        program: String,
        /// Why.
        source: ProgramError,
    },
}

/// Loads the embedded object: maps are created with these capacities, all its
/// programs are verified, none is attached.
pub fn load(capacities: &Capacities, log: KernelLog) -> Result<Ebpf, LoadError> {
    load_object(OBJECT, capacities, log)
}

/// As [`load`], for any object.
pub fn load_object(
    object: &[u8],
    capacities: &Capacities,
    log: KernelLog,
) -> Result<Ebpf, LoadError> {
    if object.is_empty() {
        return Err(LoadError::Stub);
    }
    match abi_of(object).map_err(LoadError::Object)? {
        ABI_VERSION => {}
        object => return Err(LoadError::Abi { object }),
    }
    let on = u8::from(log != KernelLog::Off);
    let level = match log {
        KernelLog::Off => 0,
        KernelLog::Info => aya_log::Level::Info as u8,
        KernelLog::Debug => aya_log::Level::Debug as u8,
    };
    let mut loader = EbpfLoader::new();
    loader
        .override_global(LOG_GLOBAL, &on, true)
        .override_global(LOG_LEVEL_GLOBAL, &level, false);
    for map in MapKind::ALL
        .into_iter()
        .filter(|map| *map != MapKind::Servers)
    {
        let entries = match map {
            MapKind::Reverse => maps::buckets(capacities.reverse),
            _ => capacities.of(map),
        };
        loader.map_max_entries(map.name(), entries);
    }
    let buckets = maps::table::buckets(capacities.names_table);
    loader.map_max_entries(headless_ebpf::abi::map::TABLE_BUCKETS, buckets);
    let mut ebpf = loader.load(object)?;
    for (name, program) in ebpf.programs_mut() {
        load_program(name, program)?;
    }
    Ok(ebpf)
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
fn abi_of(bytes: &[u8]) -> Result<u32, String> {
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok(ABI_SYMBOL))
        .ok_or_else(|| format!("it has no symbol {ABI_SYMBOL}"))?;
    let section = symbol
        .section_index()
        .and_then(|index| file.section_by_index(index).ok())
        .ok_or_else(|| format!("its symbol {ABI_SYMBOL} is in no section"))?;
    let data = section.data().map_err(|error| error.to_string())?;
    let offset = usize::try_from(symbol.address()).unwrap_or(usize::MAX);
    let value = data
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(|| format!("its symbol {ABI_SYMBOL} is outside its section"))?;
    Ok(u32::from_ne_bytes(*value))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const CAPACITIES: Capacities = Capacities {
        names_table: 1,
        names_short: 1,
        names_medium: 1,
        names_long: 1,
        chunks: 1,
        reverse: 1,
    };

    #[test]
    fn a_stub_says_how_to_get_an_object() {
        let error = load_object(&[], &CAPACITIES, KernelLog::Off).unwrap_err();
        assert!(error.to_string().contains("cargo xtask ebpf"), "{error}");
    }

    #[test]
    fn what_is_no_object_is_named_so() {
        let error = load_object(b"not an object", &CAPACITIES, KernelLog::Off).unwrap_err();
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
