//! An API server stops sending without closing its connections.

use std::net::TcpListener;

use headless_tests::agent::Agent;
use headless_tests::control_plane::line::Line;
use headless_tests::control_plane::objects::{Cluster, headless, service, slice};
use headless_tests::control_plane::{API, FAR_ADDRESS, eventually};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Client, ClusterDns, Fate};
use hickory_proto::op::ResponseCode;

use headless_tests::scene::{addresses, ask, behind, count, missing, refused, run};

/// A name that exists.
const WEB: &str = "web.default.svc.cluster.local";

/// A name that does not exist.
const NONE: &str = "nope.default.svc.cluster.local";

async fn fill(cluster: &Cluster) {
    cluster.create(&service("web", &headless())).await;
    let endpoints = [("10.0.0.1", None)];
    cluster.create(&slice("web-1", "web", &endpoints)).await;
}

/// Waits until `/readyz` has this status and contains `text`.
async fn readyz(agent: &Agent<'_>, status: u16, text: &str) {
    eventually(async || match agent.get("/readyz") {
        Ok((found, body)) if found == status && body.contains(text) => Ok(()),
        other => Err(format!("{other:?}\n{}", agent.log())),
    })
    .await;
}

/// The RCODE of the programs' answer; `None` if the query passes.
fn kernel(
    client: &Client,
    cluster_dns: &ClusterDns,
    name: &str,
    qtype: u16,
) -> Option<ResponseCode> {
    match client.follow(&Query::new(name, qtype), cluster_dns) {
        Fate::Answered(reply) => Some(reply.metadata.response_code),
        Fate::Passed => None,
    }
}

#[test]
fn after_the_maximum_age_names_are_answered_and_nothing_is_denied() {
    run(&[], async |scene| {
        fill(&scene.cluster).await;
        let pod = scene.node.pod("veth1", 9);
        let cluster_dns = scene.node.cluster_dns();
        let client = pod.client();
        let arguments = ["--source-max-age-deny", "10s"];
        let agent = scene.agent(&arguments).await;
        let asked = |name, qtype| kernel(&client, &cluster_dns, name, qtype);
        assert_eq!(asked(NONE, qtype::A), Some(ResponseCode::NXDomain));
        assert_eq!(asked(WEB, qtype::AAAA), Some(ResponseCode::NoError));

        scene.plane.freeze_server();
        readyz(
            &agent,
            503,
            "the API server has sent nothing on the watch of",
        )
        .await;
        assert_eq!(asked(NONE, qtype::A), None);
        assert_eq!(asked(WEB, qtype::AAAA), None);
        assert_eq!(asked(WEB, qtype::A), Some(ResponseCode::NoError));
        assert_eq!(ask(WEB, qtype::A).answers.len(), 1);
        assert!(refused(NONE, qtype::A));
        assert_eq!(count(&agent, "headless_complete"), 0);
        assert_eq!(count(&agent, "headless_source_current"), 0);
        assert!(agent.status()["silence"].as_f64().unwrap() > 10.0);
        let problems = agent.problems();
        assert!(
            problems.contains("negative answers are withheld"),
            "{problems}"
        );
        // The agent's next request gets no response, which counts as a failure.
        eventually(async || behind(&agent).then_some(()).ok_or("no failure".to_owned())).await;
        assert_eq!(agent.get("/livez").unwrap().0, 200);

        scene.plane.thaw_server();
        readyz(&agent, 200, "ok").await;
        missing(NONE).await;
        eventually(async || match asked(NONE, qtype::A) {
            Some(ResponseCode::NXDomain) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        scene.cluster.set_addresses("web-1", &["10.0.0.2"]).await;
        addresses(WEB, &["10.0.0.2"]).await;
    });
}

/// Without changes a healthy API server sends nothing either. The agent requests the
/// watches anew before their silence counts, so denials go on.
#[test]
fn names_of_a_quiet_cluster_are_denied_for_ever() {
    run(&[], async |scene| {
        fill(&scene.cluster).await;
        let arguments = ["--source-max-age-deny", "10s"];
        let agent = scene.agent(&arguments).await;
        missing(NONE).await;
        // Twice as long as a watch may be silent.
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        assert_eq!(count(&agent, "headless_source_current"), 1);
        assert!(!behind(&agent), "{}", agent.log());
        assert_eq!(count(&agent, "headless_complete"), 1);
        let lists = r#"headless_watch_events_total{kind="Service",event="list"}"#;
        assert_eq!(
            count(&agent, lists),
            1,
            "the new watches continue without a list"
        );
    });
}

/// The API server's node vanishes, as if it lost its power: no packet of the connections
/// arrives in either direction.
#[test]
fn keepalive_probes_notice_a_vanished_api_server() {
    run(&[], async |scene| {
        fill(&scene.cluster).await;
        let far = scene.node.pod("veth-far", 20);
        let address = format!("{FAR_ADDRESS}:{API}");
        let listener = far.within(|| Ok(TcpListener::bind(&address)?)).unwrap();
        let _line = Line::from(listener, API);
        let server = format!("https://{address}");
        let (ca, token) = (scene.plane.ca(), scene.token().await);
        let token = scene.plane.file("token", &token);
        let mut agent = Agent::spawn(
            scene.node,
            &[
                "--api-server",
                &server,
                "--api-ca",
                &ca,
                "--api-token-file",
                &token,
                "--listen",
                "169.254.20.10",
            ],
        );
        agent.ready();
        addresses(WEB, &["10.0.0.1"]).await;
        assert!(!behind(&agent));
        let output = far.run("ip", &["link", "set", "eth0", "down"]);
        assert!(output.status.success(), "{output:?}");
        // `eventually` waits for one minute. Without keepalive probes the agent would
        // notice nothing until the watches have been silent for 80 seconds.
        eventually(async || behind(&agent).then_some(()).ok_or("no failure".to_owned())).await;
        let errors = r#"headless_watch_errors_total{kind="Service",reason="unreachable"}"#;
        // The watches have connections of their own, which do not end at the same time.
        eventually(async || match count(&agent, errors) {
            0 => Err("the watch of services has not failed".to_owned()),
            _ => Ok(()),
        })
        .await;
    });
}
