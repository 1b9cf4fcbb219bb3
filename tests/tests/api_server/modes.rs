//! Annotations and labels decide which pods are answered.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use headless_tests::agent::Agent;
use headless_tests::control_plane::objects::{headless, pod_on, running, service, slice};
use headless_tests::control_plane::{API, account, eventually};
use headless_tests::decode;
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Node, Pod};
use headless_tests::scene::{Scene, run};
use k8s_openapi::api::core::v1;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::failures::without;

pub(super) const NODE: &str = "node-1";

const NAME: &str = "web.default.svc.cluster.local";

/// The agent's responder, to which packets go that the kernel passes.
const RESPONDER: [u8; 4] = [169, 254, 20, 10];

/// The entry of an interface in the status.
fn interface(agent: &Agent<'_>, name: &str) -> Value {
    let status = agent.status();
    let interfaces = status["interfaces"].as_array().unwrap();
    let found = interfaces.iter().find(|it| it["name"] == name);
    found.cloned().unwrap_or_default()
}

/// Waits until an interface has this mode for this reason, and the programs of the mode.
pub(super) async fn has(scene: &Scene<'_>, agent: &Agent<'_>, name: &str, mode: &str, cause: &str) {
    let states = match mode {
        "on" => ["attached", "attached"],
        "observe" => ["unused", "observing"],
        _ => ["off", "off"],
    };
    eventually(async || {
        let found = interface(agent, name);
        let is = [
            &found["mode"],
            &found["cause"],
            &found["xdp"]["state"],
            &found["tc"]["state"],
        ];
        if is == [mode, cause, states[0], states[1]] {
            Ok(())
        } else {
            Err(format!("{mode} by {cause}: {found:#}\n{}", agent.log()))
        }
    })
    .await;
    let programs = usize::from(mode != "off");
    assert_eq!(
        scene.node.tc_programs(name).len(),
        programs,
        "{name} {mode}"
    );
    assert_eq!(
        scene.node.xdp_program(name).is_some(),
        mode == "on",
        "{name} {mode}"
    );
}

async fn annotate_namespace(scene: &Scene<'_>, name: &str, mode: Option<&str>) {
    let api = Api::<v1::Namespace>::all(scene.cluster.0.clone());
    let patch = json!({ "metadata": { "annotations": { "headless.io/mode": mode } } });
    let params = PatchParams::default();
    api.patch(name, &params, &Patch::Merge(patch))
        .await
        .unwrap();
}

async fn annotate(scene: &Scene<'_>, name: &str, mode: Option<&str>) {
    let patch = json!({ "metadata": { "annotations": { "headless.io/mode": mode } } });
    scene
        .cluster
        .patch::<v1::Pod>("default", name, &patch)
        .await;
}

/// A Service with an address, and an agent that knows its node.
async fn started<'a>(scene: &Scene<'a>, arguments: &[&str]) -> Agent<'a> {
    scene.cluster.create(&service("web", &headless())).await;
    let endpoints = [("10.0.0.1", None)];
    scene
        .cluster
        .create(&slice("web-1", "web", &endpoints))
        .await;
    let own = ["--node-name", NODE, "--hook", "xdp"];
    scene.agent(&[&own[..], arguments].concat()).await
}

/// A pod in the API and its interface.
pub(super) async fn running_pod(
    scene: &Scene<'_>,
    name: &str,
    number: u8,
    mode: Option<&str>,
) -> Pod {
    let pod = scene.node.pod(&format!("veth-{name}"), number);
    scene.cluster.create(&pod_on(NODE, name, mode)).await;
    let address = format!("10.244.0.{number}");
    scene.cluster.set_status(name, &running(&[&address])).await;
    pod
}

/// Asks the responder's address without an end while `work` goes on. Each question must be
/// answered with the right address, whoever answers.
fn while_asking(pod: &Pod, work: impl AsyncFnOnce()) -> u64 {
    let asking = AtomicBool::new(true);
    let ask = || {
        let client = pod.client_of(RESPONDER.into());
        let mut asked = 0_u64;
        while asking.load(Ordering::Relaxed) {
            let reply = client.ask(&Query::new(NAME, qtype::A));
            let reply = reply.unwrap_or_else(|| panic!("query {asked} is lost"));
            let right: IpAddr = "10.0.0.1".parse().unwrap();
            assert_eq!(decode::addresses(&reply.answers), [right], "query {asked}");
            asked += 1;
        }
        asked
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(ask);
        let handle = tokio::runtime::Handle::current();
        let work = || tokio::task::block_in_place(|| handle.block_on(work()));
        let worked = catch_unwind(AssertUnwindSafe(work));
        asking.store(false, Ordering::Relaxed);
        let asked = thread.join().unwrap();
        worked.unwrap();
        asked
    })
}

#[test]
fn an_annotation_changes_the_mode_of_a_pod_and_no_question_is_lost() {
    run(&[], async |scene| {
        let pod = running_pod(&scene, "a", 9, Some("off")).await;
        let _other = running_pod(&scene, "b", 10, None).await;
        let agent = started(&scene, &[]).await;
        has(&scene, &agent, "veth-a", "off", "pod_annotation").await;
        has(&scene, &agent, "veth-b", "on", "node").await;
        assert_eq!(interface(&agent, "veth-a")["pod"], "default/a");
        let asked = while_asking(&pod, async || {
            for round in 0..3 {
                for (mode, cause) in [
                    (Some("observe"), "pod_annotation"),
                    // While all pods have the mode of the node, nobody looks where they are.
                    (Some("on"), "node"),
                    (Some("off"), "pod_annotation"),
                    (None, "node"),
                    (Some("observe"), "pod_annotation"),
                    (Some("off"), "pod_annotation"),
                ] {
                    annotate(&scene, "a", mode).await;
                    let before = agent.kernel_answers();
                    has(&scene, &agent, "veth-a", mode.unwrap_or("on"), cause).await;
                    if mode != Some("off") && mode != Some("observe") {
                        eventually(async || match agent.kernel_answers() {
                            after if after > before => Ok(()),
                            _ => Err(format!("round {round}: no answer of the kernel")),
                        })
                        .await;
                    }
                }
            }
        });
        let answered = agent.kernel_answers();
        let observed = agent.number("/passes/observed");
        assert!(
            answered > 0 && observed > 0,
            "{answered} {observed} of {asked}"
        );
        assert!(answered + observed < asked, "what is off is not counted");
    });
}

#[test]
fn namespaces_and_selectors_decide_where_the_pod_says_nothing() {
    run(&[], async |scene| {
        let _pods = [
            running_pod(&scene, "a", 9, None).await,
            running_pod(&scene, "b", 10, Some("on")).await,
            running_pod(&scene, "c", 11, None).await,
        ];
        let selectors = ["--mode-selector", "observe=app in (c,d);off=app=b"];
        let agent = started(&scene, &selectors).await;
        has(&scene, &agent, "veth-a", "on", "node").await;
        has(&scene, &agent, "veth-b", "on", "pod_annotation").await;
        has(&scene, &agent, "veth-c", "observe", "selector").await;
        annotate_namespace(&scene, "default", Some("off")).await;
        has(&scene, &agent, "veth-a", "off", "namespace_annotation").await;
        has(&scene, &agent, "veth-b", "on", "pod_annotation").await;
        has(&scene, &agent, "veth-c", "off", "namespace_annotation").await;
        let status = agent.status();
        assert_eq!(
            status["policy"]["pods"],
            json!({ "on": 1, "observe": 0, "off": 2 })
        );
        let table = agent.run(&["status"]);
        assert!(
            table.contains("mode on  pods 1 on, 0 observe, 2 off"),
            "{table}"
        );

        annotate_namespace(&scene, "default", Some("Off")).await;
        has(&scene, &agent, "veth-a", "on", "node").await;
        has(&scene, &agent, "veth-c", "observe", "selector").await;
        let problem = "Namespace default: annotation headless.io/mode: `Off` is none of on";
        assert!(agent.problems().contains(problem), "{}", agent.problems());
        annotate_namespace(&scene, "default", None).await;
        eventually(async || match agent.problems() {
            problems if problems.contains("Off") => Err(problems),
            _ => Ok(()),
        })
        .await;
    });
}

/// Makes the pod's interface a port of a bridge, as the CNI plugin `bridge` does.
fn bridge(node: &Node, pod: &Pod) {
    let end = &pod.host_end;
    for arguments in [
        &*format!("addr del 10.0.0.1/32 dev {end}"),
        &format!("link set {end} master br0"),
    ] {
        node.ip(arguments);
    }
}

#[test]
fn pods_behind_a_bridge_are_told_apart_by_neighbours() {
    run(&[], async |scene| {
        let node = scene.node;
        for arguments in [
            "link add br0 type bridge",
            "link set br0 up",
            "addr add 10.0.0.1/32 dev br0",
            "route add 10.244.0.0/24 dev br0 src 10.0.0.1",
        ] {
            node.ip(arguments);
        }
        let first = running_pod(&scene, "a", 9, Some("off")).await;
        let second = running_pod(&scene, "b", 10, None).await;
        for pod in [&first, &second] {
            bridge(node, pod);
        }
        node.ip("route flush dev veth-a");
        node.ip("route flush dev veth-b");
        let agent = started(&scene, &[]).await;
        // Nobody has talked to the pod yet, so its interface is new, and then unknown.
        has(&scene, &agent, "veth-a", "off", "new_interface").await;
        let policy = &agent.status()["policy"];
        assert_eq!(policy["untold"], json!(["default/a"]));
        let problems = agent.problems();
        assert!(
            problems.contains("the interfaces of 1 pods are not known"),
            "{problems}"
        );
        for pod in [&first, &second] {
            // The question passes, and its reply needs the pod's Ethernet address.
            let reply = pod
                .client_of(RESPONDER.into())
                .ask(&Query::new(NAME, qtype::A));
            assert!(reply.is_some());
        }
        has(&scene, &agent, "veth-a", "off", "pod_annotation").await;
        has(&scene, &agent, "veth-b", "on", "node").await;
        // What was told stays told when the neighbours are forgotten.
        node.ip("neigh flush all");
        annotate(&scene, "a", Some("observe")).await;
        has(&scene, &agent, "veth-a", "observe", "pod_annotation").await;
        assert_eq!(agent.status()["policy"]["untold"], json!([]));
    });
}

/// The API knows that a pod is to come before its interface exists, and its address only after.
#[test]
fn a_pod_that_is_off_is_never_answered_while_it_starts() {
    run(&[], async |scene| {
        let agent = started(&scene, &[]).await;
        let cluster_dns = scene.node.cluster_dns();
        scene.cluster.create(&pod_on(NODE, "a", Some("off"))).await;
        eventually(async || match &agent.status()["policy"]["pods"]["off"] {
            off if *off == 1 => Ok(()),
            off => Err(off.to_string()),
        })
        .await;
        let pod = scene.node.pod("veth-a", 9);
        let other = scene.node.pod("veth-b", 10);
        for (pod, name) in [(&pod, "veth-a"), (&other, "veth-b")] {
            let client = pod.client();
            for _ in 0..3 {
                client.send(&Query::new(NAME, qtype::A));
                cluster_dns.answer();
                assert!(client.receive().is_some());
            }
            has(&scene, &agent, name, "off", "new_interface").await;
        }
        // The other pod is known by its own address.
        scene.cluster.create(&pod_on(NODE, "b", None)).await;
        scene
            .cluster
            .set_status("b", &running(&["10.244.0.10"]))
            .await;
        has(&scene, &agent, "veth-b", "on", "node").await;
        scene
            .cluster
            .set_status("a", &running(&["10.244.0.9"]))
            .await;
        has(&scene, &agent, "veth-a", "off", "pod_annotation").await;
        assert_eq!(agent.kernel_answers(), 0);
        // Now nobody is expected, and a new interface does not wait.
        let _third = scene.node.pod("veth-c", 11);
        has(&scene, &agent, "veth-c", "on", "node").await;
        scene.cluster.delete::<v1::Pod>("default", "a").await;
        scene
            .cluster
            .create(&pod_on("node-2", "other", Some("off")))
            .await;
        has(&scene, &agent, "veth-a", "on", "node").await;
    });
}

#[test]
fn without_the_right_to_see_pods_the_mode_of_the_node_holds() {
    run(&[], async |scene| {
        let _pod = running_pod(&scene, "a", 9, Some("off")).await;
        let lack = |manifest: &mut Value| {
            for verb in ["list", "watch"] {
                without("pods", verb)(manifest);
            }
        };
        let token = account::token(&scene.cluster.0, &["base"], lack).await;
        let mut agent = scene.spawn(API, &token, &["--node-name", NODE, "--hook", "xdp"]);
        agent.ready();
        has(&scene, &agent, "veth-a", "on", "node").await;
        let problems = agent.problems();
        let expected = "the modes of pods are not known, and the mode on holds: not allowed to";
        assert!(problems.contains(expected), "{problems}");
        assert!(problems.contains("pods (403)"), "{problems}");
        // Records need no pods: names are denied.
        assert_eq!(agent.status()["complete"], true);
        assert_eq!(agent.status()["age"], 0.0);
        let errors = r#"headless_watch_errors_total{kind="Pod",reason="forbidden"}"#;
        assert!(headless_tests::scene::count(&agent, errors) >= 1);
        scene.token().await;
        has(&scene, &agent, "veth-a", "off", "pod_annotation").await;
        eventually(async || match agent.problems() {
            problems if problems.contains("403") => Err(problems),
            _ => Ok(()),
        })
        .await;
    });
}
