//! The files that configure the components. They are JSON, which every component reads in
//! place of YAML.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::options::{Cni, Proxy};
use super::place::{self, Record};

/// The node's name.
pub(super) const NODE: &str = "n1";

/// The node's address on its uplink.
pub(super) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

/// The other end of the uplink, where a resolver for names outside of the cluster answers.
pub(super) const UPSTREAM: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);

/// The pods' addresses.
pub(super) const PODS: &str = "10.244.0.0/24";

/// The address of the cluster's DNS, as kubeadm gives it.
pub(super) const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// A name outside of the zone that the upstream knows.
pub(super) const EXTERNAL_NAME: &str = "www.example.test";

/// Where containerd listens, in the cluster's own `/run`: a checkout's path may be longer than
/// the 107 bytes that a socket's may have.
pub(super) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

const CONTAINERD_STATE: &str = "/run/containerd/state";

/// The image of the process that holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/pause:1";

/// The clients, by the names of their certificates.
const CLIENTS: [&str; 5] = ["admin", "cm", "sched", "proxy", "kubelet"];

/// Writes the files of a run.
///
/// # Errors
/// Names the file that could not be written.
pub(super) fn write(record: &Record) -> Result<()> {
    let run = place::run_folder();
    for client in CLIENTS {
        save(&run, &format!("{client}.conf"), &kubeconfig(&run, client))?;
    }
    save(&run, "kubelet.yaml", &kubelet(&run))?;
    save(&run, "kube-proxy.yaml", &kube_proxy(&run, record.proxy))?;
    save(&run, "cni/10-pods.conflist", &network(&run, record.cni))?;
    place::write(&run.join("containerd.toml"), &containerd(&run))?;
    place::write(
        &run.join("resolv.conf"),
        &format!("nameserver {UPSTREAM}\n"),
    )?;
    place::write(&run.join("upstream.Corefile"), &upstream())?;
    let etcd = run.join("etcd");
    fs::create_dir_all(&etcd).with_context(|| format!("cannot make {}", etcd.display()))
}

fn save(run: &Path, name: &str, value: &Value) -> Result<()> {
    place::write(&run.join(name), &serde_json::to_string_pretty(value)?)
}

fn kubeconfig(run: &Path, client: &str) -> Value {
    let file = |name: String| run.join("pki").join(name);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "cluster",
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": client}}],
        "clusters": [{"name": "cluster", "cluster": {
            "server": format!("https://{NODE_ADDRESS}:6443"),
            "certificate-authority": file("ca.crt".into()),
        }}],
        "users": [{"name": client, "user": {
            "client-certificate": file(format!("{client}.crt")),
            "client-key": file(format!("{client}.key")),
        }}],
    })
}

/// `failCgroupV1`: machines with cgroup v1 serve as well. `imageGCHighThresholdPercent` and
/// `evictionHard`: a developer's disk is nearly full at times.
fn kubelet(run: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": run.join("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": run.join("pki/kubelet-server.crt"),
        "tlsPrivateKeyFile": run.join("pki/kubelet-server.key"),
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": run.join("resolv.conf"),
        "podLogsDir": run.join("podlogs"),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
    })
}

/// `conntrack`: zeroes leave the machine's own limits as they are.
fn kube_proxy(run: &Path, proxy: Proxy) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": proxy.name(),
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": run.join("proxy.conf")},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}

fn network(run: &Path, cni: Cni) -> Value {
    let mut plugin = json!({
        "type": cni.name(),
        "ipMasq": false,
        "mtu": 1500,
        "ipam": {
            "type": "host-local",
            "dataDir": run.join("ipam"),
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    });
    if let (Cni::Bridge, Some(plugin)) = (cni, plugin.as_object_mut()) {
        plugin.insert("bridge".into(), "cni0".into());
        plugin.insert("isGateway".into(), true.into());
        plugin.insert("hairpinMode".into(), true.into());
    }
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [plugin, {"type": "portmap", "capabilities": {"portMappings": true}}],
    })
}

/// `restrict_oom_score_adj`: root in a container
/// may lack `CAP_SYS_RESOURCE`.
fn containerd(run: &Path) -> String {
    let root = place::containerd_root();
    format!(
        r#"version = 2
root = "{root}"
state = "{CONTAINERD_STATE}"
grpc.address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "{PAUSE}"
netns_mounts_under_state_dir = true
cni = {{ bin_dir = "/usr/lib/cni", conf_dir = "{run}/cni" }}
"#,
        root = root.display(),
        run = run.display()
    )
}

fn upstream() -> String {
    let (_, zone) = EXTERNAL_NAME.split_once('.').unwrap_or_default();
    format!(
        ".:53 {{
    bind {UPSTREAM}
    template IN A {zone} {{
        answer \"{{{{ .Name }}}} 60 IN A 192.0.2.1\"
    }}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bridge_has_a_bridge() {
        let plugin = |cni| network(Path::new("/r"), cni).pointer("/plugins/0").cloned();
        let ptp = plugin(Cni::Ptp).unwrap_or_default();
        let bridge = plugin(Cni::Bridge).unwrap_or_default();
        assert_eq!(ptp.get("type"), Some(&json!("ptp")));
        assert_eq!(ptp.get("bridge"), None);
        assert_eq!(bridge.get("bridge"), Some(&json!("cni0")));
    }

    #[test]
    fn the_upstream_answers_one_zone() {
        let text = upstream();
        assert!(text.contains("template IN A example.test {"), "{text}");
        assert!(text.contains("\"{{ .Name }} 60 IN A 192.0.2.1\""), "{text}");
    }

    #[test]
    fn paths_are_absolute() {
        let text = containerd(Path::new("/r"));
        assert!(text.contains("conf_dir = \"/r/cni\""), "{text}");
        let kubelet = kubelet(Path::new("/r"));
        assert_eq!(kubelet.get("resolvConf"), Some(&json!("/r/resolv.conf")));
    }
}
