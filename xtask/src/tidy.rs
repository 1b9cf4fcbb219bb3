//! `cargo xtask tidy`: rules of the code base that no lint knows.

use crate::exec;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A longer file has more than one subject.
const LINES_MAX: usize = 520;

/// Names that say nothing of what a module does.
const EMPTY_NAMES: [&str; 7] = [
    "common", "helper", "helpers", "manager", "misc", "util", "utils",
];

/// Folders without sources of ours.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// Where a path may be named: the layering that ARCHITECTURE.md describes.
struct Layer {
    /// First segments of the Rust paths that the rule is about.
    paths: &'static [&'static str],
    /// The folder or file the rule holds in.
    within: &'static str,
    /// Prefixes of the files in it that are exempt.
    except: &'static [&'static str],
}

const LAYERS: [Layer; 5] = [
    Layer {
        paths: &["aya", "aya_log", "aya_obj"],
        within: "headless-agent/src/",
        except: &[
            "headless-agent/src/maps/kernel",
            "headless-agent/src/datapath/",
        ],
    },
    Layer {
        paths: &["kube"],
        within: "headless-agent/src/",
        except: &["headless-agent/src/run.rs", "headless-agent/src/watch/"],
    },
    Layer {
        paths: &[
            "alloc",
            "aya_ebpf",
            "aya_log_ebpf",
            "crate::kernel",
            "crate::lookup",
            "crate::respond",
            "std",
        ],
        within: "headless-ebpf/src/wire",
        except: &[],
    },
    Layer {
        paths: &["aya_ebpf", "aya_log_ebpf", "crate::kernel"],
        within: "headless-ebpf/src/",
        except: &[
            "headless-ebpf/src/kernel",
            "headless-ebpf/src/main.rs",
            "headless-ebpf/src/reflect.rs",
        ],
    },
    // It renders records as the map writer does, but from the index.
    Layer {
        paths: &["crate::maps::kernel", "crate::datapath"],
        within: "headless-agent/src/responder",
        except: &[],
    },
];

/// Checks the workspace; every finding is printed.
pub(crate) fn run() -> Result<()> {
    let root = exec::workspace();
    let mut files = Vec::new();
    sources(root, &mut files)?;
    let mut findings = Vec::new();
    let mut documented = BTreeSet::new();
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let relative = file.strip_prefix(root).unwrap_or(file);
        let name = relative.to_string_lossy();
        findings.extend(check(&name, &text));
        if name.starts_with("headless-ebpf/src/") {
            documented.extend(maps(&text).map(str::to_owned));
        }
        if name.starts_with("headless-agent/src/observe") {
            documented.extend(metrics(&text));
        }
    }
    if let Ok(architecture) = fs::read_to_string(root.join("ARCHITECTURE.md")) {
        for name in documented
            .iter()
            .filter(|name| !has_word(&architecture, name))
        {
            findings.push(format!("ARCHITECTURE.md: does not explain {name}"));
        }
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {} files", findings.len(), files.len());
    }
    println!(
        "{} files, {} names documented",
        files.len(),
        documented.len()
    );
    Ok(())
}

/// The Rust files below a folder, hidden and build folders left out.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || SKIPPED.contains(&name.as_ref()) {
            continue;
        }
        let path = entry.path();
        if entry.file_type().with_context(context)?.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What is wrong with one file, by its path relative to the workspace.
fn check(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{name}: {lines} lines, over {LINES_MAX}: split it"));
    }
    let path = Path::new(name);
    for part in path.with_extension("").components() {
        let part = part.as_os_str().to_string_lossy();
        if EMPTY_NAMES.contains(&part.as_ref()) {
            findings.push(format!("{name}: \"{part}\" says nothing of its subject"));
        }
    }
    for (index, line) in code(text) {
        let position = format!("{name}:{}", index + 1);
        if let Some(module) = inline_module(line)
            && EMPTY_NAMES.contains(&module)
        {
            findings.push(format!(
                "{position}: \"{module}\" says nothing of its subject"
            ));
        }
        for layer in &LAYERS {
            let exempt = layer.except.iter().any(|prefix| name.starts_with(prefix));
            if exempt || !name.starts_with(layer.within) {
                continue;
            }
            for path in layer.paths.iter().filter(|path| names(line, path)) {
                findings.push(format!("{position}: {path} is out of place in this layer"));
            }
        }
    }
    findings
}

/// Numbered lines without those that are comments, and without the unit tests
/// at a file's end, which may name anything.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// `x` in `mod x {` and `pub mod x {`; a module of its own file is found by
/// the file's name.
fn inline_module(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.find(|word| *word == "mod")?;
    let name = words.next()?;
    (words.next() == Some("{")).then_some(name)
}

/// Whether the line names the path as `path::..` or `use path;`.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + path.len()..]);
        let starts = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        let imported = before.trim_end().ends_with("use");
        starts && (after.starts_with("::") || (imported && after.starts_with([';', ' '])))
    })
}

/// Names of BPF maps: the static after `#[map]`, or `name = ".."` in it.
fn maps(text: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if !line.starts_with("#[map") {
            continue;
        }
        let given = line.split('"').nth(1);
        let declared = lines
            .iter()
            .skip(index + 1)
            .find_map(|line| line.split_once("static ")?.1.split(':').next());
        found.extend(given.or(declared));
    }
    found.into_iter()
}

/// Calls whose first argument names a metric, without the registry's prefix.
const NAMING: [&str; 5] = [
    ".register(",
    ".register_with_unit(",
    ".counters(",
    ".gauges(",
    ".gauge(",
];

/// Suffixes that the exposition format adds to a name.
const SUFFIXES: [&str; 4] = ["_total", "_seconds", "_bytes", "_info"];

/// Names of metrics, as they are exposed but for the suffixes.
fn metrics(text: &str) -> Vec<String> {
    let lines: Vec<_> = code(text).map(|(_, line)| line).collect();
    let text = lines.join("\n");
    let mut found = Vec::new();
    for call in NAMING {
        for (at, _) in text.match_indices(call) {
            let arguments = text[at + call.len()..].trim_start();
            let name = arguments
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            found.extend(name.map(|name| format!("headless_{name}")));
        }
    }
    found
}

/// Whether the text has the name, not as a part of a longer one.
fn has_word(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let after = &text[at + name.len()..];
        let ends = |after: &str| !after.starts_with(part);
        let suffixed = |suffix: &&str| after.strip_prefix(*suffix).is_some_and(ends);
        !text[..at].ends_with(part) && (ends(after) || SUFFIXES.iter().any(suffixed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_hold() {
        let agent = "headless-agent/src/";
        let found = |file: &str, line: &str| check(file, line).len();
        for (file, line, findings) in [
            ("records/index.rs", "use aya::maps::HashMap;", 1),
            ("records/index.rs", "let x: aya::Pod = y;", 1),
            ("records/index.rs", "// aya::maps are elsewhere", 0),
            ("records/index.rs", "use crate::datapath::aya::x;", 0),
            ("maps/kernel.rs", "use aya::maps::HashMap;", 0),
            ("maps/kernel/batch.rs", "use aya::maps::HashMap;", 0),
            ("datapath/object.rs", "use aya::Ebpf;", 0),
            ("records/index.rs", "use kube::Api;", 1),
            ("watch/mod.rs", "use kube::Api;", 0),
            ("records/index.rs", "use kube_like::Api;", 0),
            ("responder/server.rs", "use crate::maps::kernel::Maps;", 1),
            ("responder/server.rs", "use crate::maps::encode;", 0),
        ] {
            let file = [agent, file].concat();
            assert_eq!(found(&file, line), findings, "{file}: {line}");
        }
        assert_eq!(found("headless-ebpf/src/wire/udp.rs", "use core::mem;"), 0);
        assert_eq!(found("headless-ebpf/src/wire/udp.rs", "use std::mem;"), 1);
        assert_eq!(
            found("headless-ebpf/src/respond.rs", "use aya_ebpf as a;"),
            1
        );
        assert_eq!(
            found("headless-ebpf/src/kernel/maps.rs", "use aya_ebpf::x;"),
            0
        );
    }

    #[test]
    fn unit_tests_may_name_anything() {
        let text = "use core::mem;\n#[cfg(test)]\nmod tests {\n    use std::vec;\n}\n";
        assert_eq!(check("headless-ebpf/src/wire/udp.rs", text).len(), 0);
    }

    #[test]
    fn empty_names_and_long_files_are_found() {
        assert_eq!(check("xtask/src/utils.rs", "").len(), 1);
        assert_eq!(check("xtask/src/helpers/mod.rs", "").len(), 1);
        assert_eq!(check("xtask/src/a.rs", "pub mod common {").len(), 1);
        assert_eq!(check("xtask/src/a.rs", "mod names {").len(), 0);
        assert_eq!(check("xtask/src/a.rs", &"\n".repeat(LINES_MAX)).len(), 0);
        assert_eq!(
            check("xtask/src/a.rs", &"\n".repeat(LINES_MAX + 1)).len(),
            1
        );
    }

    #[test]
    fn map_names_are_collected() {
        let text = "#[map]\npub static NAMES: HashMap<K, V> = x;\n#[map(name = \"OTHER\")]\n\
                    static SOME: Array<u64> = x;\nstatic NOT: u32 = 0;\n";
        assert_eq!(maps(text).collect::<Vec<_>>(), ["NAMES", "OTHER"]);
    }

    #[test]
    fn metric_names_are_collected() {
        let text = "registry.register(\n    \"build\",\n    \"Help.\",\n);\n\
                    page.gauges(\"map_entries\", \"Help.\");\n\
                    // page.gauges(\"old\")\nself.gauges(name, help);\n";
        assert_eq!(metrics(text), ["headless_build", "headless_map_entries"]);
    }

    #[test]
    fn names_are_documented_as_whole_words() {
        assert!(has_word(
            "`headless_answers_total` counts",
            "headless_answers"
        ));
        assert!(has_word("headless_age_seconds", "headless_age"));
        assert!(has_word("(NAMES)", "NAMES"));
        assert!(!has_word("headless_records_old", "headless_records"));
        assert!(!has_word("ENDPOINT_NAMES", "NAMES"));
    }
}
