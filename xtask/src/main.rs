//! `cargo xtask`: builds, tests, demonstrates and measures headless. Every
//! subcommand installs what it lacks on Debian as root, and says what is
//! missing elsewhere.

mod apt;
mod cache;
mod ebpf;
mod exec;
mod toolchain;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the BPF programs into target/bpf.
    Ebpf(ebpf::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Ebpf(options) => ebpf::run(&options).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
