//! The rule that ARCHITECTURE.md explains the name of each BPF map and of each metric.

use std::collections::BTreeSet;

/// Names that a file introduces, by its path relative to the workspace.
pub(super) fn introduced(name: &str, text: &str) -> Vec<String> {
    if name.starts_with("headless-ebpf/src/") {
        maps(text).map(str::to_owned).collect()
    } else if name.starts_with("headless-agent/src/observe") {
        metrics(text)
    } else {
        Vec::new()
    }
}

/// Names that the text does not have.
pub(super) fn findings(names: &BTreeSet<String>, architecture: &str) -> Vec<String> {
    let missing = names.iter().filter(|name| !has_word(architecture, name));
    missing
        .map(|name| format!("ARCHITECTURE.md: does not explain {name}"))
        .collect()
}

/// The lines of code: without comments, and without the unit tests at the end
/// of the file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"))
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

/// Names of metrics with the registry's prefix and without the suffixes of the format.
fn metrics(text: &str) -> Vec<String> {
    let lines: Vec<_> = code(text).collect();
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
