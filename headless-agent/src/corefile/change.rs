//! The time after a change, in which CoreDNS may still go by the old Corefile.

use std::time::{Duration, Instant};

use super::left::Left;
use super::rules::{Reload, Rules};

/// The longest time until a changed `ConfigMap` is in the files of a pod: the kubelet looks at each
/// pod every minute, plus up to half of it (`workerResyncIntervalJitterFactor` in
/// pkg/kubelet/kubelet.go).
const MOUNTED: Duration = Duration::from_secs(90);

/// When CoreDNS certainly goes by the present Corefile. The later time is the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Certain {
    At(Instant),
    /// Not before its pods have been restarted after this time.
    Restarted(Instant),
}

impl Certain {
    /// A wait that no clock can express does not end.
    fn after(wait: Duration, now: Instant) -> Self {
        now.checked_add(wait).map_or(Self::Restarted(now), Self::At)
    }
}

/// The rules that hold, and the questions in doubt after a change.
#[derive(Clone, Debug)]
pub struct Transition {
    rules: Rules,
    doubted: Left,
    certain: Option<Certain>,
    /// The slowest reload of the earlier texts by which CoreDNS may go until `certain`.
    slowest: Option<Reload>,
}

impl Transition {
    /// The rules that were read at the start. `age` is the time since the last change of the
    /// text, if it is known: before a recent change, anything may have been in it.
    pub fn new(rules: Rules, age: Option<Duration>, now: Instant) -> Self {
        let wait = match rules.reload {
            Reload::Every(interval) => MOUNTED.saturating_add(interval),
            // Whoever changes such a Corefile restarts CoreDNS, about which nothing is known.
            Reload::Never => MOUNTED,
        };
        let left = age.and_then(|age| wait.checked_sub(age));
        Self {
            rules,
            doubted: left.map_or(Left::NOTHING, |_| Left::ALL),
            certain: left.map(|left| Certain::after(left, now)),
            slowest: None,
        }
    }

    /// Takes the rules of a changed text over. The questions about which both texts
    /// disagree are in doubt from now on, and so are the questions of earlier changes that CoreDNS
    /// may not have seen.
    ///
    /// CoreDNS may go by any text since the last certain one, so the slowest reload of these texts
    /// counts. That is why texts that differ in nothing but `reload` are a change too.
    pub fn change(&mut self, rules: Rules, now: Instant) {
        self.pass_time(now);
        let disagreement = self.rules.disagreement(&rules);
        if !disagreement.is_empty() || self.rules.reload != rules.reload {
            self.doubted = std::mem::take(&mut self.doubted).and(&disagreement);
            // A Corefile that cannot be parsed does not say how CoreDNS hears about the next one.
            let before = match self.rules.options {
                Some(_) => self.rules.reload,
                None => rules.reload,
            };
            let slowest = self.slowest.map_or(before, |slowest| slowest.max(before));
            let certain = match slowest {
                Reload::Every(interval) => Certain::after(MOUNTED.saturating_add(interval), now),
                Reload::Never => Certain::Restarted(now),
            };
            self.certain = self.certain.max(Some(certain));
            self.slowest = Some(slowest);
        }
        self.rules = rules;
    }

    /// The rules of the present text.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The questions that are in doubt.
    pub fn doubted(&mut self, now: Instant) -> &Left {
        self.pass_time(now);
        &self.doubted
    }

    /// The time of the last change, where only [`Self::restarted`] tells that CoreDNS has seen it.
    pub fn needs_restart(&self) -> Option<Instant> {
        match self.certain {
            Some(Certain::Restarted(since)) => Some(since),
            _ => None,
        }
    }

    /// Every pod of CoreDNS has been replaced since [`Self::needs_restart`].
    pub fn restarted(&mut self) {
        if self.needs_restart().is_some() {
            self.end_doubt();
        }
    }

    fn pass_time(&mut self, now: Instant) {
        if matches!(self.certain, Some(Certain::At(at)) if at <= now) {
            self.end_doubt();
        }
    }

    fn end_doubt(&mut self) {
        self.certain = None;
        self.slowest = None;
        self.doubted = Left::NOTHING;
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Part, Parts};
    use super::super::{Files, read};
    use super::*;

    fn rules(options: &str, plugins: &str) -> Rules {
        let text = format!(
            ".:53 {{\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n {options}\n }}\n \
             {plugins}\n}}\n"
        );
        read(&text, &Files::default(), None)
    }

    #[test]
    fn parts_are_in_doubt_until_coredns_has_read_the_text() {
        let start = Instant::now();
        let mut transition = Transition::new(rules("", "reload"), None, start);
        assert_eq!(transition.doubted(start).parts, Parts::NONE);
        transition.change(rules("", "reload\nlog"), start);
        assert_eq!(
            transition.doubted(start).parts,
            Parts::NONE,
            "both say the same"
        );
        transition.change(rules("fallthrough", "reload"), start);
        assert_eq!(transition.doubted(start).parts, Part::NxDomain.into());
        transition.change(rules("ttl 30", "reload"), start);
        assert_eq!(transition.doubted(start).parts, Parts::ALL);
        let seen = start + MOUNTED + Duration::from_millis(37_500);
        assert_eq!(
            transition
                .doubted(start + MOUNTED + Duration::from_millis(37_499))
                .parts,
            Parts::ALL
        );
        assert_eq!(transition.doubted(seen).parts, Parts::NONE);
    }

    #[test]
    fn names_are_in_doubt_as_long_as_parts() {
        let start = Instant::now();
        let hosts = |names: &str| {
            let line = format!("hosts {{\n 192.0.2.1 {names}\n no_reverse\n fallthrough\n }}");
            rules("", &format!("reload\n {line}"))
        };
        let names = |left: &Left| {
            left.names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let mut transition = Transition::new(hosts("a.cluster.local b.cluster.local"), None, start);
        transition.change(hosts("b.cluster.local c.cluster.local"), start);
        assert_eq!(names(transition.doubted(start)), ["a", "c"]);
        let both = transition.rules().left().and(transition.doubted(start));
        assert_eq!(names(&both), ["a", "b", "c"]);
        transition.change(rules("", "reload\n acl"), start);
        assert_eq!(
            transition.doubted(start).parts,
            (Parts::from(Part::Zone) | Part::Reverse.into())
        );
        let later = start + Duration::from_secs(128);
        assert!(transition.doubted(later).is_empty());
    }

    #[test]
    fn without_reload_the_doubt_ends_by_a_restart() {
        let start = Instant::now();
        let mut transition = Transition::new(rules("", ""), None, start);
        transition.change(rules("ttl 30", "reload"), start);
        let later = start + Duration::from_hours(1);
        assert_eq!(transition.doubted(later).parts, Parts::ALL);
        assert_eq!(transition.needs_restart(), Some(start));
        transition.change(rules("ttl 30", "reload\nlog"), later);
        assert_eq!(transition.needs_restart(), Some(start), "both say the same");
        transition.change(rules("ttl 40", "reload"), later);
        assert_eq!(transition.needs_restart(), Some(later));
        transition.restarted();
        assert_eq!(transition.needs_restart(), None);
        assert!(transition.doubted(later).is_empty());
        transition.change(rules("ttl 50", "reload"), later);
        transition.restarted();
        assert_eq!(transition.doubted(later).parts, Parts::ALL, "it has reload");
    }

    #[test]
    fn a_second_change_does_not_shorten_the_doubt_of_the_first() {
        let start = Instant::now();
        let hour = Duration::from_hours(1);
        let mut slow = rules("", "reload");
        slow.reload = Reload::Every(hour);
        let second = start + Duration::from_mins(5);
        for (between, text) in [
            (rules("ttl 30", "reload"), "another text"),
            (rules("", "reload"), "another interval"),
            (read(". {", &Files::default(), None), "a broken text"),
        ] {
            let mut transition = Transition::new(slow.clone(), None, start);
            transition.change(between, start);
            transition.change(rules("ttl 40", "reload"), second);
            let mounted = second + hour;
            assert_eq!(transition.doubted(mounted).parts, Parts::ALL, "{text}");
            let last = mounted + MOUNTED;
            assert!(transition.doubted(last).is_empty(), "{text}");
            transition.change(rules("ttl 50", "reload"), last);
            let quick = last + Duration::from_secs(128);
            assert!(transition.doubted(quick).is_empty(), "{text}");
        }
        let mut transition = Transition::new(rules("", ""), None, start);
        transition.change(rules("", "reload"), start);
        assert!(transition.doubted(start).is_empty(), "both say the same");
        transition.change(rules("ttl 40", "reload"), second);
        assert_eq!(transition.needs_restart(), Some(second));
    }

    #[test]
    fn a_doubt_may_be_longer_than_any_clock() {
        let now = Instant::now();
        let mut long = rules("", "reload");
        long.reload = Reload::Every(Duration::MAX);
        let mut transition = Transition::new(long.clone(), Some(Duration::ZERO), now);
        assert_eq!(transition.doubted(now).parts, Parts::ALL);
        let mut transition = Transition::new(long, None, now);
        transition.change(rules("ttl 30", "reload"), now);
        assert_eq!(transition.doubted(now).parts, Parts::ALL);
    }

    #[test]
    fn a_corefile_that_is_mended_is_in_doubt_as_any_other() {
        let start = Instant::now();
        let broken = read(". {", &Files::default(), None);
        let mut transition = Transition::new(broken, None, start);
        transition.change(rules("", "reload"), start);
        assert_eq!(transition.doubted(start).parts, Parts::ALL);
        let later = start + Duration::from_secs(128);
        assert_eq!(transition.doubted(later).parts, Parts::NONE);
    }

    #[test]
    fn a_text_that_changed_shortly_before_the_start_is_in_doubt() {
        let start = Instant::now();
        let age = Duration::from_secs(100);
        let mut transition = Transition::new(rules("", "reload"), Some(age), start);
        assert_eq!(transition.doubted(start).parts, Parts::ALL);
        assert_eq!(
            transition.doubted(start + Duration::from_secs(28)).parts,
            Parts::NONE
        );
        let age = Duration::from_secs(128);
        let mut old = Transition::new(rules("", "reload"), Some(age), start);
        assert_eq!(old.doubted(start).parts, Parts::NONE);
    }
}
