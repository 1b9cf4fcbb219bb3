//! What headless leaves on the node: the node's state before it is deployed, and after it is
//! deleted.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs;

use anyhow::{Context as _, Result};
use aya::maps::loaded_maps;
use aya::programs::loaded_programs;

use super::session::Session;
use crate::exec;

/// Qdiscs, filters and XDP of all interfaces, and sockets of the node's network namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traces(BTreeSet<String>);

impl Traces {
    /// The node's state now.
    ///
    /// # Errors
    /// When `ip`, `tc` or `ss` fails.
    pub(super) fn read(session: &Session) -> Result<Self> {
        let run = |program: &str, arguments: &str| {
            let mut command = session.on_node(program);
            exec::output(command.args(arguments.split_whitespace()))
        };
        let links = run("ip", "-json link show")?;
        let mut state = BTreeSet::new();
        for link in links_with_xdp(&links)? {
            state.insert(format!("xdp on {}", anonymous(&link)));
        }
        for qdisc in run("tc", "qdisc show")?.lines() {
            state.insert(anonymous(qdisc));
        }
        for link in names(&links)? {
            for direction in ["ingress", "egress"] {
                let filters = run("tc", &format!("filter show dev {link} {direction}"));
                for filter in filters.unwrap_or_default().lines() {
                    state.insert(format!("filter on {}: {filter}", anonymous(&link)));
                }
            }
        }
        for socket in run("ss", "--no-header --listening --numeric --tcp --udp")?.lines() {
            let words: Vec<_> = socket.split_whitespace().collect();
            if let [protocol, _, _, _, address, ..] = words[..] {
                state.insert(format!("socket {protocol} {address}"));
            }
        }
        Ok(Self(state))
    }

    /// The lines that one of both has.
    pub(super) fn differences(&self, before: &Self) -> Differences {
        let new = self
            .0
            .difference(&before.0)
            .map(|line| format!("new: {line}"));
        let gone = before
            .0
            .difference(&self.0)
            .map(|line| format!("gone: {line}"));
        Differences(new.chain(gone).collect())
    }
}

/// Lines of state that have come or gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Differences(Vec<String>);

impl Differences {
    /// No difference.
    pub(super) const NONE: Self = Self(Vec::new());
}

impl Display for Differences {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("no difference");
        }
        formatter.write_str(&self.0.join("; "))
    }
}

/// Pods that come and go change the names of veths, not what is on them.
fn anonymous(line: &str) -> String {
    let word = |word: &str| match word.strip_prefix("veth") {
        Some(_) => "veth".to_owned(),
        None => word.to_owned(),
    };
    let words: Vec<_> = line.split_whitespace().map(word).collect();
    words.join(" ")
}

fn parsed(links: &str) -> Result<Vec<serde_json::Value>> {
    serde_json::from_str(links).context("cannot read the output of `ip -json link show`")
}

fn names(links: &str) -> Result<Vec<String>> {
    let links = parsed(links)?;
    let name = |link: &serde_json::Value| Some(link.get("ifname")?.as_str()?.to_owned());
    Ok(links.iter().filter_map(name).collect())
}

fn links_with_xdp(links: &str) -> Result<Vec<String>> {
    let mut links = parsed(links)?;
    links.retain(|link| link.get("xdp").is_some());
    names(&serde_json::to_string(&links)?)
}

/// Ids of BPF objects. The kernel gives an id to no second object until they have all been used.
#[derive(Debug, Default)]
pub(super) struct BpfObjects {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

impl BpfObjects {
    /// The objects that a process holds (`proc_pid_fdinfo(5)`).
    ///
    /// # Errors
    /// When there is no such process.
    pub(super) fn of_process(pid: i32) -> Result<Self> {
        let mut objects = Self::default();
        let folder = format!("/proc/{pid}/fdinfo");
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            // A descriptor may be closed in between.
            objects.take(&fs::read_to_string(entry?.path()).unwrap_or_default());
        }
        Ok(objects)
    }

    fn take(&mut self, fdinfo: &str) {
        for line in fdinfo.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let ids = match key {
                "prog_id" => &mut self.programs,
                "map_id" => &mut self.maps,
                _ => continue,
            };
            ids.extend(value.trim().parse::<u32>().ok());
        }
    }

    /// Their number.
    pub(super) fn len(&self) -> usize {
        self.programs.len() + self.maps.len()
    }

    /// The number of objects that the kernel still has.
    pub(super) fn still_loaded(&self) -> usize {
        let mut count = 0;
        for program in loaded_programs() {
            // Others' programs end meanwhile.
            count += usize::from(program.is_ok_and(|p| self.programs.contains(&p.id())));
        }
        for map in loaded_maps() {
            count += usize::from(map.is_ok_and(|map| self.maps.contains(&map.id())));
        }
        count
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn traces(lines: &[&str]) -> Traces {
        Traces(lines.iter().map(|line| anonymous(line)).collect())
    }

    #[test]
    fn a_left_qdisc_is_a_difference_and_another_pod_is_none() {
        let before = traces(&["qdisc noqueue 0: dev veth1 root refcnt 2"]);
        let after = traces(&["qdisc noqueue 0: dev vethf3 root refcnt 2"]);
        assert_eq!(after.differences(&before), Differences::NONE);
        let left = "qdisc clsact ffff: dev vethf3 parent ffff:fff1";
        let after = traces(&["qdisc noqueue 0: dev vethf3 root refcnt 2", left]);
        assert_eq!(
            after.differences(&before).to_string(),
            "new: qdisc clsact ffff: dev veth parent ffff:fff1"
        );
        assert_eq!(traces(&[]).differences(&before).0.len(), 1);
    }

    #[test]
    fn xdp_is_read_from_links() {
        let links = r#"[{"ifname":"lo"},{"ifname":"veth1","xdp":{"mode":2}}]"#;
        assert_eq!(links_with_xdp(links).unwrap(), ["veth1"]);
        assert_eq!(names(links).unwrap(), ["lo", "veth1"]);
        assert!(names("no").is_err());
    }

    #[test]
    fn ids_are_read_from_fdinfo() {
        let mut objects = BpfObjects::default();
        objects.take("pos:\t0\nprog_type:\t6\nprog_id:\t12\n");
        objects.take("map_id:\t7\nmap_type:\t1\n");
        objects.take("link_type:\txdp\nprog_id:\t12\n");
        assert_eq!((objects.len(), objects.maps.contains(&7)), (2, true));
    }
}
