//! The manifests of `deploy/`: the API server accepts them, and they grant the agent what
//! it needs and no more.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use headless_tests::agent::Agent;
use headless_tests::control_plane::API;
use headless_tests::control_plane::account::{apply, folder, manifests, patches, resources};
use headless_tests::control_plane::objects::{headless, service, slice};
use headless_tests::frame::qtype;
use headless_tests::scene::run;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::modes;

/// The folders with manifests for clusters.
const FOLDERS: [&str; 4] = [
    "base",
    "components/pods-verified",
    "components/network-policies",
    "components/without-pods",
];

/// All rights that a folder's roles grant, as (group, resource, verb).
fn granted(name: &str) -> BTreeSet<(String, String, String)> {
    manifests(&folder(name))
        .iter()
        .flat_map(granted_by)
        .collect()
}

/// The rights that a role grants.
fn granted_by(role: &Value) -> BTreeSet<(String, String, String)> {
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let list =
            |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap() };
        for group in list("apiGroups") {
            for resource in list("resources") {
                for verb in list("verbs") {
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    granted
}

/// The rights to read these resources, given as (group, resource).
fn rights(resources: &[(&str, &str)]) -> BTreeSet<(String, String, String)> {
    let rights = resources.iter().flat_map(|(group, resource)| {
        let verbs = ["list", "watch"];
        verbs.map(|verb| ((*group).into(), (*resource).into(), verb.into()))
    });
    rights.collect()
}

#[test]
fn manifests_pass_a_dry_run_on_the_server() {
    run(&[], async |scene| {
        let client = &scene.cluster.0;
        let mut kinds = Vec::new();
        for name in FOLDERS {
            for manifest in manifests(&folder(name)) {
                let named = format!("{} {}", manifest["kind"], manifest["metadata"]["name"]);
                let applied = apply(client, &manifest, true).await;
                applied.unwrap_or_else(|error| panic!("{named}: {error}"));
                kinds.push(named);
            }
        }
        assert_eq!(kinds.len(), 10, "{kinds:?}");
        // A misspelled field must make the dry run fail.
        let mut wrong = manifests(&folder("base"))
            .into_iter()
            .find(|manifest| manifest["kind"] == "DaemonSet")
            .unwrap();
        wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilty"] =
            json!({});
        apply(client, &wrong, true).await.unwrap_err();
    });
}

#[test]
fn every_file_is_listed_in_its_kustomization() {
    for name in FOLDERS {
        let folder = folder(name);
        let listed: BTreeSet<_> = resources(&folder).into_iter().collect();
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != "kustomization.yaml" {
                found.insert(path);
            }
        }
        assert_eq!(found, listed);
    }
}

#[test]
fn the_roles_grant_reading_of_the_watched_kinds_and_nothing_else() {
    let watched = [
        ("", "namespaces"),
        ("", "services"),
        ("", "pods"),
        ("", "configmaps"),
        ("discovery.k8s.io", "endpointslices"),
    ];
    assert_eq!(granted("base"), rights(&watched));
    assert_eq!(granted("components/pods-verified"), rights(&[("", "pods")]));
    let policies = [("networking.k8s.io", "networkpolicies")];
    assert_eq!(granted("components/network-policies"), rights(&policies));
}

/// Applies a patch of a kustomization as `kubectl apply -k` does, and returns the object.
async fn patched(client: &Client, patch: &Value) -> Value {
    let object: DynamicObject = serde_json::from_value(patch.clone()).unwrap();
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.unwrap();
    let patch = Patch::Strategic(patch);
    let patched = api.patch(&name, &PatchParams::default(), &patch).await;
    serde_json::to_value(patched.unwrap()).unwrap()
}

#[test]
fn without_the_pods_of_its_node_the_agent_has_nothing_to_complain_about() {
    run(&[], async |scene| {
        let client = &scene.cluster.0;
        let token = scene.token().await;
        let base = manifests(&folder("base"));
        for manifest in &base {
            apply(client, manifest, false).await.unwrap();
        }
        let before = |kind: &str| {
            let found = base.iter().find(|manifest| manifest["kind"] == kind);
            found.unwrap().clone()
        };
        let [role, agent] = &patches(&folder("components/without-pods"))[..] else {
            panic!("a patch of the role and one of the DaemonSet");
        };
        let mut expected = granted_by(&before("ClusterRole"));
        expected.retain(|(_, resource, _)| resource != "pods");
        assert_eq!(granted_by(&patched(client, role).await), expected);

        let variables = |object: &Value| -> BTreeSet<String> {
            let variables = &object["spec"]["template"]["spec"]["containers"][0]["env"];
            let variables = variables.as_array().unwrap().iter();
            variables
                .map(|it| it["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let left = variables(&patched(client, agent).await);
        let node_name = ["--node-name", modes::NODE];
        let is_named = left.contains("HEADLESS_NODE_NAME");
        let own = if is_named { &node_name[..] } else { &[] };

        let _pod = scene.node.pod("veth-a", 9);
        let mut agent = scene.spawn(API, &token, &[&["--hook", "xdp"], own].concat());
        agent.ready();
        modes::has(&scene, &agent, "veth-a", "on", "node").await;
        let status = agent.status();
        assert_eq!(status["problems"], json!([]));
        assert_eq!(status["policy"]["watched"], false);
        assert_eq!(status["complete"], true);
        let mut expected = variables(&before("DaemonSet"));
        assert!(expected.remove("HEADLESS_NODE_NAME"));
        assert_eq!(left, expected, "the other variables stay");
    });
}

/// The specification of the `DaemonSet`'s pods.
fn pod() -> Value {
    let manifests = manifests(&folder("base"));
    let agent = manifests
        .into_iter()
        .find(|manifest| manifest["kind"] == "DaemonSet");
    agent.unwrap()["spec"]["template"]["spec"].take()
}

#[test]
fn the_programs_answer_with_the_capabilities_of_the_agents_container() {
    run(&[], async |scene| {
        scene.cluster.create(&service("web", &headless())).await;
        let endpoints = [("10.0.0.1", None)];
        scene
            .cluster
            .create(&slice("web-1", "web", &endpoints))
            .await;
        let security = &pod()["containers"][0]["securityContext"]["capabilities"];
        assert_eq!(security["drop"], json!(["ALL"]));
        let added = security["add"].as_array().unwrap().iter();
        let added = added.map(|name| name.as_str().unwrap().to_lowercase());
        let capabilities: Vec<_> = added.map(|name| format!("+{name}")).collect();
        let capabilities = format!("-all,{}", capabilities.join(","));
        // A container runtime limits the bounding set in the same way.
        let launcher = [
            "setpriv",
            "--bounding-set",
            &capabilities,
            "--inh-caps",
            &capabilities,
            "--no-new-privs",
        ];
        let kubeconfig = scene.plane.kubeconfig(API, &scene.token().await);
        let arguments = ["--kubeconfig", &kubeconfig];
        let pod = scene.node.pod("veth1", 9);
        let mut agent = Agent::spawn_by(scene.node, &launcher, &arguments);
        agent.ready();
        let addresses = pod.addresses("web.default.svc.cluster.local", qtype::A);
        assert_eq!(addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(agent.number("/answers/xdp"), 1);
    });
}

#[test]
fn the_agents_container_has_no_privilege_that_it_does_not_need() {
    let pod = pod();
    let containers = pod["containers"].as_array().unwrap();
    let [container] = containers.as_slice() else {
        panic!("{containers:?}");
    };
    let security = &container["securityContext"];
    let expected = json!({
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON"] },
    });
    assert_eq!(*security, expected);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(
        (&pod["hostPID"], &pod["hostIPC"]),
        (&Value::Null, &Value::Null)
    );
    // The admin socket is on a volume of the pod's own; nothing of the node is mounted.
    assert_eq!(pod["volumes"], json!([{ "name": "run", "emptyDir": {} }]));
    let mounts = json!([{ "name": "run", "mountPath": "/run/headless" }]);
    assert_eq!(container["volumeMounts"], mounts);
}
