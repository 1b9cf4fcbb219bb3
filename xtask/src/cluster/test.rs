//! `cargo xtask cluster test`: headless beside `CoreDNS`, seen from pods.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::ask::Results;
use super::config::CLUSTER_DNS;
use super::deploy::Deployment;
use super::options::AgentArgs;
use super::report::Report;
use super::session::Session;
use super::traces::{BpfObjects, Differences, Traces};
use super::workload::{self, Workload};
use crate::exec;
use crate::figures::number;

/// Queries whose round trips are measured.
const MEASURED: u64 = 20_000;

/// Queries of which the kernel must answer each.
const COUNTED: u64 = 1_000;

/// Time between queries while the agent is restarted: 500 queries a second.
const PAUSE: Duration = Duration::from_millis(2);

/// How often the agent is killed.
const KILLS: usize = 2;

/// Deploys headless, checks it, and removes it.
///
/// # Errors
/// When a part cannot be set up, or a check has failed.
pub(super) fn run(session: &Session, agent: &AgentArgs) -> Result<()> {
    let mut report = Report::default();
    exec::progress(
        "cluster",
        "starting the pods that ask and that are asked for",
    );
    Deployment::clean(session)?;
    let workload = Workload::new(session)?;
    workload.wait_for_dns()?;
    let before = Traces::read(session)?;
    let coredns = measure(&workload).context("CoreDNS alone")?;
    exec::progress("cluster", "building and deploying headless");
    let deployment = Deployment::new(session, agent)?;
    let objects = BpfObjects::of_process(deployment.process()?)?;

    seed(&workload, &mut report)?;
    compare(&workload, &mut report, "with headless");
    kernel(&workload, &deployment, &mut report)?;
    latency(&coredns, &measure(&workload).context("with headless")?);
    scaling(&workload, &mut report)?;
    readiness(&workload, &mut report)?;
    restarts(&workload, &deployment, &mut report)?;

    let last = BpfObjects::of_process(deployment.process()?)?;
    uninstall(
        session,
        &workload,
        deployment,
        &mut report,
        &before,
        &[objects, last],
    )?;
    workload.delete()?;
    report.end()
}

/// Questions one at a time, from a pod.
fn measure(workload: &Workload<'_>) -> Result<Results> {
    workload.ask(MEASURED, Duration::ZERO, &[])?.finish()
}

/// The scenario that headless was made for.
fn seed(workload: &Workload<'_>, report: &mut Report) -> Result<()> {
    Report::part("A headless Service, from a pod");
    let expected = workload.endpoints()?;
    // busybox asks the whole search path, and fails for the names that do not exist.
    let output = workload.shell("nslookup nginx-headless || true");
    let found = output.and_then(|output| workload::nslookup_addresses(&output));
    report.equal("nslookup nginx-headless", &expected, found);
    for number in 0..workload::REPLICAS {
        let pod = format!("web-{number}");
        let page = workload.shell(&format!("wget -qO- {pod}.nginx-headless"));
        let what = format!("wget -qO- {pod}.nginx-headless");
        report.equal(&what, &pod, page.map(|page| page.trim().to_owned()));
    }
    for address in expected.0 {
        let coredns = workload.reverse_names(address, workload.coredns())?;
        let found = workload.reverse_names(address, CLUSTER_DNS);
        report.equal(&format!("nslookup {address}, as CoreDNS"), &coredns, found);
    }
    Ok(())
}

/// Every question's answer is compared with `CoreDNS`'s own.
fn compare(workload: &Workload<'_>, report: &mut Report, when: &str) {
    let differences = || {
        let questions = workload.questions()?;
        let expected = workload.coredns_answers(&questions)?;
        let found = workload.seen_by_pod(&questions)?;
        let pairs = expected.iter().zip(&found);
        let different = pairs.filter(|(expected, found)| expected != found);
        let lines: Vec<_> = different
            .map(|(expected, found)| {
                format!("\n        CoreDNS  {expected}\n        the pod  {found}")
            })
            .collect();
        anyhow::Ok(format!(
            "{} of {}{}",
            lines.len(),
            questions.len(),
            lines.concat()
        ))
    };
    let accepted = |found: &String| found.starts_with("0 of") && !found.starts_with("0 of 0");
    let what = format!("answers that are not CoreDNS's {when}");
    report.holds(&what, "0", differences(), accepted);
}

/// The kernel answers, not the agent or `CoreDNS`.
fn kernel(workload: &Workload<'_>, deployment: &Deployment<'_>, report: &mut Report) -> Result<()> {
    Report::part("Who answers");
    let none = "none".to_owned();
    report.equal(
        "problems in `headless-agent status`",
        &none,
        deployment.problems(),
    );
    let before = deployment.verdicts()?;
    let results = workload.ask(COUNTED, Duration::ZERO, &[])?.finish();
    let verdicts = deployment.verdicts()?.since(&before);
    let what = format!("lost of {COUNTED} queries for names in the zone");
    report.equal(&what, &0, results.map(|results| results.lost));
    report.equal("answered by the kernel", &COUNTED, Ok(verdicts.answered()));
    let before = deployment.verdicts()?;
    let external = workload.seen_by_pod(&workload::external())?;
    let verdicts = deployment.verdicts()?.since(&before);
    let what = "a name outside of the zone goes to CoreDNS";
    report.equal(what, &1, Ok(verdicts.passed_for("outside_zone")));
    let external = external.concat();
    let what = "its answer";
    report.holds(what, "192.0.2.1", Ok(external), |found| {
        found.ends_with("192.0.2.1")
    });
    let before = deployment.verdicts()?;
    let questions = workload.questions()?;
    workload.seen_by_pod(&questions)?;
    let verdicts = deployment.verdicts()?.since(&before);
    Report::figure(
        &format!("{} questions of all kinds", questions.len()),
        verdicts,
    );
    Ok(())
}

fn latency(coredns: &Results, headless: &Results) {
    Report::part("Round trip from a pod, one query at a time");
    let microseconds = |nanoseconds| number(nanoseconds) / 1000.0;
    for (who, results) in [("CoreDNS", coredns), ("headless", headless)] {
        let (p50, p99) = (microseconds(results.p50), microseconds(results.p99));
        Report::figure(
            &format!("{who}, {} queries", results.asked),
            format!("p50 {p50:.1} µs, p99 {p99:.1} µs"),
        );
    }
}

fn scaling(workload: &Workload<'_>, report: &mut Report) -> Result<()> {
    Report::part("Scaling");
    for replicas in [1, 5, workload::REPLICAS] {
        workload.scale(replicas)?;
        let found = workload.wait_for_dns().map(|addresses| addresses.len());
        report.equal(
            &format!("addresses after scaling to {replicas}"),
            &replicas,
            found,
        );
        compare(workload, report, &format!("after scaling to {replicas}"));
    }
    Ok(())
}

fn readiness(workload: &Workload<'_>, report: &mut Report) -> Result<()> {
    Report::part("Readiness");
    for (ready, count) in [(false, 2), (true, 3), (false, 2), (true, 3)] {
        workload.set_ready("web-1", ready)?;
        let found = workload.wait_for_dns().map(|addresses| addresses.len());
        let state = if ready { "ready" } else { "not ready" };
        report.equal(&format!("addresses while web-1 is {state}"), &count, found);
        compare(workload, report, &format!("while web-1 is {state}"));
    }
    Ok(())
}

/// Restarts under a closed loop of queries.
fn restarts(
    workload: &Workload<'_>,
    deployment: &Deployment<'_>,
    report: &mut Report,
) -> Result<()> {
    Report::part("Restarts, while a pod asks");
    let expected = workload.coredns_answers(&Workload::in_zone())?;
    let asking = workload.ask(u64::MAX, PAUSE, &expected)?;
    let restarted = deployment.restart();
    show_load(report, "a rolling restart", asking.stop(), restarted);
    for number in 1..=KILLS {
        let asking = workload.ask(u64::MAX, PAUSE, &expected)?;
        let killed = deployment.kill();
        show_load(
            report,
            &format!("kill -9, number {number}"),
            asking.stop(),
            killed,
        );
    }
    compare(workload, report, "after the restarts");
    let before = deployment.verdicts()?;
    workload.ask(COUNTED, Duration::ZERO, &[])?.finish()?;
    let verdicts = deployment.verdicts()?.since(&before);
    report.equal(
        "answered by the kernel again",
        &COUNTED,
        Ok(verdicts.answered()),
    );
    Ok(())
}

fn show_load(report: &mut Report, what: &str, load: Result<Results>, disturbed: Result<()>) {
    let found = disturbed.and(load).map(|results| {
        let Results {
            asked,
            lost,
            wrong,
            first_wrong,
            ..
        } = results;
        let first = first_wrong
            .map(|wrong| format!(" ({wrong})"))
            .unwrap_or_default();
        format!("{lost} lost, {wrong} wrong{first} of {asked}")
    });
    let accepted = |found: &String| found.starts_with("0 lost, 0 wrong of ");
    report.holds(what, "0 lost, 0 wrong", found, accepted);
}

/// Removes headless, under load too, and looks for what is left.
fn uninstall(
    session: &Session,
    workload: &Workload<'_>,
    deployment: Deployment<'_>,
    report: &mut Report,
    before: &Traces,
    objects: &[BpfObjects],
) -> Result<()> {
    Report::part("Removal");
    // What the kernel does not list now could not be missed later.
    let held = objects
        .iter()
        .map(BpfObjects::len)
        .max()
        .unwrap_or_default();
    let loaded = objects.iter().map(BpfObjects::still_loaded).max();
    let loaded = loaded.filter(|count| *count > 0).context("none");
    report.equal("BPF programs and maps of the agent", &held, loaded);
    let expected = workload.coredns_answers(&Workload::in_zone())?;
    let asking = workload.ask(u64::MAX, PAUSE, &expected)?;
    let deleted = deployment.delete();
    show_load(report, "kubectl delete -k", asking.stop(), deleted);
    let after = Traces::read(session).map(|after| after.differences(before));
    report.equal(
        "qdiscs, filters, XDP and sockets of the node",
        &Differences::NONE,
        after,
    );
    let left: usize = objects.iter().map(BpfObjects::still_loaded).sum();
    report.equal("BPF programs and maps that are left", &0, Ok(left));
    compare(workload, report, "without headless");
    Ok(())
}
