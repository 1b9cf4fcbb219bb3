//! First part of the demo: the answers that resolvers in the client's pod get.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Output;

use anyhow::{Result, ensure};

use super::cluster::{Cluster, WEB};
use super::screen::Screen;

/// The headless Service's name within its namespace.
pub(crate) const SERVICE: &str = "nginx-headless";

/// The headless Service's full name.
pub(crate) const SERVICE_NAME: &str = "nginx-headless.default.svc.cluster.local";

/// The address of the ordinary Service in `deploy/demo/frontend.yaml`.
const FRONTEND: Ipv4Addr = Ipv4Addr::new(10, 96, 93, 17);

/// The least number of queries that the commands below send: seven for IPv4 addresses, and
/// as many for IPv6 addresses, which glibc and busybox ask for, too.
const QUERIES_MIN: u64 = 7;

/// Runs lookups and requests, checks their output, and checks by the counters that the
/// kernel answered.
///
/// # Errors
/// When a command fails or its output has other addresses than the manifests.
pub(crate) async fn show(cluster: &Cluster, screen: Screen) -> Result<()> {
    let before = cluster.answers().await?;
    let web = WEB.map(|(_, address)| address);

    screen.heading("The headless Service has the addresses of its ready pods")?;
    let line = format!("busybox nslookup {SERVICE_NAME}");
    let output = cluster.show(screen, &line).await?;
    ensure!(output.status.success(), "`{line}` failed");
    verify(screen, "nslookup", &nslookup_addresses(&output), &web)?;

    // busybox asks in every domain of the search list, and fails when one of them does not
    // have the name. So only its output counts here, not its exit status.
    let output = cluster
        .show(screen, &format!("busybox nslookup {SERVICE}"))
        .await?;
    verify(screen, "nslookup", &nslookup_addresses(&output), &web)?;

    screen.heading("The C library, as most programs ask")?;
    let line = format!("getent ahostsv4 {SERVICE}");
    let output = cluster.show(screen, &line).await?;
    ensure!(output.status.success(), "`{line}` failed");
    verify(screen, "getaddrinfo", &first_words(&output), &web)?;

    let line = "getent ahostsv4 frontend";
    let output = cluster.show(screen, line).await?;
    ensure!(output.status.success(), "`{line}` failed");
    verify(screen, "the ClusterIP", &first_words(&output), &[FRONTEND])?;

    screen.heading("Each pod of the StatefulSet has a name")?;
    for (pod, _) in WEB {
        let line = format!("busybox wget -qO- http://{pod}.{SERVICE}/");
        let output = cluster.show(screen, &line).await?;
        let page = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && page.trim() == pod,
            "`{line}` reached {:?} instead of {pod}",
            page.trim()
        );
    }
    screen.verified("each name led to its pod")?;

    screen.heading("The counters say who answered")?;
    let answers = cluster.answers().await?.since(before);
    screen.output(&format!(
        "answers by the kernel: {}\nanswers by the agent:  {}",
        answers.kernel, answers.agent
    ))?;
    ensure!(
        answers.kernel >= QUERIES_MIN,
        "the kernel answered only {} of at least {QUERIES_MIN} queries",
        answers.kernel
    );
    screen.verified("the kernel answered what the pod asked")
}

/// Compares the addresses that a command printed with the expected ones.
pub(crate) fn verify(
    screen: Screen,
    what: &str,
    found: &BTreeSet<Ipv4Addr>,
    expected: &[Ipv4Addr],
) -> Result<()> {
    let expected: BTreeSet<_> = expected.iter().copied().collect();
    ensure!(
        *found == expected,
        "{what} found {}, not {}",
        listed(found),
        listed(&expected)
    );
    screen.verified(&format!("{what} found {}", listed(found)))
}

/// `10.0.0.22, 10.0.0.23`.
pub(crate) fn listed(addresses: &BTreeSet<Ipv4Addr>) -> String {
    if addresses.is_empty() {
        return String::from("nothing");
    }
    let words: Vec<_> = addresses.iter().map(Ipv4Addr::to_string).collect();
    words.join(", ")
}

/// The addresses that busybox's nslookup prints in lines `Address: A`. The server's line
/// has a port, too, and is left out.
pub(crate) fn nslookup_addresses(output: &Output) -> BTreeSet<Ipv4Addr> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("Address:")?.trim().parse().ok())
        .collect()
}

/// The addresses at the start of the lines that `getent ahostsv4` prints.
fn first_words(output: &Output) -> BTreeSet<Ipv4Addr> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    fn output(text: &str) -> Output {
        Output {
            status: ExitStatus::from_raw(0),
            stdout: text.as_bytes().to_vec(),
            stderr: Vec::new(),
        }
    }

    #[test]
    fn nslookup_output_without_the_server() {
        let text = "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10:53\n\n\
                    Name:\ta.example\nAddress: 10.0.0.22\nName:\ta.example\nAddress: 10.0.0.39\n";
        let found = nslookup_addresses(&output(text));
        assert_eq!(listed(&found), "10.0.0.22, 10.0.0.39");
    }

    #[test]
    fn getent_output() {
        let text = "10.0.0.22       STREAM a.example\n10.0.0.22       DGRAM  \n10.0.0.23 RAW\n";
        assert_eq!(listed(&first_words(&output(text))), "10.0.0.22, 10.0.0.23");
    }

    #[test]
    fn other_addresses_are_an_error() {
        let found = BTreeSet::from([Ipv4Addr::new(10, 0, 0, 22)]);
        let error = verify(Screen::new(), "x", &found, &WEB.map(|(_, address)| address));
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "x found 10.0.0.22, not 10.0.0.22, 10.0.0.23, 10.0.0.39"
        );
    }
}
