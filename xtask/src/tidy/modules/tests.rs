//! The rules on small packages that are written for one test each.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use tempfile::TempDir;

use super::*;

const LAYERS: &str = "<!-- layers of p -->\n| Module | Crates |\n| --- | --- |\n\
    | `low`, `beside` | `kube` |\n| `middle` | |\n| `middle::kernel` | `aya` |\n| `high` | |\n";

/// Findings of a package with these files below its `src`. If there is no `lib.rs`, one is made
/// from the names of the other files.
fn findings(files: &[(&str, &str)]) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let src = folder.path().join("src");
    let mut root = String::new();
    for (name, text) in files {
        let file = src.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        let flat = name.strip_suffix(".rs").filter(|name| !name.contains('/'));
        if let Some(module) = flat.or(name.strip_suffix("/mod.rs")) {
            root.push_str(&["pub mod ", module, ";\n"].concat());
        }
    }
    if !src.join("lib.rs").exists() {
        fs::write(src.join("lib.rs"), root).unwrap();
    }
    let root = |name: &str, library: Option<&str>| Root {
        library: library.map(str::to_owned),
        file: ["src/", name].concat().into(),
    };
    let mut roots = vec![root("lib.rs", Some("p"))];
    if src.join("main.rs").exists() {
        roots.push(root("main.rs", None));
    }
    let package = Package::read(folder.path(), &roots).unwrap();
    let layers = table::read(LAYERS).unwrap().remove(0);
    let findings = Checked::new(&package, Some(&layers)).findings();
    // Only the modules that a test has are of interest to it.
    let findings = findings
        .into_iter()
        .filter(|finding| !finding.contains("has no module"));
    findings.collect()
}

const LOW: (&str, &str) = ("low.rs", "pub struct Low;\npub fn low() {}\n");

#[test]
fn a_module_reads_from_the_rows_above_alone() {
    let high = ("high.rs", "use crate::low::Low;\npub struct High(Low);");
    assert_eq!(findings(&[LOW, high]), [""; 0]);
    for text in [
        "use crate::high::High;",
        "use crate::{beside::Beside, high::{self, High}};",
        "fn f() { crate::high::high() }",
        "fn f(_: &super::high::High) {}",
        "fn f() { assert!(true, \"{}\", crate::high::high()) }",
        "use super::high; fn f() { high::high() }",
        "use super::high as other; fn f() { println!(\"{}\", other::high()) }",
        "fn f() { use crate::high::High; }",
        "use crate::high::*;",
        "use p::high::High;",
        "pub use crate::high::High;",
        "#[derive(A)] #[arg(value_parser = crate::high::high)] struct S;",
        "impl crate::high::Trait for u8 {}",
    ] {
        let high = (
            "high.rs",
            "pub struct High; pub fn high() {} pub trait Trait {}",
        );
        let middle = ("middle.rs", text);
        let found = findings(&[("beside.rs", "pub struct Beside;"), middle, high]);
        let [found] = &found[..] else {
            panic!("{text}: {found:?}");
        };
        assert!(
            found.starts_with("src/middle.rs:1: middle reads from high"),
            "{found}"
        );
    }
}

#[test]
fn modules_of_one_row_do_not_read_from_each_other() {
    let beside = ("beside.rs", "\n\nuse crate::low::Low;");
    let found = findings(&[LOW, beside]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("src/beside.rs:3: beside reads from low"),
        "{}",
        found[0]
    );
}

#[test]
fn a_submodule_may_have_a_row_of_its_own() {
    let files = [
        ("middle/mod.rs", "pub mod encode;\npub mod kernel;"),
        ("middle/encode.rs", "use super::kernel::Map;"),
        ("middle/kernel.rs", "use aya::Pod; pub struct Map;"),
    ];
    let found = findings(&files);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("middle::encode reads from middle::kernel"),
        "{}",
        found[0]
    );
}

#[test]
fn foreign_crates_are_kept_to_the_rows_that_list_them() {
    for (file, text, count) in [
        ("low.rs", "use kube::Api;", 0),
        ("middle.rs", "use kube::Api;", 1),
        ("middle.rs", "fn f(_: kube::Api) {}", 1),
        ("middle.rs", "fn f() { ::kube::f() }", 1),
        ("middle.rs", "#[arg(value_parser = kube::f)] struct S;", 1),
        ("middle.rs", "// kube::Api\nuse kube_like::Api;", 0),
        (
            "middle.rs",
            "mod kube { pub struct Api; } use kube::Api;",
            0,
        ),
        ("high.rs", "use aya::Pod;", 1),
        ("high.rs", "#[cfg(test)] mod tests { use aya::Pod; }", 0),
    ] {
        assert_eq!(findings(&[(file, text)]).len(), count, "{file}: {text}");
    }
}

#[test]
fn tests_may_read_from_anything() {
    for text in [
        "#[cfg(test)]\nuse crate::high::High;",
        "#[cfg(test)]\nmod tests { use crate::high::High; }",
        "#[cfg(all(test, unix))]\nfn f() { crate::high::high() }",
        "#[test]\nfn f() { crate::high::high() }",
        "#[tokio::test]\nfn f() { crate::high::high() }",
        "struct S; impl S { #[cfg(test)] fn f() { crate::high::high() } }",
        "#[cfg(test)]\nmod tests;",
    ] {
        let high = ("high.rs", "pub struct High; pub fn high() {}");
        let tests = ("low/tests.rs", "use crate::high::High;");
        assert_eq!(
            findings(&[("low.rs", text), tests, high]),
            [""; 0],
            "{text}"
        );
    }
    for text in [
        "#[cfg(not(test))]\nuse crate::high::High;",
        "#[cfg(any(test, unix))]\nuse crate::high::High;",
    ] {
        let high = ("high.rs", "pub struct High;");
        assert_eq!(findings(&[("low.rs", text), high]).len(), 1, "{text}");
    }
}

#[test]
fn a_circle_is_shown_with_its_lines() {
    let found = findings(&[
        ("low/mod.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
        ("low/a.rs", "\nuse super::b::B;\npub struct A;"),
        ("low/b.rs", "\n\nuse super::c::C;\npub struct B;"),
        (
            "low/c.rs",
            "use super::a::A;\nuse super::d::D;\npub struct C;",
        ),
        ("low/d.rs", "use super::a::A;\npub struct D;"),
    ]);
    let expected = "these files read from each other in a circle:\n    \
                    src/low/a.rs:2\n    src/low/b.rs:3\n    src/low/c.rs:1";
    let [found] = &found[..] else {
        panic!("{found:?}");
    };
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(lines(found), lines(expected));
}

#[test]
fn a_child_may_read_from_its_parent_unless_the_parent_reads_from_it() {
    let child = (
        "low/child.rs",
        "use super::Low;\npub fn child() {}\npub(super) struct Part;",
    );
    for (parent, circles) in [
        (
            "mod child;\npub use self::child::child;\npub struct Low;",
            0,
        ),
        ("mod child;\npub use child::*;\npub struct Low;", 0),
        ("mod child;\npub struct Low;\nfn f() { child::child() }", 1),
        (
            "mod child;\nuse self::child::Part;\npub struct Low(Part);",
            1,
        ),
        (
            "mod child;\npub use self::child::child;\npub struct Low;\nfn f() { child() }",
            1,
        ),
    ] {
        let found = findings(&[("low/mod.rs", parent), child]);
        assert_eq!(found.len(), circles, "{parent}: {found:?}");
    }
}

#[test]
fn reexports_lead_to_the_file_that_defines() {
    // `first` and `second` read from each other's siblings through the parent only.
    let parent = "mod first;\nmod second;\nmod third;\n\
                  pub use first::First;\npub use second::*;\npub use third::Third as Last;";
    let files = [
        ("low/mod.rs", parent),
        (
            "low/first.rs",
            "use super::{Last, Second};\npub struct First(Second, Last);",
        ),
        (
            "low/second.rs",
            "use crate::low::Last;\npub struct Second(Last);",
        ),
        ("low/third.rs", "pub struct Third;"),
    ];
    assert_eq!(findings(&files), [""; 0]);
    let mut files = files;
    files[3].1 = "use super::First;\npub struct Third;";
    assert_eq!(findings(&files).len(), 1);
}

#[test]
fn a_program_reads_from_its_library_by_name() {
    let files = [
        LOW,
        ("high.rs", "pub struct High;"),
        ("lib.rs", "pub mod low;\npub mod high;"),
        ("main.rs", "mod middle;\nuse p::high::High;"),
        ("middle.rs", "use p::low::Low;"),
    ];
    assert_eq!(findings(&files), [""; 0]);
    let mut files = files;
    files[4].1 = "use p::high::High;";
    assert_eq!(findings(&files).len(), 1);
    files[4].1 = "use crate::Arguments;";
    files[3].1 = "mod middle;\nstruct Arguments;";
    let found = findings(&files);
    assert!(found[0].contains("middle reads from the root"), "{found:?}");
}

#[test]
fn modules_and_rows_belong_together() {
    let found = findings(&[("other.rs", "")]);
    assert_eq!(
        found,
        ["src/other.rs: no row of the layers in ARCHITECTURE.md has it"]
    );
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(
        folder.path().join("src/lib.rs"),
        "mod middle { mod kernel {} }",
    )
    .unwrap();
    let sources = Sources {
        name: "p".to_owned(),
        roots: vec![Root {
            library: None,
            file: "src/lib.rs".into(),
        }],
    };
    let found = super::check(folder.path(), &[sources], LAYERS).unwrap();
    for module in ["low", "beside", "high"] {
        let finding = format!("ARCHITECTURE.md: p has no module {module}");
        assert!(found.contains(&finding), "{found:?}");
    }
    assert!(super::check(folder.path(), &[], LAYERS).unwrap()[0].contains("is no package"));
}
