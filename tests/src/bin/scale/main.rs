//! The agent beside CoreDNS on a large cluster: `cargo xtask bench scale`.
//!
//! Arguments: Services, endpoints, changes, and the file for the figures.
#![expect(
    clippy::cast_precision_loss,
    reason = "figures for people, far below 2^52"
)]

mod api;
mod changes;
mod cluster;
mod delivery;
mod histogram;
mod peers;
mod process;
mod report;
mod site;

use std::path::PathBuf;

use anyhow::Context as _;

use self::api::ApiServer;
use self::cluster::Cluster;
use self::report::{Machine, Objects, Report};
use self::site::Site;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("SERVICES ENDPOINTS CHANGES FILE");
    let (services, endpoints) = (next()?.parse()?, next()?.parse()?);
    let changes: usize = next()?.parse()?;
    let file = PathBuf::from(next()?);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let mut cluster = Cluster::new(services, endpoints)?;
    let api = ApiServer::new();
    cluster.create(&api);
    let objects = Objects {
        services: cluster.services.len(),
        endpoints: cluster.endpoints(),
        largest: cluster.services[0].len(),
    };
    eprintln!("{objects}");

    let mut node = Site::new(&api)?;
    let delivery = node.run(delivery::measure)?;
    eprintln!("the agent");
    let agent = peers::agent(&mut node, &mut cluster, &api, changes)?;
    eprintln!("CoreDNS");
    let mut node = Site::new(&api)?;
    let coredns = peers::coredns(&mut node, &mut cluster, &api, changes)?;
    drop(guard);

    let report = Report {
        machine: Machine::read()?,
        objects,
        changes,
        delivery,
        agent,
        coredns,
    };
    report.write(&file)?;
    print!("{report}");
    runtime.shutdown_background();
    Ok(())
}
