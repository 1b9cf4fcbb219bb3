#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bounds;

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: nginx
spec:
  clusterIP: None
";

fn slice(addresses: &str) -> String {
    format!(
        "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: nginx-1
  labels: {{kubernetes.io/service-name: nginx}}
addressType: IPv4
endpoints: [{{addresses: {addresses}}}]
"
    )
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The batch as text: `+` and `-` with the object, `=` with the kind.
fn shown(batch: &Batch) -> (Vec<String>, Vec<String>) {
    let mut events: Vec<_> = batch
        .events
        .iter()
        .map(|event| match event {
            Event::Apply(object) => format!("+{}", object.reference()),
            Event::Delete(reference) => format!("-{reference}"),
            Event::Restart(kind) => panic!("{kind:?} restarts"),
            Event::Restarted(kind) => format!("={}", kind.resource()),
        })
        .collect();
    events.sort();
    let problems = batch.reports.iter().flat_map(Report::lines);
    let problems = problems.collect();
    (events, problems)
}

fn loaded(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let folder = folder(files);
    let (mut events, problems) = shown(&load(folder.path(), Keep::default()).unwrap());
    events.retain(|event| !event.starts_with('='));
    (events, problems)
}

#[test]
fn reads_many_documents_of_many_files() {
    let web = format!(
        "# the web\n---\n{SERVICE}---  # and its endpoints\n{}...\n---\n",
        slice("[10.0.0.1]")
    );
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "nginx"}}
    ]} {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "web-0"}}]}"#;
    let folder = folder(&[
        ("web.yaml", &web),
        ("list.json", list),
        (
            "other.yml",
            "--- {apiVersion: serving.knative.dev/v1, kind: Service}\n",
        ),
        (".hidden.yaml", "kind: ["),
        ("notes.txt", "kind: ["),
        ("empty.yaml", ""),
    ]);
    fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    let batch = load(folder.path(), Keep::default()).unwrap();
    assert_eq!(
        shown(&batch),
        (
            vec![
                "+EndpointSlice default/nginx-1".to_owned(),
                "+Namespace default".to_owned(),
                "+Pod default/web-0".to_owned(),
                "+Service default/nginx".to_owned(),
                "=endpointslices".to_owned(),
                "=namespaces".to_owned(),
                "=pods".to_owned(),
                "=services".to_owned(),
            ],
            vec![]
        )
    );
    let ends = &batch.events[batch.events.len() - 4..];
    assert_eq!(ends, Kind::ALL.map(Event::Restarted));
}

/// A Service or slice that is not selected stays, because it may be the cluster's DNS.
#[test]
fn labels_choose_objects() {
    let object = |kind: &str, team: &str| {
        let group = if kind == "EndpointSlice" {
            "discovery.k8s.io/"
        } else {
            ""
        };
        format!(
            "---\n{{apiVersion: {group}v1, kind: {kind}, addressType: IPv4, endpoints: [], metadata: \
             {{name: {team}, namespace: default, labels: {{team: {team}}}}}}}\n"
        )
    };
    let kinds = ["Namespace", "Service", "EndpointSlice", "Pod"];
    let text: String = kinds
        .iter()
        .flat_map(|kind| [object(kind, "a"), object(kind, "b")])
        .collect();
    // A Service whose metadata alone decode is chosen, too.
    let broken = "---\n{apiVersion: v1, kind: Service, metadata: {name: c, labels: {team: c}}, spec: \
                  {ports: x}}\n";
    let folder = folder(&[("all.yaml", &(text + broken))]);
    let keep = Keep {
        namespaces: "team=a".parse().unwrap(),
        labels: "team in (b)".parse().unwrap(),
        ..Keep::default()
    };
    let batch = load(folder.path(), keep).unwrap();
    let mut found: Vec<_> = batch
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Apply(Object::Service(it)) => {
                Some(format!("Service {} {}", it.name, it.selected))
            }
            Event::Apply(Object::EndpointSlice(it)) => {
                Some(format!("slice {} {}", it.name, it.selected))
            }
            Event::Apply(other) => Some(other.reference().to_string()),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "Namespace a",
            "Pod default/b",
            "Service a false",
            "Service b true",
            "Service c false",
            "slice a false",
            "slice b true",
        ]
    );
}

#[test]
fn bad_documents_are_named_and_the_rest_is_used() {
    let bad =
        "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {ports: [{port: http}]}}";
    let list = format!("{{apiVersion: v1, kind: List, items: [{bad}, 7]}}");
    let metadata = "{name: old, managedFields: [{time: '9999-12-31T23:59:59Z'}]}";
    let old = &*format!(
        "{{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, metadata: {metadata}}}"
    );
    let text = [
        bad,
        SERVICE,
        &list,
        "[1, 2]",
        "{kind: Service}",
        "{apiVersion: v1, kind: 3}",
        old,
        "{apiVersion: v1, kind: Service}",
        &slice("[10.0.0.1, fd00::1e525]"),
    ]
    .join("\n---\n");
    let (events, problems) = loaded(&[("web.yaml", &text)]);
    // The Service has a port that does not decode, and the slice has an unsupported version.
    // Both exist nevertheless.
    assert_eq!(
        events,
        [
            "+EndpointSlice default/nginx-1",
            "+EndpointSlice default/old",
            "+Service default/bad",
            "+Service default/nginx"
        ]
    );
    let port = "invalid type: string \"http\", expected i32";
    assert_eq!(
        problems,
        [
            format!("web.yaml document 1: spec.ports[0].port: {port}"),
            format!("web.yaml document 3: items[0].spec.ports[0].port: {port}"),
            "web.yaml document 3: items[1]: not a mapping".to_owned(),
            "web.yaml document 4: not a mapping".to_owned(),
            "web.yaml document 5: apiVersion: missing".to_owned(),
            "web.yaml document 6: kind: not a string".to_owned(),
            "web.yaml document 7: apiVersion: version `discovery.k8s.io/v1beta1` of this kind is not supported".to_owned(),
            "web.yaml document 8: Service default/: metadata.name: missing".to_owned(),
            "web.yaml document 9: EndpointSlice default/nginx-1: endpoints[0].addresses[1]: `fd00::1e525` is not an IP address".to_owned(),
            "web.yaml: Service default/bad: also defined in web.yaml; the later one is used".to_owned(),
        ]
    );
}

#[test]
fn a_syntax_error_names_the_line_of_the_file() {
    let text = format!("{SERVICE}---\n# two\na: b\nc: [\n");
    let (events, problems) = loaded(&[("a.yaml", &text), ("c.json", "{\"kind\": \"List\"")]);
    assert_eq!(events, ["+Service default/nginx"], "the rest is used");
    assert_eq!(
        problems,
        [
            "a.yaml document 2: unclosed bracket '[' at line 10, column 4",
            "c.json document 1: EOF while parsing an object at line 1 column 15",
        ]
    );
}

#[test]
fn the_later_of_two_files_wins() {
    let folder = folder(&[
        ("a.yaml", &slice("[10.0.0.1]")),
        ("b.yaml", &slice("[10.0.0.2]")),
    ]);
    let mut state = Folder::new(folder.path(), Keep::default());
    let batch = state.first().unwrap();
    let (_, problems) = shown(&batch);
    assert_eq!(
        problems,
        ["b.yaml: EndpointSlice default/nginx-1: also defined in a.yaml; the later one is used"]
    );
    let address = |batch: &Batch| match &batch.events[0] {
        Event::Apply(Object::EndpointSlice(slice)) => slice.endpoints.at(0).address.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(address(&batch), "10.0.0.2");
    assert_eq!(state.refresh().unwrap(), Batch::default(), "said once");
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    assert_eq!(address(&state.refresh().unwrap()), "10.0.0.1");
}

#[test]
fn changes_are_a_difference() {
    let folder = folder(&[("a.yaml", SERVICE), ("b.yaml", &slice("[10.0.0.1]"))]);
    let path = |name: &str| folder.path().join(name);
    let mut state = Folder::new(folder.path(), Keep::default());
    state.first().unwrap();
    let mut next = || shown(&state.refresh().unwrap());
    let nothing = (Vec::new(), Vec::new());
    fs::write(path("a.yaml"), format!("{SERVICE}# changed\n")).unwrap();
    assert_eq!(next(), nothing);
    fs::write(path("b.yaml"), slice("[10.0.0.2]")).unwrap();
    assert_eq!(next().0, ["+EndpointSlice default/nginx-1"]);
    fs::rename(path("b.yaml"), path("c.yaml")).unwrap();
    assert_eq!(next(), nothing);
    // A file that is not valid YAML keeps its objects. An object that does not decode stays,
    // but becomes partial.
    fs::write(path("a.yaml"), format!("{SERVICE}--- [")).unwrap();
    let (events, problems) = next();
    assert_eq!((events.len(), problems.len()), (0, 1), "{problems:?}");
    assert_eq!(next(), nothing, "said once");
    fs::write(path("a.yaml"), format!("{SERVICE}  ports: web\n")).unwrap();
    let batch = state.refresh().unwrap();
    assert_eq!(shown(&batch).1.len(), 1);
    let [Event::Apply(Object::Service(service))] = &batch.events[..] else {
        panic!("{batch:?}");
    };
    assert!(service.partial);
    let mut next = || shown(&state.refresh().unwrap());
    fs::write(path("a.yaml"), b"\xff\xfe").unwrap();
    assert_eq!(next().1.len(), 1);
    fs::remove_file(path("c.yaml")).unwrap();
    assert_eq!(next().0, ["-EndpointSlice default/nginx-1"]);
}

#[test]
fn large_files_and_many_documents() {
    let service = |i: usize| format!("---\n{}", SERVICE.replace("nginx", &format!("s{i}")));
    let text: String = (0..3000).map(service).collect();
    let (events, problems) = loaded(&[("a.yaml", &text)]);
    assert_eq!(
        (events.len(), problems.len()),
        (3000, 0),
        "{:?}",
        problems.first()
    );
}

#[test]
fn a_missing_folder_is_an_error() {
    let folder = folder(&[]);
    let missing = folder.path().join("none");
    let error = load(&missing, Keep::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot read folder {}", missing.display())
    );
}

/// The events of the watcher up to the event with this text. Panics if it does not come.
async fn until(batches: &mut mpsc::Receiver<Batch>, wanted: &str) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut all = Vec::new();
    loop {
        let batch = time::timeout_at(deadline, batches.recv()).await;
        let batch = batch.unwrap_or_else(|_| panic!("no {wanted} after {all:?}"));
        let (events, problems) = shown(&batch.expect("the watcher ended"));
        all.extend(problems);
        all.extend(events);
        if all.iter().any(|event| event == wanted) {
            return all;
        }
    }
}

#[tokio::test]
async fn watches_a_folder() {
    let folder = folder(&[("a.yaml", SERVICE)]);
    let path = |name: &str| folder.path().join(name);
    let (sender, mut batches) = mpsc::channel(8);
    let watching = tokio::spawn(watch_manifests(
        folder.path().to_owned(),
        Keep::default(),
        sender,
    ));
    until(&mut batches, "=services").await;

    fs::write(path("b.yaml"), slice("[10.0.0.1]")).unwrap();
    until(&mut batches, "+EndpointSlice default/nginx-1").await;
    fs::remove_file(path("a.yaml")).unwrap();
    until(&mut batches, "-Service default/nginx").await;
    fs::write(path(".new"), SERVICE).unwrap();
    fs::rename(path(".new"), path("a.yaml")).unwrap();
    until(&mut batches, "+Service default/nginx").await;

    drop(batches);
    let ended = time::timeout(Duration::from_secs(20), watching).await;
    ended.expect("the watcher goes on").unwrap().unwrap();
}

#[tokio::test]
async fn follows_a_config_map_as_kubelet_mounts_it() {
    // kubelet puts each version of a ConfigMap into a folder of its own. `..data` is a link
    // to the folder, which kubelet replaces by renaming another link.
    let folder = folder(&[]);
    let path = |name: &str| folder.path().join(name);
    for (version, text) in [("..1", SERVICE), ("..2", slice("[10.0.0.1]").as_str())] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("a.yaml"), text).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/a.yaml", path("a.yaml")).unwrap();
    let (sender, mut batches) = mpsc::channel(8);
    tokio::spawn(watch_manifests(
        folder.path().to_owned(),
        Keep::default(),
        sender,
    ));
    until(&mut batches, "+Service default/nginx").await;
    symlink("..2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    let all = until(&mut batches, "-Service default/nginx").await;
    assert!(
        all.contains(&"+EndpointSlice default/nginx-1".to_owned()),
        "in one batch: {all:?}"
    );
}
