//! The plugin `hosts` (`plugin/hosts/setup.go`, `hosts.go`).

use std::time::Duration;

use super::super::address::{covers, fqdn, overlap};
use super::super::files::NoFile;
use super::super::left::Left;
use super::super::rules::{Part, Reload};
use super::super::token::{Token, Words, shown};
use super::names::{fall, zones_or};
use super::settings::go_duration;
use super::state::{Classifier, PluginError};

/// The file that is read where no argument names one. The agent cannot see it, and takes it to have
/// no name of the zone: the kubelet writes the name of CoreDNS's pod, which is one only if the pod
/// has a `subdomain`, and `hostAliases`. On the host's network it is the node's file.
const OWN_FILE: &str = "/etc/hosts";

/// How often the file is read again without `reload` (`newOptions` in `hostsfile.go`).
const RELOAD: Duration = Duration::from_secs(5);

impl Classifier<'_> {
    /// Looks at the names, and at what falls through.
    pub(super) fn hosts(
        &mut self,
        mut words: Words<'_>,
        block: &[String],
    ) -> Result<(), PluginError> {
        let Some(name) = words.next() else {
            return Ok(());
        };
        let args = words.args();
        let file = args.first().copied();
        let zones = zones_or(args.get(1..).unwrap_or_default(), block);
        let mut falls = Vec::new();
        let mut has_reverse = true;
        let mut inline = Vec::new();
        let mut reload = (RELOAD, name);
        while let Some(option) = words.next_in_block() {
            let args = words.args();
            match &*option.text {
                "fallthrough" => falls = fall(&args),
                "no_reverse" => has_reverse = false,
                "ttl" => {}
                "reload" => reload = (interval(option, &args)?, option),
                _ => inline.extend(args),
            }
        }
        words.end()?;
        let zone = self.scope.zone.clone();
        if zones.iter().any(|it| overlap(it, &zone)) {
            if !falls.iter().any(|it| covers(it, &zone)) {
                let text = format!("hosts: nothing in {zone} falls through to kubernetes");
                self.find(Part::Zone, name, text);
            }
            self.listed(name, file, &inline);
            if file.is_some_and(|it| &*it.text != OWN_FILE) {
                self.rereads(reload);
            }
        }
        if has_reverse {
            let text = "hosts: it answers for the addresses of its hosts (without no_reverse)";
            self.find(Part::Reverse, name, text);
        }
        Ok(())
    }

    /// Looks whether CoreDNS has read a changed file once the doubt about a change ends, which
    /// waits for the plugin `reload` alone. A name that is gone from the file is answered by
    /// CoreDNS from the old file until then.
    fn rereads(&mut self, (interval, at): (Duration, &Token)) {
        let waited = match self.rules.reload {
            Reload::Every(waited) => waited,
            // The doubt about a change ends by a restart, at which CoreDNS reads the file.
            Reload::Never => RELOAD,
        };
        if interval.is_zero() {
            let text = "hosts: it never reads its changed file again (reload 0): take the option \
                        away";
            self.find(Part::Zone, at, text);
        } else if interval > waited {
            let text = format!(
                "hosts: it reads its changed file again every {interval:?}, the agent waits \
                 {waited:?}: give it a reload of at most {waited:?}"
            );
            self.find(Part::Zone, at, text);
        }
    }

    /// Looks for names of the zone among the hosts.
    fn listed(&mut self, name: &Token, file: Option<&Token>, inline: &[&Token]) {
        let zone = self.scope.zone.clone();
        for host in inline {
            let left = left_by(&zone, &host.text);
            if !left.is_empty() {
                let text = format!("hosts: it has the name {}", shown(&host.text));
                self.find(left, host, text);
            }
        }
        let Some(file) = file.filter(|it| &*it.text != OWN_FILE) else {
            return;
        };
        // A relative path begins at the folder of `root` or at the process's, not at the Corefile's.
        let files = if file.text.starts_with('/') {
            self.files.matching(&file.text, &name.place.file)
        } else {
            Err(NoFile::new("its path is relative"))
        };
        let (left, text) = match files {
            Ok(files) => {
                let hosts = files
                    .iter()
                    .flat_map(|(_, text)| text.lines())
                    .filter_map(|line| line.split('#').next())
                    .flat_map(|line| line.split_whitespace().skip(1));
                let left = hosts.fold(Left::NOTHING, |left, host| left.and(&left_by(&zone, host)));
                let text = format!("hosts: its file has the name {}", left.listed(&zone));
                (left, text)
            }
            Err(NoFile { reason, is_unread }) => {
                let text = format!("hosts: its file is not known: {reason}");
                if is_unread {
                    self.rules.unread = Some(reason);
                }
                (Part::Zone.into(), text)
            }
        };
        if !left.is_empty() {
            self.find(left, file, text);
        }
    }
}

/// The questions that a host answers. `*` stands for the first label of a name
/// (`replaceWithAsteriskLabel` in `wildcard.go`), which may be the zone's own.
fn left_by(zone: &str, host: &str) -> Left {
    let host = fqdn(host);
    let wild = zone.split_once('.').map(|(_, parent)| parent);
    let wild = wild.filter(|parent| !parent.is_empty());
    if wild.is_some() && host.strip_prefix("*.") == wild {
        Left::name(zone, zone)
    } else {
        Left::name(zone, &host)
    }
}

/// The value of `reload`: 0 for never.
fn interval(option: &Token, args: &[&Token]) -> Result<Duration, PluginError> {
    match args {
        [value] => go_duration(&value.text).ok_or_else(|| value.error("not a duration")),
        _ => Err(option.error("reload of hosts has one argument")),
    }
}
