//! Missing rights, unknown tokens and objects that cannot be served are reported.

use headless_tests::agent::Agent;
use headless_tests::control_plane::objects::{headless, service, slice};
use headless_tests::control_plane::{API, account, eventually};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::Fate;
use hickory_proto::op::ResponseCode;
use serde_json::{Value, json};

use headless_tests::scene::{addresses, count, run};

/// Waits until `/readyz` has status 503 and contains all of `texts`.
async fn unready(agent: &Agent<'_>, texts: &[&str]) {
    eventually(async || match agent.get("/readyz") {
        Ok((503, body)) if texts.iter().all(|text| body.contains(text)) => Ok(()),
        other => Err(format!("{other:?}\n{}", agent.log())),
    })
    .await;
}

/// A change of a role that removes a verb on a resource.
pub(crate) fn without(resource: &str, verb: &str) -> impl Fn(&mut Value) {
    move |manifest| {
        let Some(rules) = manifest.get_mut("rules").and_then(Value::as_array_mut) else {
            return;
        };
        for rule in &mut *rules {
            let resources = rule["resources"].as_array().unwrap();
            if resources.contains(&json!(resource)) {
                let verbs = rule["verbs"].as_array_mut().unwrap();
                verbs.retain(|other| other != verb);
            }
        }
        // The API has no rule without verbs.
        rules.retain(|rule| rule["verbs"] != json!([]));
    }
}

#[test]
fn a_missing_right_is_named_and_the_watch_succeeds_once_it_is_granted() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        cluster.create(&service("web", &headless())).await;
        cluster
            .create(&slice("web-1", "web", &[("10.0.0.1", None)]))
            .await;
        let lack = without("endpointslices", "watch");
        let token = account::token(&cluster.0, &["base"], lack).await;
        let mut agent = scene.spawn(API, &token, &[]);
        let expected = [
            "endpointslices synced: not allowed to watch endpointslices.discovery.k8s.io (403)",
            "User \"system:serviceaccount:kube-system:headless-agent\" cannot watch resource",
        ];
        unready(&agent, &expected).await;
        // The refusal may come before the Services are read.
        eventually(async || match agent.get("/readyz") {
            Ok((503, body)) if !body.contains("services synced") => Ok(()),
            other => Err(format!("{other:?}\n{}", agent.log())),
        })
        .await;
        let log = agent.log();
        assert!(
            log.contains("not allowed to watch endpointslices.discovery.k8s.io"),
            "{log}"
        );
        let problems = agent.problems();
        assert!(
            problems.contains("not allowed to watch endpointslices"),
            "{problems}"
        );
        let errors = r#"headless_watch_errors_total{kind="EndpointSlice",reason="forbidden"}"#;
        assert!(count(&agent, errors) >= 1);

        scene.token().await;
        eventually(async || match agent.get("/readyz") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        agent.ready();
        addresses("web.default.svc.cluster.local", &["10.0.0.1"]).await;
    });
}

#[test]
fn an_unknown_token_is_reported_and_the_next_token_works() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        cluster.create(&service("web", &headless())).await;
        cluster
            .create(&slice("web-1", "web", &[("10.0.0.1", None)]))
            .await;
        // This agent gets its access by options, not by a kubeconfig.
        let file = scene.plane.file("token", "nobody");
        let server = format!("https://127.0.0.1:{API}");
        let ca = scene.plane.ca();
        let mut agent = Agent::spawn(
            scene.node,
            &[
                "--api-server",
                &server,
                "--api-ca",
                &ca,
                "--api-token-file",
                &file,
                "--listen",
                "169.254.20.10",
            ],
        );
        let expected = [
            // The number of slices decides what is watched, so it is asked for until it is known.
            "endpointslices synced: the API server does not know who asks to list \
             endpointslices.discovery.k8s.io (401)",
        ];
        unready(&agent, &expected).await;
        let errors = r#"headless_watch_errors_total{kind="EndpointSlice",reason="unauthorized"}"#;
        assert!(count(&agent, errors) >= 1);
        agent.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(agent.wait().success());

        scene.plane.file("token", &scene.token().await);
        let arguments = [
            "--api-server",
            &server,
            "--api-ca",
            &ca,
            "--api-token-file",
            &file,
            "--listen",
            "169.254.20.10",
        ];
        let mut agent = Agent::spawn(scene.node, &arguments);
        agent.ready();
        addresses("web.default.svc.cluster.local", &["10.0.0.1"]).await;
    });
}

#[test]
fn objects_that_cannot_be_served_are_reported_once() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        let mut odd = slice("odd-1", "odd", &[("10.0.0.1", None)]);
        let labels = odd.metadata.labels.as_mut().unwrap();
        labels.remove("kubernetes.io/service-name");
        cluster.create(&odd).await;
        cluster
            .create(&slice("lost-1", "lost", &[("10.0.0.2", None)]))
            .await;
        let agent = scene.agent(&[]).await;
        cluster.set_addresses("odd-1", &["10.0.0.3"]).await;
        cluster.create(&service("web", &headless())).await;
        cluster
            .create(&slice("web-1", "web", &[("10.0.0.1", None)]))
            .await;
        addresses("web.default.svc.cluster.local", &["10.0.0.1"]).await;
        let problem = "EndpointSlice default/odd-1";
        assert_eq!(agent.log().matches(problem).count(), 1, "{}", agent.log());
        let problems = agent.problems();
        assert!(problems.contains(problem), "{problems}");
        let problem = "EndpointSlice default/lost-1: Service default/lost does not exist";
        assert!(problems.contains(problem), "{problems}");
    });
}

/// Until the agent has read everything, no program is attached, and every query of a pod
/// reaches the cluster's DNS.
#[test]
fn nothing_is_answered_before_everything_is_read() {
    run(&[], async |scene| {
        let (cluster, node) = (&scene.cluster, scene.node);
        cluster.create(&service("web", &headless())).await;
        cluster
            .create(&slice("web-1", "web", &[("10.0.0.1", None)]))
            .await;
        let pod = node.pod("veth1", 9);
        let cluster_dns = node.cluster_dns();
        let lack = without("endpointslices", "watch");
        let token = account::token(&cluster.0, &["base"], lack).await;
        let kubeconfig = scene.plane.kubeconfig(API, &token);
        let mut agent = Agent::spawn(node, &["--kubeconfig", &kubeconfig]);
        unready(&agent, &["endpointslices synced: not allowed to watch"]).await;

        let web = Query::new("web.default.svc.cluster.local", qtype::A);
        let nodata = Query {
            qtype: qtype::AAAA,
            ..web.clone()
        };
        let missing = Query::new("nope.default.svc.cluster.local", qtype::A);
        let client = pod.client();
        for query in [&web, &nodata, &missing] {
            client.send(query);
            assert_eq!(cluster_dns.answer(), query.message());
            assert!(client.receive().is_some(), "a reply of the cluster's DNS");
        }
        assert_eq!(node.xdp_program(&pod.host_end), None);
        assert_eq!(node.tc_programs(&pod.host_end), [""; 0]);
        assert_eq!(agent.kernel_answers(), 0);
        assert_eq!(agent.status()["synced"], false);

        scene.token().await;
        eventually(async || match agent.get("/readyz") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        agent.ready();
        let answers = |query| match client.follow(query, &cluster_dns) {
            Fate::Answered(reply) => (reply.metadata.response_code, reply.answers.len()),
            Fate::Passed => panic!("passed: {query:?}"),
        };
        assert_eq!(answers(&web), (ResponseCode::NoError, 1));
        assert_eq!(answers(&nodata), (ResponseCode::NoError, 0));
        assert_eq!(answers(&missing), (ResponseCode::NXDomain, 0));
        assert_eq!(agent.kernel_answers(), 3);
    });
}
