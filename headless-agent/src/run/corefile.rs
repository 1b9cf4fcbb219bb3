//! The stage that follows the Corefile: sets which questions are left to CoreDNS.

mod restart;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::restart::Restarts;
use crate::config::{self, ConfigError, Settle, StartAgain};
use crate::corefile::standing::{Report, Standing};
use crate::corefile::{self, Finding, Left, Options, Part, Reload, Rules, Transition};
use crate::mirror::Mirror;
use crate::records::EndpointScope;
use crate::watch::corefile::{FIRST, Reading, follow, follow_file};
use crate::watch::health::Health;
use crate::watch::kubernetes::Client;

/// Time between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);

/// The longest time that an agent still runs once it needs to start again. Each one waits for a
/// random part of it: a change reaches all agents of a cluster at once, and each one lists all
/// objects when it starts. With 5,000 nodes, ten minutes spread this to some eight lists a second.
const SPREAD: Duration = Duration::from_mins(10);

/// The same for an agent that could not read the Corefile at its start. No change of the Corefile
/// brings it about, so only agents of one outage do so together. These have just begun to list
/// the objects together, within the 24 s that their watches wait at most to try again.
const SPREAD_UNREAD: Duration = Duration::from_secs(30);

/// The Corefile, and what has come of it.
pub(super) struct Corefile {
    readings: watch::Receiver<Option<Reading>>,
    following: BoxFuture<'static, ()>,
    settle: Settle,
    /// The zone that the operator has chosen.
    zone: Option<String>,
    transition: Transition,
    restarts: Restarts,
    /// Why the Corefile cannot be read at present, if that is so. `transition` is then the last
    /// text's.
    unreadable: Option<Rules>,
    /// The last text that was read.
    last: Option<Reading>,
    /// The watch.
    health: Arc<Health>,
    /// The agent's own part of [`SPREAD`].
    spread: Duration,
    /// The agent's own part of [`SPREAD_UNREAD`], as long as it has not had the options of a
    /// Corefile that it could not read at its start.
    spread_unread: Option<Duration>,
    /// When the agent ends, since it needs to start again.
    end: Option<Instant>,
    /// The options with which the agent has started.
    loaded: Options,
    /// Which endpoints the index knows; `None` until the cluster's size has decided.
    endpoints: Option<EndpointScope>,
    standing: Arc<Standing>,
}

impl Corefile {
    /// Reads the Corefile for the first time, and makes the settings with which the agent
    /// starts. `settings` are those without a Corefile.
    ///
    /// # Errors
    /// Where the operator's options cannot be used.
    pub(super) async fn read(
        settle: Settle,
        settings: config::Run,
        client: Option<Client>,
    ) -> Result<(config::Run, Self), ConfigError> {
        let (sender, mut readings) = watch::channel(None);
        let zone = settings.zone.clone();
        let health = Arc::<Health>::default();
        let restarts = Restarts::new(&settings, client.clone());
        let mut following = match (settings.corefile.clone(), client) {
            (config::Corefile::File(path), _) => follow_file(path, sender).boxed(),
            (config::Corefile::ConfigMap(sought), Some(client)) => {
                follow(client, sought, Arc::clone(&health), sender).boxed()
            }
            _ => {
                sender.send_replace(Some(Reading::Absent));
                std::future::pending().boxed()
            }
        };
        let first = async {
            tokio::select! {
                _ = readings.wait_for(Option::is_some) => {}
                () = &mut following => {}
            }
        };
        // A file can be on a network's file system that hangs.
        let is_late = timeout(FIRST + TICK, first).await.is_err();
        let reading = readings.borrow_and_update().clone();
        let reading = reading.unwrap_or_else(|| {
            let why = if is_late { " in time" } else { "" };
            Reading::Unreadable(format!("the Corefile was not read{why}"))
        });
        let (reading, rules, age) = judge(reading, zone.as_deref());
        let mut settled = settings;
        if let Some(options) = &rules.options {
            // Where the Corefile's options cannot be used, `update` leaves all to CoreDNS.
            if let Ok((with, _)) = settle(Some(options)) {
                settled = with;
            }
        }
        let corefile = Self {
            readings,
            following,
            zone,
            transition: Transition::new(rules, age, Instant::now()),
            restarts,
            unreadable: None,
            spread: SPREAD.mul_f64(fastrand::f64()),
            spread_unread: matches!(reading, Reading::Unreadable(_))
                .then(|| SPREAD_UNREAD.mul_f64(fastrand::f64())),
            last: Some(reading).filter(is_text),
            health,
            end: None,
            loaded: settled.taken.clone(),
            endpoints: endpoints(&settled),
            standing: Arc::default(),
            settle,
        };
        Ok((settled, corefile))
    }

    /// The state that this stage publishes.
    pub(super) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// The watch.
    pub(super) fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Follows the Corefile.
    ///
    /// # Errors
    /// [`StartAgain`] once a changed Corefile holds with which the agent can only start.
    pub(super) async fn run(mut self, mirror: Arc<Mirror>) -> anyhow::Result<()> {
        loop {
            if self.endpoints.is_none() && mirror.choice().is_some() {
                self.endpoints = Some(mirror.index().settings().endpoints);
            }
            self.update(Instant::now())?;
            tokio::select! {
                () = &mut self.following => anyhow::bail!("the watch of the Corefile ended"),
                changed = self.readings.changed() => {
                    if changed.is_ok() {
                        if self.take() {
                            info!("the Corefile of the cluster's DNS has changed");
                        }
                    } else {
                        sleep(TICK).await;
                    }
                }
                () = self.restarts.over() => self.transition.restarted(),
                () = sleep(TICK) => {}
            }
        }
    }

    /// Takes a new reading over. Returns whether it is another text than the last one.
    fn take(&mut self) -> bool {
        let Some(reading) = self.readings.borrow_and_update().clone() else {
            return false;
        };
        let (reading, rules, age) = judge(reading, self.zone.as_deref());
        let now = Instant::now();
        let Some(last) = &self.last else {
            self.transition = Transition::new(rules, age, now);
            self.last = Some(reading).filter(is_text);
            return false;
        };
        match reading {
            Reading::Unreadable(_) => {
                self.unreadable = Some(rules);
                false
            }
            // A ConfigMap that is gone leaves the files of CoreDNS's running pods.
            Reading::Absent => {
                self.unreadable = None;
                false
            }
            Reading::Text { .. } => {
                let was_unreadable = self.unreadable.take();
                if let Some(unknown) = was_unreadable.filter(|_| changed(last) != changed(&reading))
                {
                    // Any text may have been there in between.
                    self.transition.change(unknown, now);
                }
                let is_other = text(last) != text(&reading) || *self.transition.rules() != rules;
                self.transition.change(rules, now);
                self.last = Some(reading);
                is_other
            }
        }
    }

    /// Publishes which questions are left to CoreDNS at this time.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn update(&mut self, now: Instant) -> Result<(), StartAgain> {
        let doubted = self.transition.doubted(now).clone();
        self.restarts.wait_since(self.transition.needs_restart());
        let rules = match &self.unreadable {
            Some(unreadable) => unreadable,
            None => self.transition.rules(),
        };
        let mut report = Report {
            left: rules.left().and(&doubted),
            outages: self.outages(),
            ..Report::default()
        };
        for finding in &rules.findings {
            let list = if finding.left.is_empty() {
                &mut report.remarks
            } else {
                &mut report.reasons
            };
            list.push(finding.to_string());
        }
        if !doubted.is_empty() {
            let until = self.restarts.advice();
            let text = format!("the Corefile has changed, and CoreDNS {until}");
            report.reasons.push(text);
        }
        let wanted = rules
            .options
            .as_ref()
            .map(|options| (self.settle)(Some(options)));
        let mut needs_start = None;
        match wanted {
            Some(Ok((settings, contradictions))) => {
                report.remarks.extend(contradictions);
                if settings.taken == self.loaded {
                    self.spread_unread = None;
                } else {
                    report.left = Left::ALL;
                    let text = StartAgain(settings.taken.differences(&self.loaded));
                    report.reasons.push(text.to_string());
                    needs_start = Some(text).filter(|_| doubted.is_empty());
                }
            }
            Some(Err(error)) => {
                report.left = Left::ALL;
                report
                    .reasons
                    .push(format!("the Corefile's options cannot be used: {error}"));
            }
            None => {}
        }
        self.judge_empty_services(&mut report);
        self.publish(&report);
        self.end_in_time(needs_start, now)
    }

    /// Why the Corefile may have changed since it was read. An outage that leaves everything to
    /// CoreDNS is not among them, nor that of an unreadable `ConfigMap` of imported files, which
    /// leaves something only if the text names its files.
    fn outages(&self) -> Vec<String> {
        let reading = self.readings.borrow();
        let files = match &*reading {
            Some(Reading::Text { files, .. }) => Some(files),
            Some(Reading::Absent) => None,
            Some(Reading::Unreadable(_)) | None => return Vec::new(),
        };
        let is_told = |why: &str| files.is_some_and(|files| files.unread().any(|it| it == why));
        let outages = self.health.outages().into_iter().map(|(_, why)| why);
        outages.filter(|why| !is_told(why)).collect()
    }

    /// Leaves the zone to CoreDNS where the agent does not know which Services have endpoints, and
    /// names of Services without endpoints do not exist.
    fn judge_empty_services(&self, report: &mut Report) {
        if !self.loaded.exposure.ignore_empty || self.endpoints == Some(EndpointScope::All) {
            return;
        }
        report.left = std::mem::take(&mut report.left).and(&Part::Zone.into());
        let text = "ignore empty_service: Services without endpoints do not exist";
        if self.endpoints.is_none() {
            let text =
                format!("{text}, and the agent does not know yet which endpoints it watches");
            return report.remarks.push(text);
        }
        report.reasons.push(format!(
            "{text}, and the agent watches only the endpoints of headless Services: {}. It answers \
             with --endpoints all",
            Part::Zone.cost()
        ));
    }

    /// Ends the agent once it has needed to start again for its part of [`SPREAD`], or of
    /// [`SPREAD_UNREAD`].
    fn end_in_time(&mut self, needed: Option<StartAgain>, now: Instant) -> Result<(), StartAgain> {
        let Some(needed) = needed else {
            self.end = None;
            return Ok(());
        };
        let end = *self
            .end
            .get_or_insert(now + self.spread_unread.unwrap_or(self.spread));
        if now < end { Ok(()) } else { Err(needed) }
    }

    fn publish(&self, report: &Report) {
        let before = self.standing.set(report.clone());
        if *before == *report {
            return;
        }
        for reason in report
            .reasons
            .iter()
            .filter(|it| !before.reasons.contains(it))
        {
            warn!("left to CoreDNS: {reason}");
        }
        for remark in report
            .remarks
            .iter()
            .filter(|it| !before.remarks.contains(it))
        {
            info!("{remark}");
        }
        if report.left.is_empty() && !before.left.is_empty() {
            info!("the Corefile leaves nothing to CoreDNS any more");
        }
    }
}

/// Which endpoints the index of an agent with these settings knows; `None` where the cluster's size
/// decides.
fn endpoints(settings: &config::Run) -> Option<EndpointScope> {
    match settings.source {
        config::Source::Kubernetes {
            slices_max: Some(_),
            ..
        } => None,
        _ => Some(settings.records.endpoints),
    }
}

fn is_text(reading: &Reading) -> bool {
    matches!(reading, Reading::Text { .. })
}

fn text(reading: &Reading) -> Option<&str> {
    match reading {
        Reading::Text { text, .. } => Some(text),
        Reading::Absent | Reading::Unreadable(_) => None,
    }
}

/// When a text changed, by its `ConfigMap`.
fn changed(reading: &Reading) -> Option<SystemTime> {
    match reading {
        Reading::Text { changed, .. } => *changed,
        Reading::Absent | Reading::Unreadable(_) => None,
    }
}

/// A reading, its rules, and the time since the last change of the text. A text that names files
/// in a folder that cannot be read is not readable, either.
fn judge(reading: Reading, zone: Option<&str>) -> (Reading, Rules, Option<Duration>) {
    let (judged, age) = rules(&reading, zone);
    match judged.unread {
        Some(reason) => {
            let reading = Reading::Unreadable(reason);
            let (unknown, age) = rules(&reading, zone);
            (reading, unknown, age)
        }
        None => (reading, judged, age),
    }
}

/// The rules of a reading, and the time since the last change of the text.
fn rules(reading: &Reading, zone: Option<&str>) -> (Rules, Option<Duration>) {
    let remark = |left, text| Finding {
        left,
        place: None,
        text,
    };
    match reading {
        Reading::Text {
            text,
            files,
            changed,
        } => {
            // A change in the future is one of a clock that goes ahead.
            let age = changed.map(|changed| changed.elapsed().unwrap_or_default());
            (corefile::read(text, files, zone), age)
        }
        Reading::Absent => {
            let text = "there is no Corefile: the agent's options alone decide".to_owned();
            let rules = Rules {
                options: None,
                findings: vec![remark(Left::NOTHING, text)],
                reload: Reload::Never,
                unread: None,
            };
            (rules, None)
        }
        Reading::Unreadable(reason) => (Rules::unknown(remark(Left::ALL, reason.clone())), None),
    }
}

#[cfg(test)]
mod tests;
