//! Measures the agent and CoreDNS, one after the other, on the same cluster: memory, time to
//! sync and freshness. `cargo xtask bench scale` runs this program.
//!
//! Or measures the agent alone, with each of its endpoint scopes.
//!
//! Arguments: a plan in JSON, and the file for the figures.
#![expect(
    clippy::cast_precision_loss,
    reason = "figures for people, far below 2^52"
)]

mod answers;
mod api;
mod changes;
mod cluster;
mod delivery;
mod histogram;
mod peers;
mod plan;
mod process;
mod report;
mod scopes;
mod site;

use std::path::PathBuf;

use anyhow::Context as _;

use self::api::ApiServer;
use self::cluster::Cluster;
use self::plan::Plan;
use self::report::{Machine, Objects, Report};
use self::site::Site;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("arguments: PLAN FILE");
    let plan: Plan = serde_json::from_str(&next()?).context("cannot read the plan")?;
    let file = PathBuf::from(next()?);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let mut cluster = Cluster::new(&plan)?;
    let api = ApiServer::new();
    cluster.create(&api);
    if plan.headless_every > 1 {
        return scopes::measure(&mut cluster, &api, &plan, &file);
    }
    let objects = Objects {
        services: cluster.services.len(),
        endpoints: cluster.endpoints(),
        largest: cluster.services[0].len(),
    };
    eprintln!("{objects}");

    let mut node = Site::new(&api)?;
    let delivery = node.run(delivery::measure)?;
    eprintln!("the agent");
    let agent = peers::agent(&mut node, &mut cluster, &api, &plan)?;
    eprintln!("CoreDNS");
    let mut node = Site::new(&api)?;
    let coredns = peers::coredns(&mut node, &mut cluster, &api, &plan)?;
    drop(guard);

    let report = Report {
        machine: Machine::read()?,
        objects,
        plan,
        delivery,
        agent,
        coredns,
    };
    report.write(&file)?;
    print!("{report}");
    runtime.shutdown_background();
    Ok(())
}
