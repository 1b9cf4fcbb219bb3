//! Changes through the API, and the time until a pod's question is answered accordingly.

use std::time::{Duration, Instant};

use anyhow::bail;
use headless_tests::frame::Query;
use headless_tests::node::Client;
use hickory_proto::op::ResponseCode;
use serde::Serialize;

use crate::api::ApiServer;
use crate::cluster::Cluster;

/// Changes per second.
const RATE: f64 = 200.0;

/// Pause between two questions for the same name.
const PAUSE: Duration = Duration::from_micros(50);

/// The longest wait for a change to be answered.
const SEEN_MAX: Duration = Duration::from_mins(1);

/// A distribution in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Latency {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let last = samples.len().saturating_sub(1);
        let at = |index: usize| samples.get(index).map_or(f64::NAN, Duration::as_secs_f64);
        Self {
            p50: at(samples.len() / 2),
            p99: at((samples.len() * 99 / 100).min(last)),
            max: at(last),
        }
    }
}

/// Makes changes and asks for their effect.
pub(crate) struct Changes<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) api: &'a ApiServer,
    pub(crate) client: Client,
}

impl Changes<'_> {
    /// Single changes at a steady rate, each of an endpoint of another Service. Measures
    /// the time from the write to the API until the endpoint's name is answered
    /// accordingly. Also returns the rate, which is lower when answers are late.
    pub(crate) fn steady(&mut self, changes: usize) -> anyhow::Result<(Latency, f64)> {
        let start = Instant::now();
        let mut samples = Vec::new();
        for change in 0..changes {
            let due = start + Duration::from_secs_f64(change as f64 / RATE);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let service = self.small(change);
            samples.push(self.one(service, 0)?);
        }
        let rate = changes as f64 / start.elapsed().as_secs_f64();
        Ok((Latency::of(samples), rate))
    }

    /// Changes of the largest Service, one after the other.
    pub(crate) fn large(&mut self, changes: usize) -> anyhow::Result<Latency> {
        let len = self.cluster.services[0].len();
        let samples = (0..changes).map(|change| self.one(0, change * 37 % len));
        Ok(Latency::of(samples.collect::<anyhow::Result<_>>()?))
    }

    /// Changes that are written at once. Measures the time until all are answered.
    pub(crate) fn burst(&mut self, changes: usize) -> anyhow::Result<Duration> {
        let mut expected = Vec::new();
        let mut objects = Vec::new();
        for change in 0..changes {
            let number = self.small(change);
            let service = &mut self.cluster.services[number];
            let (ready, object) = service.toggle(0);
            expected.push((service.question(0), ready));
            objects.push(object);
        }
        let start = Instant::now();
        self.api.put_all(objects);
        for (question, ready) in expected {
            self.seen(&question, ready)?;
        }
        Ok(start.elapsed())
    }

    /// The number of the Service of a change: any but the largest, and far from that of the
    /// change before.
    fn small(&self, change: usize) -> usize {
        let rest = self.cluster.services.len() - 1;
        1 + change * 7919 % rest
    }

    fn one(&mut self, service: usize, endpoint: usize) -> anyhow::Result<Duration> {
        let service = &mut self.cluster.services[service];
        let (ready, object) = service.toggle(endpoint);
        let question = service.question(endpoint);
        let start = Instant::now();
        self.api.put(object);
        self.seen(&question, ready)?;
        Ok(start.elapsed())
    }

    /// Asks until the endpoint's name exists, or no longer does.
    fn seen(&self, question: &Query, ready: bool) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            if let Some(reply) = self.client.ask(question) {
                let (rcode, found) = (reply.metadata.response_code, !reply.answers.is_empty());
                match rcode {
                    ResponseCode::NoError if found && ready => return Ok(()),
                    ResponseCode::NXDomain if !ready => return Ok(()),
                    ResponseCode::NoError | ResponseCode::NXDomain => {}
                    other => bail!("{question:?} is answered {other}"),
                }
            }
            if start.elapsed() > SEEN_MAX {
                bail!("{question:?} is not answered as ready = {ready}");
            }
            std::thread::sleep(PAUSE);
        }
    }
}
