//! `CoreDNS` on the node, with the same objects as the agents.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Segment, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::{StreamExt as _, stream};
use nix::sched::CpuSet;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::bench::cluster::{Question, SERVICES_SMALL};
use crate::lab::mounts;
use crate::latency::{self, Client};

/// The longest time from its start until it answers. The plugin `kubernetes` waits for the
/// objects before.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Kind, resource in a URL, and API version.
const KINDS: [(&str, &str, &str); 3] = [
    ("Namespace", "namespaces", "v1"),
    ("Service", "services", "v1"),
    ("EndpointSlice", "endpointslices", "discovery.k8s.io/v1"),
];

/// A running `CoreDNS`, killed when dropped.
#[derive(Debug)]
pub(crate) struct CoreDns {
    _process: Child,
}

impl CoreDns {
    /// Starts `CoreDNS` on these CPUs, so that Go's runtime sees no other CPU, and waits
    /// until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready in time.
    pub(crate) async fn start(
        program: &Path,
        address: Ipv4Addr,
        objects: Vec<Value>,
        cpus: &CpuSet,
    ) -> Result<Self> {
        let api = serve(objects).await?;
        let folder = mounts::scratch().join("coredns");
        fs::create_dir_all(&folder)?;
        let corefile = folder.join("Corefile");
        fs::write(&corefile, corefile_text(address, api))?;
        let log = folder.join("log");
        let file = File::create(&log)?;
        let mut command = std::process::Command::new(program);
        command
            .arg("-conf")
            .arg(&corefile)
            .current_dir(&folder)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        // A child inherits the CPUs of the thread that starts it.
        let all = latency::allowed_cpus()?;
        latency::pin_thread(cpus)?;
        let process = command.spawn();
        latency::pin_thread(&all)?;
        let mut process = process.with_context(|| format!("cannot run {}", program.display()))?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let deadline = Instant::now() + READY_TIMEOUT;
        while !ready(address).await? {
            if let Some(status) = process.try_wait()? {
                bail!("CoreDNS ended with {status}: {}", said());
            }
            ensure!(
                Instant::now() < deadline,
                "CoreDNS is not ready: {}",
                said()
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { _process: process })
    }
}

/// kubeadm's Corefile (`cmd/kubeadm/app/phases/addons/dns/manifests.go`) without plugins
/// that do not concern answers.
fn corefile_text(address: Ipv4Addr, api: SocketAddr) -> String {
    format!(
        ".:53 {{
            bind {address}
            errors
            kubernetes cluster.local in-addr.arpa ip6.arpa {{
                endpoint http://{api}
                pods insecure
                fallthrough in-addr.arpa ip6.arpa
                ttl 30
            }}
            cache 30 {{
                disable success cluster.local
                disable denial cluster.local
            }}
            loadbalance
        }}\n"
    )
}

/// Whether it answers. The plugin `ready` cannot tell: it is ready before the server
/// listens.
async fn ready(address: Ipv4Addr) -> Result<bool> {
    let target = Question::A.target(address, SERVICES_SMALL)?;
    let asked = tokio::task::spawn_blocking(move || Client::new(&target)?.measure(1));
    Ok(asked.await?.is_ok())
}

/// The part of an API server that `CoreDNS`'s informers need for objects that never change:
/// lists, and watches that send all objects and then nothing.
async fn serve(objects: Vec<Value>) -> Result<SocketAddr> {
    let routes = Router::new()
        .route("/api/v1/{resource}", get(answer))
        .route("/apis/discovery.k8s.io/v1/{resource}", get(answer))
        .with_state(Arc::new(objects));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

async fn answer(
    State(objects): State<Arc<Vec<Value>>>,
    Segment(resource): Segment<String>,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    let Some((kind, _, version)) = KINDS.into_iter().find(|(_, of, _)| *of == resource) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let items = objects.iter().filter(|object| object["kind"] == kind);
    let metadata = json!({"resourceVersion": "1"});
    let flag = |name: &str| {
        parameters
            .get(name)
            .is_some_and(|value| value == "true" || value == "1")
    };
    let body = if flag("watch") {
        let mut lines = String::new();
        if flag("sendInitialEvents") {
            let mut line = |event: &str, object: &Value| {
                lines += &json!({"type": event, "object": object}).to_string();
                lines.push('\n');
            };
            for object in items {
                let mut object = object.clone();
                object["metadata"]["resourceVersion"] = "1".into();
                line("ADDED", &object);
            }
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            let metadata = json!({"resourceVersion": "1", "annotations": annotations});
            let end = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
            line("BOOKMARK", &end);
        }
        let opening = stream::iter((!lines.is_empty()).then_some(Ok::<_, Infallible>(lines)));
        Body::from_stream(opening.chain(stream::pending()))
    } else {
        let items: Vec<_> = items.collect();
        let list = json!({
            "kind": format!("{kind}List"), "apiVersion": version,
            "metadata": metadata, "items": items,
        });
        Body::from(list.to_string())
    };
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
