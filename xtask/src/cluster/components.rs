//! The command lines of the components.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::config::{CONTAINERD_SOCKET, NODE, NODE_ADDRESS};

/// The built programs, by name.
pub(super) type Programs = BTreeMap<String, PathBuf>;

/// A program that runs as long as the cluster.
#[derive(Debug)]
pub(super) struct Component {
    /// The name of its log.
    pub(super) name: &'static str,
    pub(super) command: Command,
}

impl Component {
    /// `arguments` are words between spaces, with `RUN` for the run's folder. A checkout's path
    /// may hold spaces.
    fn new(name: &'static str, program: impl Into<PathBuf>, arguments: &str, run: &Path) -> Self {
        let mut command = Command::new(program.into());
        let run = run.to_string_lossy();
        for word in arguments.split_whitespace() {
            command.arg(word.replace("RUN", &run));
        }
        Self { name, command }
    }
}

fn program(programs: &Programs, name: &str) -> PathBuf {
    programs.get(name).cloned().unwrap_or_else(|| name.into())
}

/// A store whose data need not survive the machine.
pub(super) fn etcd(programs: &Programs, run: &Path) -> Component {
    let arguments = "--data-dir RUN/etcd --listen-client-urls http://127.0.0.1:2379 \
        --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 \
        --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster default=http://127.0.0.1:2380 --unsafe-no-fsync";
    Component::new("etcd", program(programs, "etcd"), arguments, run)
}

pub(super) fn api_server(programs: &Programs, run: &Path) -> Component {
    let arguments = format!(
        "--etcd-servers http://127.0.0.1:2379 --advertise-address {NODE_ADDRESS} \
        --bind-address 0.0.0.0 --secure-port 6443 --authorization-mode Node,RBAC \
        --enable-admission-plugins NodeRestriction --allow-privileged=true \
        --client-ca-file RUN/pki/ca.crt --tls-cert-file RUN/pki/apiserver.crt \
        --tls-private-key-file RUN/pki/apiserver.key \
        --service-cluster-ip-range 10.96.0.0/12 \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file RUN/pki/sa.pub \
        --service-account-signing-key-file RUN/pki/sa.key \
        --kubelet-client-certificate RUN/pki/apiserver-kubelet.crt \
        --kubelet-client-key RUN/pki/apiserver-kubelet.key \
        --kubelet-certificate-authority RUN/pki/ca.crt \
        --kubelet-preferred-address-types InternalIP \
        --requestheader-client-ca-file RUN/pki/front.crt \
        --requestheader-allowed-names front-proxy-client \
        --requestheader-username-headers X-Remote-User \
        --requestheader-group-headers X-Remote-Group \
        --requestheader-extra-headers-prefix X-Remote-Extra- \
        --proxy-client-cert-file RUN/pki/front-client.crt \
        --proxy-client-key-file RUN/pki/front-client.key --endpoint-reconciler-type lease"
    );
    let api_server = program(programs, "kube-apiserver");
    Component::new("kube-apiserver", api_server, &arguments, run)
}

pub(super) fn containerd(run: &Path) -> Component {
    Component::new("containerd", "containerd", "-c RUN/containerd.toml", run)
}

/// The resolver of names outside of the cluster, at the other end of the uplink.
pub(super) fn upstream(programs: &Programs, run: &Path) -> Component {
    let mut upstream = Component::new("upstream", "nsenter", "--net=/run/netns/uplink --", run);
    let corefile = run.join("upstream.Corefile");
    upstream
        .command
        .arg(program(programs, "coredns"))
        .arg("-conf")
        .arg(corefile);
    upstream
}

/// `--kube-api-qps`: with the default of 20 requests a second, the controllers start within
/// six seconds instead of two.
pub(super) fn controller_manager(programs: &Programs, run: &Path) -> Component {
    let arguments = "--kubeconfig RUN/cm.conf --authentication-kubeconfig RUN/cm.conf \
        --authorization-kubeconfig RUN/cm.conf --leader-elect=false \
        --kube-api-qps 500 --kube-api-burst 1000 --use-service-account-credentials \
        --service-account-private-key-file RUN/pki/sa.key --root-ca-file RUN/pki/ca.crt \
        --client-ca-file RUN/pki/ca.crt --cluster-signing-cert-file RUN/pki/ca.crt \
        --cluster-signing-key-file RUN/pki/ca.key --bind-address 127.0.0.1 \
        --controllers *,bootstrapsigner,tokencleaner";
    let manager = program(programs, "kube-controller-manager");
    Component::new("kube-controller-manager", manager, arguments, run)
}

pub(super) fn scheduler(programs: &Programs, run: &Path) -> Component {
    let arguments = "--kubeconfig RUN/sched.conf --authentication-kubeconfig RUN/sched.conf \
        --authorization-kubeconfig RUN/sched.conf --leader-elect=false --bind-address 127.0.0.1";
    let scheduler = program(programs, "kube-scheduler");
    Component::new("kube-scheduler", scheduler, arguments, run)
}

pub(super) fn kubelet(programs: &Programs, run: &Path) -> Component {
    let arguments = format!(
        "--config RUN/kubelet.yaml --kubeconfig RUN/kubelet.conf --hostname-override {NODE} \
        --node-ip {NODE_ADDRESS} --root-dir RUN/kubelet"
    );
    Component::new("kubelet", program(programs, "kubelet"), &arguments, run)
}

pub(super) fn proxy(programs: &Programs, run: &Path) -> Component {
    let proxy = program(programs, "kube-proxy");
    Component::new("kube-proxy", proxy, "--config RUN/kube-proxy.yaml", run)
}

/// kubectl with all rights, in the calling network namespace.
pub(super) fn kubectl(programs: &Programs, run: &Path) -> Command {
    let mut command = Command::new(program(programs, "kubectl"));
    command.arg("--kubeconfig").arg(run.join("admin.conf"));
    command
}

/// Imports an image under its name, within the cluster's mounts.
pub(super) fn import(name: &str, file: &Path) -> Command {
    let base = name.rsplit_once(':').map_or(name, |(base, _)| base);
    let mut command = Command::new("ctr");
    command.args(["-a", CONTAINERD_SOCKET, "-n", "k8s.io", "images", "import"]);
    command.args(["--base-name", base]).arg(file);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_stays_one_argument() {
        let run = Path::new("/a b/run");
        let component = containerd(run);
        let arguments: Vec<_> = component.command.get_args().collect();
        assert_eq!(arguments, ["-c", "/a b/run/containerd.toml"]);
    }
}
