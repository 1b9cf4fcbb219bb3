//! The programs' cost to the pods' other traffic: TCP out of and into a pod, and small UDP
//! packets out of a pod that are not DNS.
//!
//! The sender runs on one CPU, the receiver on another. Both ends of a veth work in the
//! sender's thread, so its processor time (`RUSAGE_THREAD`) includes their cost. Other work
//! on the machine changes this time little.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::extent::Extent;
use super::flow::{self, Cpus, Flow};
use super::site::Site;
use crate::figures::{median, ratio};
use crate::lab::network::{self, GATEWAY, Netns};

/// Length of the flow before each measured one.
const WARM_UP: Duration = Duration::from_millis(200);

/// The longest wait for `--hook auto` to take XDP off.
const LIFT_TIMEOUT: Duration = Duration::from_secs(4);

/// The hooks that are compared. `none` is an interface without a program.
const HOOKS: [&str; 4] = ["none", "xdp", "tc", "auto"];
const AUTO: usize = 3;

/// The kinds of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Egress,
    Ingress,
    Small,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Egress, Self::Ingress, Self::Small];

    fn label(self) -> &'static str {
        match self {
            Self::Egress => "TCP out of the pod",
            Self::Ingress => "TCP into the pod",
            Self::Small => "small UDP packets out",
        }
    }

    /// The unit of a rate, and its size in [`Flow::amount`] per second.
    fn unit(self) -> (&'static str, f64) {
        match self {
            Self::Egress | Self::Ingress => ("Gbit/s", 8.0 / 1e9),
            Self::Small => ("million/s", 1e-6),
        }
    }

    /// The unit of a cost, and its size.
    fn cost_unit(self) -> (&'static str, f64) {
        match self {
            Self::Egress | Self::Ingress => ("ns/KiB", 1e9 * 1024.0),
            Self::Small => ("ns/packet", 1e9),
        }
    }
}

/// One kind of traffic and one hook.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) traffic: &'static str,
    pub(crate) hook: &'static str,
    /// Median of the rounds.
    pub(crate) rate: f64,
    pub(crate) rate_unit: &'static str,
    /// Median of the rounds' ratios to an interface without a program.
    pub(crate) rate_ratio: f64,
    /// Median processor time for a byte (both threads) or for a packet (the sender).
    pub(crate) cost: f64,
    pub(crate) cost_unit: &'static str,
    pub(crate) cost_ratio: f64,
    /// The least and the greatest ratio of a round.
    pub(crate) rate_ratio_range: [f64; 2],
    /// Number of rounds at whose end XDP was on the interface.
    pub(crate) rounds_with_xdp: u32,
}

#[derive(Debug, Default)]
struct Rounds {
    rates: Vec<f64>,
    costs: Vec<f64>,
    with_xdp: u32,
}

/// A pod's end of the traffic.
struct End {
    netns: Arc<Netns>,
    address: Ipv4Addr,
    interface: String,
}

/// Measures each kind in alternating rounds.
///
/// # Errors
/// When a connection fails or makes no progress.
pub(crate) async fn measure(site: &Site, extent: Extent, cpus: Cpus) -> Result<Vec<Row>> {
    let pods = [&site.bare, &site.xdp.pod, &site.tc.pod, &site.auto.pod];
    let ends = pods.map(|pod| End {
        netns: Arc::clone(pod.netns()),
        address: pod.address(),
        interface: pod.host_end(),
    });
    let node = Arc::clone(&site.node);
    tokio::task::spawn_blocking(move || {
        let mut rows = Vec::new();
        for kind in Kind::ALL {
            let rounds = alternate(kind, &node, &ends, extent, cpus)
                .with_context(|| format!("cannot measure {}", kind.label()))?;
            for (hook, of) in HOOKS.into_iter().zip(&rounds) {
                rows.push(row(kind, hook, of, &rounds[0]));
            }
        }
        Ok(rows)
    })
    .await?
}

fn alternate(
    kind: Kind,
    node: &Netns,
    ends: &[End; HOOKS.len()],
    extent: Extent,
    cpus: Cpus,
) -> Result<[Rounds; HOOKS.len()]> {
    let mut all: [Rounds; HOOKS.len()] = Default::default();
    for number in 0..extent.flow_rounds as usize {
        for step in 0..HOOKS.len() {
            let hook = (number + step) % HOOKS.len();
            let end = &ends[hook];
            let flow = |duration| flow(kind, node, end, cpus, duration);
            flow(WARM_UP)?;
            let has_xdp = || anyhow::Ok(network::xdp_program_id(node, &end.interface)?.is_some());
            // The figure is for a pod that sends much, not for the first second of that.
            if hook == AUTO && kind != Kind::Ingress {
                let deadline = Instant::now() + LIFT_TIMEOUT;
                while has_xdp()? && Instant::now() < deadline {
                    flow(WARM_UP)?;
                }
            }
            let Flow {
                amount,
                seconds,
                cpu,
            } = flow(extent.flow)?;
            ensure!(
                amount > 0.0,
                "nothing came through with the hook {}",
                HOOKS[hook]
            );
            let rounds = &mut all[hook];
            rounds.rates.push(amount / seconds);
            rounds.costs.push(cpu / amount);
            rounds.with_xdp += u32::from(has_xdp()?);
        }
    }
    Ok(all)
}

fn flow(kind: Kind, node: &Netns, end: &End, cpus: Cpus, duration: Duration) -> Result<Flow> {
    match kind {
        Kind::Egress => flow::tcp((&end.netns, node), GATEWAY, cpus, duration),
        Kind::Ingress => flow::tcp((node, &end.netns), end.address, cpus, duration),
        Kind::Small => flow::small((&end.netns, node), GATEWAY, cpus, duration),
    }
}

fn row(kind: Kind, hook: &'static str, of: &Rounds, none: &Rounds) -> Row {
    let (rate_unit, rate_scale) = kind.unit();
    let (cost_unit, cost_scale) = kind.cost_unit();
    let ratios = || of.rates.iter().zip(&none.rates).map(|(of, none)| of / none);
    Row {
        traffic: kind.label(),
        hook,
        rate: median(of.rates.iter().copied()) * rate_scale,
        rate_unit,
        rate_ratio: ratio(&of.rates, &none.rates),
        cost: median(of.costs.iter().copied()) * cost_scale,
        cost_unit,
        cost_ratio: ratio(&of.costs, &none.costs),
        rate_ratio_range: [
            ratios().fold(f64::INFINITY, f64::min),
            ratios().fold(0.0, f64::max),
        ],
        rounds_with_xdp: of.with_xdp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_units_and_ratios() {
        let rounds = |rates: &[f64]| Rounds {
            rates: rates.to_vec(),
            costs: rates.iter().map(|rate| 1.0 / rate).collect(),
            with_xdp: 2,
        };
        let (none, xdp) = (rounds(&[1e9, 2e9, 4e9]), rounds(&[1e9, 1e9, 3e9]));
        let row = row(Kind::Egress, "xdp", &xdp, &none);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(row.rate, 8.0) && row.rate_unit == "Gbit/s");
        assert!(close(row.rate_ratio, 0.75));
        assert!(close(row.rate_ratio_range[0], 0.5) && close(row.rate_ratio_range[1], 1.0));
        assert!(close(row.cost, 1024.0) && row.cost_unit == "ns/KiB");
        assert_eq!(row.rounds_with_xdp, 2);
    }
}
