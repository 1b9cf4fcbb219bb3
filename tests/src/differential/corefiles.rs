//! Corefiles of the shape that distributions install (`tests/corefiles`): as a cluster has them,
//! and changed so that CoreDNS runs outside of a cluster.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use headless_agent::corefile::{Files, Folder, Rules, read};

/// The path of CoreDNS's folder in a cluster.
const FOLDER: &str = "/etc/coredns";

/// Plugins that a test's CoreDNS does without, because they need ports or addresses of a
/// cluster. None of them changes answers for names of the cluster.
const LEFT_OUT: [&str; 6] = ["health", "ready", "prometheus", "forward", "loop", "log"];

/// The folder of a distribution.
pub fn folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("corefiles").join(name)
}

/// The files of a folder by name.
fn files(folder: &Path) -> Folder {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let files = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let text = fs::read_to_string(entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, text))
    });
    Folder::Known(files.collect())
}

/// What the agent reads in a distribution's Corefile.
pub fn rules(name: &str) -> Rules {
    let folder = folder(name);
    let text = fs::read_to_string(folder.join("Corefile")).expect("a Corefile");
    let files = Files::new([
        (FOLDER.to_owned(), files(&folder)),
        (format!("{FOLDER}/custom"), files(&folder.join("custom"))),
    ]);
    read(&text, &files, None)
}

/// The Corefile with which CoreDNS runs in a test, with the API server `api` and
/// the resolver `upstream` for other names.
///
/// The cache stores nothing, because a cluster changes during a test; it still changes TTLs.
pub fn adapted(name: &str, api: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder(name);
    let text = fs::read_to_string(folder.join("Corefile")).expect("a Corefile");
    let text = text.replace(":5353 {", ":53 {");
    let text = text.replace(FOLDER, &folder.to_string_lossy());
    let text = text.replace(
        "import custom",
        &format!("import {}/custom", folder.display()),
    );
    let mut adapted = Vec::new();
    let mut depth = 0_usize;
    // The plugin that is being left out.
    let mut left_out = None;
    for line in text.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let (opens, closes) = (line.ends_with('{'), name == "}");
        if depth == 1 && left_out.is_none() && LEFT_OUT.contains(&name) {
            left_out = Some(name);
        }
        depth += usize::from(opens);
        depth -= usize::from(closes);
        if left_out.is_none() {
            adapted.push(match (name, opens) {
                ("kubernetes", true) => format!("{line}\n endpoint http://{api}"),
                ("cache", true) => format!("{line}\n disable success\n disable denial"),
                ("cache", false) => format!("{line} {{\n disable success\n disable denial\n }}"),
                _ => line.to_owned(),
            });
        }
        if depth == 1
            && let Some(plugin) = left_out.take()
            && plugin == "forward"
        {
            adapted.push(format!(
                " forward . {upstream} {{\n max_concurrent 1000\n }}"
            ));
        }
    }
    adapted.push(String::new());
    adapted.join("\n")
}
