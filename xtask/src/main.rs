//! `cargo xtask`: builds, tests, demonstrates and measures headless. On Debian as root,
//! every subcommand installs missing packages. Elsewhere it names them.

mod apt;
mod bench;
mod cache;
mod ci;
mod clients;
mod cluster;
mod demo;
mod deny;
mod ebpf;
mod exec;
mod figures;
mod kernels;
mod lab;
mod latency;
mod peers;
mod pins;
mod tally;
mod test;
mod tidy;
mod toolchain;
mod workspace;

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
    /// Build CoreDNS, etcd and Kubernetes programs that tests run.
    Peers(peers::Options),
    /// Run all tests, with everything that they need.
    Test(test::Options),
    /// Check the rules that no lint knows: layers and circles of modules, names, file
    /// lengths.
    Tidy,
    /// Run every gate that a change has to pass.
    Ci(ci::Options),
    /// Run a command in a pod of a node made of network namespaces.
    Lab(lab::LabArgs),
    /// Show the agent at work: pods, lookups, a change, latency.
    Demo(demo::DemoArgs),
    /// Run Kubernetes on one node made of namespaces, with headless in it.
    Cluster(cluster::ClusterArgs),
    /// Measure the agent beside CoreDNS.
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Ebpf(options) => ebpf::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Peers(options) => peers::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Test(options) => test::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Tidy => tidy::run().map(|()| ExitCode::SUCCESS),
        Task::Ci(options) => ci::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Lab(arguments) => lab::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Cluster(arguments) => cluster::run(&arguments),
        Task::Bench(bench) => bench::run(&bench),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
