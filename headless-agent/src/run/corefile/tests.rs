//! The stage's answers to readings of the Corefile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use clap::Parser as _;
use tempfile::TempDir;

use super::*;
use crate::args::{Cli, Command};
use crate::corefile::{Files, Folder, Parts};
use crate::watch::Kind;
use crate::watch::health::{Failure, FailureReason};

pub(super) const TEXT: &str = ".:53 {\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n ttl 60\n }\n \
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

pub(super) async fn started(folder: &TempDir, arguments: &[&str]) -> (config::Run, Corefile) {
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
    corefile.update(Instant::now()).unwrap();
    assert_eq!(corefile.standing().report().left.parts, Parts::NONE);
    let (settings, mut corefile) = started(&folder, &["--ttl", "20"]).await;
    assert_eq!(settings.records.ttls.records, 20);
    corefile.update(Instant::now()).unwrap();
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
    corefile.transition.change(other, now);
    assert!(corefile.spread <= SPREAD);
    corefile.spread = Duration::ZERO;
    corefile.update(now).unwrap();
    assert_eq!(corefile.standing().report().left.parts, Parts::ALL);
    let certain = now + Duration::from_secs(200);
    corefile.spread = Duration::from_mins(5);
    corefile.update(certain).unwrap();
    assert_eq!(
        corefile.standing().report().left.parts,
        Parts::ALL,
        "before its end"
    );
    let in_time = |corefile: &mut Corefile, seconds| {
        let then = certain + Duration::from_secs(seconds);
        corefile.end_in_time(Some(StartAgain(String::new())), then)
    };
    in_time(&mut corefile, 299).unwrap();
    in_time(&mut corefile, 300).unwrap_err();
    corefile.end_in_time(None, certain).unwrap();
    in_time(&mut corefile, 300).unwrap();
    corefile.spread = Duration::ZERO;
    corefile.end = None;
    let ended = corefile.update(certain).unwrap_err().to_string();
    assert!(
        ended.ends_with("only start: ttl 20 instead of 60"),
        "{ended}"
    );
    assert_eq!(corefile.standing().report().left.parts, Parts::ALL);
    // A change that only another option of the operator would feel.
    let (_, mut corefile) = started(&folder, &["--ttl", "20"]).await;
    let other = corefile::read(&TEXT.replace("ttl 60", "ttl 40"), &files, None);
    corefile.transition.change(other, now);
    corefile.update(certain).unwrap();
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
        corefile.update(Instant::now()).unwrap();
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
    corefile.update(Instant::now()).unwrap();
    let report = corefile.standing().report();
    assert_eq!(report.left.parts, Part::Zone.into());
    assert!(
        report.reasons[0].contains("with --endpoints all"),
        "{report:?}"
    );
    corefile.endpoints = None;
    corefile.update(Instant::now()).unwrap();
    assert_eq!(corefile.standing().report().left.parts, Part::Zone.into());
    let (_, mut corefile) = started(&folder, &[]).await;
    corefile.update(Instant::now()).unwrap();
    assert_eq!(corefile.standing().report().left.parts, Parts::NONE);
}

#[tokio::test]
async fn a_file_that_is_missing_leaves_everything_to_coredns() {
    let folder = TempDir::new().unwrap();
    let (settings, mut corefile) = started(&folder, &[]).await;
    assert_eq!(settings.records.ttls.records, 30);
    corefile.update(Instant::now()).unwrap();
    let report = corefile.standing().report();
    assert_eq!(report.left, Left::ALL);
    assert!(
        report.reasons[0].contains("cannot read the Corefile"),
        "{report:?}"
    );
}

/// The reading of a text, with a folder that can be read or not.
fn imported(text: &str, folder: Folder) -> Reading {
    Reading::Text {
        text: text.to_owned(),
        files: Files::new([("/etc/coredns/custom".to_owned(), folder)]),
        changed: None,
    }
}

/// Gives the stage this reading, as its watch does. Returns whether it is told as a change, and
/// the parts that are left to CoreDNS.
fn given(corefile: &mut Corefile, reading: Reading) -> (bool, Parts) {
    let (sender, readings) = watch::channel(None);
    corefile.readings = readings;
    sender.send_replace(Some(reading));
    let is_change = corefile.take();
    corefile.update(Instant::now()).unwrap();
    (is_change, corefile.standing().report().left.parts)
}

#[tokio::test]
async fn an_import_that_was_unreadable_is_in_doubt_as_before() {
    let custom = |text: &str| Folder::Known([("a".to_owned(), text.to_owned())].into());
    let forbidden = || Folder::Unknown("403".to_owned());
    let import = "import custom/*";
    let hosts = "hosts /etc/coredns/custom/a {\n no_reverse\n fallthrough\n }";
    // The names of `hosts` are no part.
    let denials: Parts = Part::Denials.into();
    for (line, text, parts) in [
        (import, "any\n", denials),
        (hosts, "192.0.2.1 b.cluster.local", Parts::NONE),
    ] {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("Corefile"), TEXT).unwrap();
        let (_, mut corefile) = started(&folder, &[]).await;
        let written = TEXT.replace(" reload\n", &format!(" {line}\n"));
        corefile.last = None;
        given(&mut corefile, imported(&written, custom(text)));
        let before = corefile.standing().report().left.clone();
        assert_eq!(before.parts, parts, "{line}");
        let unread = given(&mut corefile, imported(&written, forbidden()));
        assert_eq!(unread, (false, Parts::ALL), "{line}");
        let report = corefile.standing().report();
        assert!(report.reasons[0].starts_with("403"), "{report:?}");
        let again = given(&mut corefile, imported(&written, custom(text)));
        assert_eq!(again, (false, parts), "{line}");
        assert_eq!(corefile.standing().report().left, before, "{line}");
        // A text that names no file there does not need the folder.
        let own = given(&mut corefile, imported(TEXT, forbidden()));
        assert!(own.0, "{line}");
        assert!(corefile.unreadable.is_none(), "{line}");
    }
}

#[tokio::test]
async fn only_a_text_after_another_one_is_told_as_a_change() {
    let folder = TempDir::new().unwrap();
    let (_, mut corefile) = started(&folder, &[]).await;
    let mut is_change = |reading| given(&mut corefile, reading).0;
    let text = |text: &str| imported(text, Folder::Known([].into()));
    let unreadable = |why: &str| Reading::Unreadable(why.to_owned());
    assert!(!is_change(unreadable("500")), "another reason");
    assert!(!is_change(text(TEXT)), "the first text");
    assert!(!is_change(unreadable("403")));
    assert!(!is_change(text(TEXT)), "the same text");
    assert!(is_change(text(&TEXT.replace("cache 30", "any"))));
    assert!(!is_change(Reading::Absent));
}

/// An agent whose API server cannot be reached while its node starts.
#[tokio::test]
async fn an_agent_that_started_without_a_readable_corefile_starts_again_soon() {
    let folder = TempDir::new().unwrap();
    let (_, mut corefile) = started(&folder, &[]).await;
    assert!(corefile.spread_unread.unwrap() <= SPREAD_UNREAD);
    corefile.spread = Duration::from_mins(5);
    corefile.spread_unread = Some(Duration::from_secs(20));
    let reading = imported(TEXT, Folder::Known([].into()));
    assert_eq!(given(&mut corefile, reading), (false, Parts::ALL));
    let in_time = |corefile: &mut Corefile, seconds| {
        let then = Instant::now() + Duration::from_secs(seconds);
        corefile.end_in_time(Some(StartAgain(String::new())), then)
    };
    in_time(&mut corefile, 19).unwrap();
    in_time(&mut corefile, 20).unwrap_err();
    corefile.end = None;
    corefile.spread_unread = Some(Duration::ZERO);
    corefile.update(Instant::now()).unwrap_err();
    // The agent started with the options of this text, and later changes reach all agents at once.
    corefile.end = None;
    let options = corefile.transition.rules().options.clone();
    let (settings, _) = (corefile.settle)(options.as_ref()).unwrap();
    corefile.loaded = settings.taken;
    corefile.update(Instant::now()).unwrap();
    assert_eq!(corefile.spread_unread, None);
    // So do those of a Corefile that was read at the start.
    fs::write(folder.path().join("Corefile"), TEXT).unwrap();
    let (_, corefile) = started(&folder, &[]).await;
    assert_eq!(corefile.spread_unread, None);
}

#[tokio::test]
async fn a_watch_that_fails_is_a_problem_until_it_runs() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("Corefile"), TEXT).unwrap();
    let (_, mut corefile) = started(&folder, &[]).await;
    let health = corefile.health();
    let fail = |watch: &str, message: &str| {
        let failure = Failure {
            reason: FailureReason::Unreachable,
            message: message.to_owned(),
        };
        health.failed(watch, Kind::ConfigMap, &failure);
    };
    fail("a", "no route");
    fail("b", "403");
    let problems = |corefile: &Corefile| {
        let problems: Vec<_> = corefile.standing().report().problems().collect();
        problems
    };
    let stale = "the Corefile may have changed since: no route";
    let reading = imported(TEXT, Folder::Unknown("403".to_owned()));
    given(&mut corefile, reading);
    assert_eq!(problems(&corefile), [stale], "no file of `b` is named");
    given(&mut corefile, Reading::Absent);
    let both = [stale, "the Corefile may have changed since: 403"];
    assert_eq!(problems(&corefile), both);
    given(&mut corefile, Reading::Unreadable("no route".to_owned()));
    let problem = &problems(&corefile)[..];
    assert_eq!(problem.len(), 1, "{problem:?}");
    assert!(
        problem[0].starts_with("left to CoreDNS: no route"),
        "{problem:?}"
    );
    given(&mut corefile, Reading::Absent);
    health.runs("a");
    health.runs("b");
    corefile.update(Instant::now()).unwrap();
    assert!(problems(&corefile).is_empty());
}
