//! The stage that follows the Corefile: sets which parts of the questions are left to CoreDNS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::config::{self, ConfigError, Settle, StartAgain};
use crate::corefile::standing::{Report, Standing};
use crate::corefile::{self, Finding, Options, Parts, Reload, Rules, Transition};
use crate::watch::corefile::{Reading, follow, follow_file};
use crate::watch::kubernetes::Client;

/// The longest wait for the Corefile before the agent starts without it. Then everything is left
/// to CoreDNS until the Corefile has been read.
const FIRST: Duration = Duration::from_secs(10);

/// Time between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);

/// The Corefile, and what has come of it.
pub(super) struct Corefile {
    readings: watch::Receiver<Option<Reading>>,
    following: BoxFuture<'static, ()>,
    settle: Settle,
    /// The zone that the operator has chosen.
    zone: Option<String>,
    transition: Transition,
    /// Whether the last reading was a text.
    was_text: bool,
    /// The options with which the agent has started.
    loaded: Options,
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
        let mut following = match (settings.corefile.clone(), client) {
            (config::Corefile::File(path), _) => follow_file(path, sender).boxed(),
            (config::Corefile::ConfigMap(sought), Some(client)) => {
                follow(client, sought, sender).boxed()
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
        let is_late = timeout(FIRST, first).await.is_err();
        let reading = readings.borrow_and_update().clone();
        let reading = reading.unwrap_or_else(|| {
            let why = if is_late {
                "the API server has not answered"
            } else {
                "it was not read"
            };
            Reading::Unreadable(format!("the Corefile is not known: {why}"))
        });
        let (rules, age) = rules(&reading, zone.as_deref());
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
            was_text: matches!(reading, Reading::Text { .. }),
            loaded: settled.taken.clone(),
            standing: Arc::default(),
            settle,
        };
        Ok((settled, corefile))
    }

    /// The state that this stage publishes.
    pub(super) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// Follows the Corefile.
    ///
    /// # Errors
    /// [`StartAgain`] once a changed Corefile holds with which the agent can only start.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.update()?;
            tokio::select! {
                () = &mut self.following => anyhow::bail!("the watch of the Corefile ended"),
                changed = self.readings.changed() => {
                    if changed.is_ok() {
                        self.take();
                    } else {
                        sleep(TICK).await;
                    }
                }
                () = sleep(TICK) => {}
            }
        }
    }

    /// Takes a new reading over.
    fn take(&mut self) {
        let Some(reading) = self.readings.borrow_and_update().clone() else {
            return;
        };
        let (rules, age) = rules(&reading, self.zone.as_deref());
        let now = Instant::now();
        let is_text = matches!(reading, Reading::Text { .. });
        if is_text && self.was_text {
            self.transition.change(rules, now);
        } else {
            self.transition = Transition::new(rules, age, now);
        }
        self.was_text = is_text;
        info!("the Corefile of the cluster's DNS has changed");
    }

    /// Publishes which parts are left to CoreDNS now.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn update(&mut self) -> Result<(), StartAgain> {
        let doubted = self.transition.doubted(Instant::now());
        let rules = self.transition.rules();
        let mut report = Report {
            parts: rules.parts() | doubted,
            ..Report::default()
        };
        for finding in &rules.findings {
            let list = if finding.parts.is_empty() {
                &mut report.remarks
            } else {
                &mut report.reasons
            };
            list.push(finding.to_string());
        }
        if !doubted.is_empty() {
            let until = if self.transition.needs_restart() {
                "has no reload: restart CoreDNS, then this agent"
            } else {
                "may still go by the old one for some two minutes"
            };
            let text = format!("the Corefile has changed, and CoreDNS {until}");
            report.reasons.push(text);
        }
        let wanted = rules
            .options
            .as_ref()
            .map(|options| (self.settle)(Some(options)));
        match wanted {
            Some(Ok((settings, contradictions))) => {
                report.remarks.extend(contradictions);
                if settings.taken != self.loaded {
                    report.parts = Parts::ALL;
                    let text = StartAgain(settings.taken.differences(&self.loaded));
                    report.reasons.push(text.to_string());
                    if doubted.is_empty() {
                        self.publish(&report);
                        return Err(text);
                    }
                }
            }
            Some(Err(error)) => {
                report.parts = Parts::ALL;
                report
                    .reasons
                    .push(format!("the Corefile's options cannot be used: {error}"));
            }
            None => {}
        }
        self.publish(&report);
        Ok(())
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
        if report.parts.is_empty() && !before.parts.is_empty() {
            info!("the Corefile leaves nothing to CoreDNS any more");
        }
    }
}

/// The rules of a reading, and the time since the last change of the text.
fn rules(reading: &Reading, zone: Option<&str>) -> (Rules, Option<Duration>) {
    let remark = |parts, text| Finding {
        parts,
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
                findings: vec![remark(Parts::NONE, text)],
                reload: Reload::Never,
            };
            (rules, None)
        }
        Reading::Unreadable(reason) => (Rules::unknown(remark(Parts::ALL, reason.clone())), None),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;
    use std::path::Path;

    use clap::Parser as _;
    use tempfile::TempDir;

    use super::*;
    use crate::args::{Cli, Command};

    const TEXT: &str = ".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n ttl 60\n }\n \
                        cache 30\n reload\n}\n";

    /// The settings of an agent with the Corefile in this file.
    fn settle(corefile: &Path, arguments: &[&str]) -> Settle {
        let folder = corefile.parent().unwrap().to_str().unwrap();
        let corefile = corefile.to_str().unwrap();
        let own = ["headless-agent", "run", "--manifests", folder];
        let own = own.into_iter().chain(["--corefile-file", corefile]);
        let cli = Cli::try_parse_from(own.chain(arguments.iter().copied())).unwrap();
        let Command::Run(args) = cli.command else {
            panic!("not `run`");
        };
        Box::new(move |options| match options {
            Some(options) => {
                let (args, contradictions) = args.with(options);
                Ok((args.settings()?, contradictions))
            }
            None => Ok((args.settings()?, Vec::new())),
        })
    }

    async fn started(folder: &TempDir, arguments: &[&str]) -> (config::Run, Corefile) {
        let path = folder.path().join("Corefile");
        let settle = settle(&path, arguments);
        let (base, _) = settle(None).unwrap();
        Corefile::read(settle, base, None).await.unwrap()
    }

    #[tokio::test]
    async fn options_of_the_corefile_hold_where_none_is_given() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("Corefile"), TEXT).unwrap();
        let (settings, mut corefile) = started(&folder, &[]).await;
        let ttls = settings.records.ttls;
        assert_eq!((ttls.records, ttls.minimum, ttls.version), (30, 60, 30));
        assert_eq!(settings.programs.ttl, 30);
        corefile.update().unwrap();
        assert_eq!(corefile.standing().parts(), Parts::NONE);
        let (settings, mut corefile) = started(&folder, &["--ttl", "20"]).await;
        assert_eq!(settings.records.ttls.records, 20);
        corefile.update().unwrap();
        let told = "--ttl 20 is given, the Corefile has 60".to_owned();
        assert!(corefile.standing().report().remarks.contains(&told));
    }

    #[tokio::test]
    async fn the_agent_starts_again_once_other_options_certainly_hold() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("Corefile"), TEXT).unwrap();
        let (_, mut corefile) = started(&folder, &[]).await;
        let files = corefile::Files::default();
        let other = corefile::read(&TEXT.replace("ttl 60", "ttl 20"), &files, None);
        let now = Instant::now();
        corefile.transition.change(other.clone(), now);
        corefile.update().unwrap();
        assert_eq!(corefile.standing().parts(), Parts::ALL);
        let mounted = Duration::from_secs(200);
        let Some(before) = now.checked_sub(mounted) else {
            return;
        };
        let (_, mut corefile) = started(&folder, &[]).await;
        corefile.transition.change(other, before);
        let ended = corefile.update().unwrap_err().to_string();
        assert!(
            ended.ends_with("only start: ttl 20 instead of 60"),
            "{ended}"
        );
        assert_eq!(corefile.standing().parts(), Parts::ALL);
        // A change that only another option of the operator would feel.
        let (_, mut corefile) = started(&folder, &["--ttl", "20"]).await;
        let other = corefile::read(&TEXT.replace("ttl 60", "ttl 40"), &files, None);
        corefile.transition.change(other, before);
        corefile.update().unwrap();
        assert_eq!(corefile.standing().parts(), Parts::NONE);
    }

    #[tokio::test]
    async fn a_file_that_is_missing_leaves_everything_to_coredns() {
        let folder = TempDir::new().unwrap();
        let (settings, mut corefile) = started(&folder, &[]).await;
        assert_eq!(settings.records.ttls.records, 30);
        corefile.update().unwrap();
        let report = corefile.standing().report();
        assert_eq!(report.parts, Parts::ALL);
        assert!(
            report.reasons[0].contains("cannot read the Corefile"),
            "{report:?}"
        );
    }
}
