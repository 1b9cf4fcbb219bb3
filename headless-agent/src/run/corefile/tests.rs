//! The stage's answers to readings of the Corefile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use clap::Parser as _;
use tempfile::TempDir;

use super::*;
use crate::args::{Cli, Command};
use crate::corefile::Parts;

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
    assert_eq!(corefile.standing().report().left.parts, Parts::NONE);
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
    assert_eq!(corefile.standing().report().left.parts, Parts::ALL);
    let mounted = Duration::from_secs(200);
    let Some(before) = now.checked_sub(mounted) else {
        return;
    };
    let (_, mut corefile) = started(&folder, &[]).await;
    corefile.transition.change(other, before);
    assert!(corefile.spread <= SPREAD);
    corefile.spread = Duration::from_mins(5);
    corefile.update().unwrap();
    assert_eq!(
        corefile.standing().report().left.parts,
        Parts::ALL,
        "before its end"
    );
    let in_time = |corefile: &mut Corefile, seconds| {
        let then = Instant::now() + Duration::from_secs(seconds);
        corefile.end_in_time(Some(StartAgain(String::new())), then)
    };
    in_time(&mut corefile, 290).unwrap();
    in_time(&mut corefile, 300).unwrap_err();
    corefile.end_in_time(None, Instant::now()).unwrap();
    in_time(&mut corefile, 300).unwrap();
    corefile.spread = Duration::ZERO;
    corefile.end = None;
    let ended = corefile.update().unwrap_err().to_string();
    assert!(
        ended.ends_with("only start: ttl 20 instead of 60"),
        "{ended}"
    );
    assert_eq!(corefile.standing().report().left.parts, Parts::ALL);
    // A change that only another option of the operator would feel.
    let (_, mut corefile) = started(&folder, &["--ttl", "20"]).await;
    let other = corefile::read(&TEXT.replace("ttl 60", "ttl 40"), &files, None);
    corefile.transition.change(other, before);
    corefile.update().unwrap();
    assert_eq!(corefile.standing().report().left.parts, Parts::NONE);
}

#[tokio::test]
async fn a_corefile_that_was_unreadable_is_in_doubt_as_before() {
    let folder = TempDir::new().unwrap();
    let without_reload = TEXT.replace(" reload\n", "");
    fs::write(folder.path().join("Corefile"), &without_reload).unwrap();
    let (_, mut corefile) = started(&folder, &[]).await;
    let (sender, readings) = watch::channel(None);
    corefile.readings = readings;
    let text = |plugin: &str, changed| Reading::Text {
        text: without_reload.replace("cache 30", &format!("cache 30\n {plugin}")),
        files: corefile::Files::default(),
        changed,
    };
    let parts = |corefile: &mut Corefile, reading| {
        sender.send_replace(Some(reading));
        corefile.take();
        corefile.update().unwrap();
        corefile.standing().report().left.parts
    };
    let denials: Parts = crate::corefile::Part::Denials.into();
    assert_eq!(parts(&mut corefile, text("any", None)), denials);
    let forbidden = || Reading::Unreadable("403".to_owned());
    assert_eq!(parts(&mut corefile, forbidden()), Parts::ALL);
    assert_eq!(parts(&mut corefile, text("", None)), denials, "no restart");
    assert_eq!(parts(&mut corefile, forbidden()), Parts::ALL);
    assert_eq!(parts(&mut corefile, Reading::Absent), denials);
    assert_eq!(parts(&mut corefile, forbidden()), Parts::ALL);
    let unseen = text("", Some(SystemTime::now()));
    assert_eq!(parts(&mut corefile, unseen), Parts::ALL, "an unseen text");
}

/// Whether a Service has endpoints must be known where it has no name without.
#[tokio::test]
async fn empty_services_need_the_endpoints_of_all() {
    let folder = TempDir::new().unwrap();
    let text = TEXT.replace("ttl 60", "ignore empty_service");
    fs::write(folder.path().join("Corefile"), text).unwrap();
    let (settings, mut corefile) = started(&folder, &["--endpoints", "headless"]).await;
    assert!(settings.records.exposure.ignore_empty);
    corefile.update().unwrap();
    let report = corefile.standing().report();
    assert_eq!(report.left.parts, Part::Zone.into());
    assert!(
        report.reasons[0].contains("with --endpoints all"),
        "{report:?}"
    );
    corefile.endpoints = None;
    corefile.update().unwrap();
    assert_eq!(corefile.standing().report().left.parts, Part::Zone.into());
    let (_, mut corefile) = started(&folder, &[]).await;
    corefile.update().unwrap();
    assert_eq!(corefile.standing().report().left.parts, Parts::NONE);
}

#[tokio::test]
async fn a_file_that_is_missing_leaves_everything_to_coredns() {
    let folder = TempDir::new().unwrap();
    let (settings, mut corefile) = started(&folder, &[]).await;
    assert_eq!(settings.records.ttls.records, 30);
    corefile.update().unwrap();
    let report = corefile.standing().report();
    assert_eq!(report.left, Left::ALL);
    assert!(
        report.reasons[0].contains("cannot read the Corefile"),
        "{report:?}"
    );
}
