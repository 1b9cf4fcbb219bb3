//! The pods that ask and that are asked for (`xtask/cluster/workload.yaml`), and the questions
//! about them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::ask::{self, Asking, Questions};
use super::config::{CLUSTER_DNS, EXTERNAL_NAME};
use super::session::Session;

const MANIFESTS: &str = include_str!("../../cluster/workload.yaml");

/// The pod that asks.
const CLIENT: &str = "client";

/// Pods at the start.
pub(super) const REPLICAS: usize = 3;

const ZONE: &str = "cluster.local";

/// Names of the zone, below `default.svc` unless they end in a dot, with their types. Not all
/// exist.
const NAMES: [(&str, &str); 17] = [
    ("nginx-headless", "A"),
    ("nginx-headless", "AAAA"),
    ("nginx-headless", "TXT"),
    ("_http._tcp.nginx-headless", "SRV"),
    ("web-0.nginx-headless", "A"),
    ("web-0.nginx-headless", "AAAA"),
    ("web-99.nginx-headless", "A"),
    ("web", "A"),
    ("web", "MX"),
    ("_http._tcp.web", "SRV"),
    ("outside", "A"),
    ("outside", "CNAME"),
    ("no-such-service", "A"),
    ("kubernetes.default.svc.cluster.local.", "A"),
    ("kube-dns.kube-system.svc.cluster.local.", "A"),
    ("_dns._udp.kube-dns.kube-system.svc.cluster.local.", "SRV"),
    ("www.example.test.", "A"),
];

/// The workload in a cluster.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    session: &'a Session,
    /// A process of the client pod.
    client: i32,
    /// `CoreDNS`'s own pod.
    coredns: Ipv4Addr,
}

impl<'a> Workload<'a> {
    /// Makes the pods, and waits until they are ready.
    ///
    /// # Errors
    /// When they are not in time.
    pub(super) fn new(session: &'a Session) -> Result<Self> {
        session.apply(MANIFESTS)?;
        session.wait_for_rollout("default", "statefulset/web")?;
        session.wait("kubelet", "the client pod to be ready", || {
            let ready = "get pod client -o jsonpath={.status.containerStatuses[0].ready}";
            Ok(session.kubectl(ready)? == "true")
        })?;
        let address = session.kubectl(
            "--namespace kube-system get pods -l k8s-app=kube-dns -o \
             jsonpath={.items[0].status.podIP}",
        )?;
        Ok(Self {
            session,
            client: session.pod_process("default", CLIENT)?,
            coredns: address.parse().context("CoreDNS's pod has no address")?,
        })
    }

    /// Deletes the pods.
    ///
    /// # Errors
    /// With kubectl's message.
    pub(super) fn delete(self) -> Result<()> {
        let names = "statefulset/web pod/client service/nginx-headless service/web service/outside";
        self.session
            .kubectl(&format!("delete --now {names}"))
            .map(drop)
    }

    /// The address of `CoreDNS`'s own pod.
    pub(super) fn coredns(&self) -> Ipv4Addr {
        self.coredns
    }

    /// Runs a command line in the client pod.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn shell(&self, line: &str) -> Result<String> {
        self.session.shell(CLIENT, line)
    }

    /// The name that the headless Service has in DNS.
    pub(super) fn service() -> String {
        qualified("nginx-headless")
    }

    /// Sets the number of web servers, and waits until the API has so many ready endpoints.
    ///
    /// # Errors
    /// When it takes too long.
    pub(super) fn scale(&self, replicas: usize) -> Result<()> {
        let scale = format!("scale statefulset/web --replicas {replicas}");
        self.session.kubectl(&scale)?;
        self.session
            .wait("kubelet", &format!("{replicas} ready endpoints"), || {
                Ok(self.endpoints()?.len() == replicas)
            })
    }

    /// The addresses of the ready endpoints, as the API has them.
    ///
    /// # Errors
    /// When one is no IPv4 address.
    pub(super) fn endpoints(&self) -> Result<Addresses> {
        let path = "get endpointslices -l kubernetes.io/service-name=nginx-headless -o \
            jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}";
        addresses(&self.session.kubectl(path)?)
    }

    /// The addresses that the client pod gets for the headless Service.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) fn resolved(&self) -> Result<Addresses> {
        let names = [(Self::service(), "A".to_owned())];
        let answers = ask::once(self.client, CLUSTER_DNS, &names)?;
        let words = answers
            .iter()
            .flat_map(|answer| answer.split("; answer ").skip(1));
        let last: Vec<_> = words
            .filter_map(|record| record.split(' ').next_back())
            .collect();
        addresses(&last.join(" "))
    }

    /// Waits until the client pod gets the API's addresses.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) fn wait_for_dns(&self) -> Result<Addresses> {
        self.session
            .wait("kubelet", "DNS to follow the endpoints", || {
                Ok(self.resolved()? == self.endpoints()?)
            })?;
        self.resolved()
    }

    /// All questions, with the reverse names of the endpoints and of Services.
    ///
    /// # Errors
    /// When the API does not answer.
    pub(super) fn questions(&self) -> Result<Vec<(String, String)>> {
        let names = NAMES
            .iter()
            .map(|(name, kind)| (qualified(name), (*kind).to_owned()));
        let mut questions: Vec<_> = names.collect();
        let services = "get services -A -o jsonpath={.items[*].spec.clusterIP}";
        let services = self.session.kubectl(services)?.replace("None", "");
        let all = self
            .endpoints()?
            .0
            .into_iter()
            .chain(addresses(&services)?.0);
        for address in all.chain([self.coredns, Ipv4Addr::new(10, 244, 0, 253)]) {
            questions.push((reverse(address), "PTR".to_owned()));
            let dashed = address.to_string().replace('.', "-");
            questions.push((format!("{dashed}.default.pod.{ZONE}."), "A".to_owned()));
        }
        Ok(questions)
    }

    /// What the client pod gets.
    ///
    /// # Errors
    /// When an answer is missing.
    pub(super) fn seen_by_pod(&self, questions: &[(String, String)]) -> Result<Vec<String>> {
        ask::once(self.client, CLUSTER_DNS, questions)
    }

    /// `CoreDNS`'s own answers: asked from the node, where no program sees the query.
    ///
    /// # Errors
    /// When an answer is missing.
    pub(super) fn coredns_answers(&self, questions: &[(String, String)]) -> Result<Vec<String>> {
        ask::once(self.session.node_process(), self.coredns, questions)
    }

    /// The names that `nslookup` of the client pod finds for an address.
    ///
    /// # Errors
    /// When it finds none.
    pub(super) fn reverse_names(&self, address: Ipv4Addr, server: Ipv4Addr) -> Result<String> {
        let output = self.shell(&format!("nslookup {address} {server}"))?;
        let names = output.lines().filter_map(|line| line.split_once("name = "));
        let names: BTreeSet<_> = names.map(|(_, name)| name.trim().to_owned()).collect();
        Ok(names.into_iter().collect::<Vec<_>>().join(" "))
    }

    /// Asks for names that the kernel answers, from the client pod. `expected` are the right
    /// answers.
    ///
    /// # Errors
    /// When the client does not start.
    pub(super) fn ask(&self, count: u64, pause: Duration, expected: &[String]) -> Result<Asking> {
        let questions = Questions {
            server: CLUSTER_DNS,
            names: Self::in_zone(),
            count,
            pause,
            expected: expected.to_vec(),
        };
        Asking::start(self.client, &questions)
    }

    /// Names in the zone that the kernel answers.
    pub(super) fn in_zone() -> Vec<(String, String)> {
        let names = [
            "nginx-headless",
            "web",
            "web-0.nginx-headless",
            "no-such-service",
        ];
        names
            .iter()
            .map(|name| (qualified(name), "A".to_owned()))
            .collect()
    }

    /// Makes a web server not ready, or ready again, and waits until the API says so.
    ///
    /// # Errors
    /// When it takes too long.
    pub(super) fn set_ready(&self, pod: &str, ready: bool) -> Result<()> {
        let verb = if ready { "touch" } else { "rm" };
        let count = self.endpoints()?.len();
        self.session.shell(pod, &format!("{verb} /www/ready"))?;
        let wanted = if ready {
            count + 1
        } else {
            count.saturating_sub(1)
        };
        self.session
            .wait("kubelet", &format!("{wanted} ready endpoints"), || {
                Ok(self.endpoints()?.len() == wanted)
            })
    }
}

/// A set of addresses, shown in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses(pub(super) BTreeSet<Ipv4Addr>);

impl Addresses {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<_> = self.0.iter().map(Ipv4Addr::to_string).collect();
        formatter.write_str(&words.join(" "))
    }
}

/// The addresses between spaces.
pub(super) fn addresses(text: &str) -> Result<Addresses> {
    let parse = |word: &str| {
        word.parse()
            .with_context(|| format!("{word} is no address"))
    };
    text.split_whitespace()
        .map(parse)
        .collect::<Result<_>>()
        .map(Addresses)
}

/// The addresses in `nslookup`'s output, without the server's.
pub(super) fn nslookup_addresses(output: &str) -> Result<Addresses> {
    let mut answers = output.lines().skip_while(|line| !line.starts_with("Name:"));
    let mut found = Vec::new();
    for line in answers.by_ref() {
        found.extend(line.strip_prefix("Address:").map(str::trim));
    }
    addresses(&found.join(" "))
}

fn qualified(name: &str) -> String {
    if name.ends_with('.') {
        name.to_owned()
    } else {
        format!("{name}.default.svc.{ZONE}.")
    }
}

fn reverse(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
}

/// The name outside of the zone that the upstream knows.
pub(super) fn external() -> Vec<(String, String)> {
    vec![(format!("{EXTERNAL_NAME}."), "A".to_owned())]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_server_is_no_answer() {
        let output = "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10:53\n\n\
                      Name:\tnginx-headless.default.svc.cluster.local\nAddress: 10.244.0.4\n\
                      Name:\tnginx-headless.default.svc.cluster.local\nAddress: 10.244.0.3\n\n\
                      ** server can't find nginx-headless.svc.cluster.local: NXDOMAIN\n";
        let found = nslookup_addresses(output).unwrap();
        assert_eq!(found.to_string(), "10.244.0.3 10.244.0.4");
        assert!(addresses("10.244.0.3 x").is_err());
    }

    #[test]
    fn names_are_qualified_and_reversed() {
        assert_eq!(qualified("a"), "a.default.svc.cluster.local.");
        assert_eq!(qualified("a.b."), "a.b.");
        assert_eq!(reverse([10, 244, 0, 3].into()), "3.0.244.10.in-addr.arpa.");
    }
}
