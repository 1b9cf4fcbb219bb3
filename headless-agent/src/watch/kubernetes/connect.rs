//! Makes a client of the API server from the operator's options.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tower::{BoxError, ServiceBuilder};

/// Set by the kubelet in every container.
const IN_CLUSTER_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// How long a connection may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Probing of idle connections: the first probe after 10 s without data, then one
/// every 5 s. Three lost probes end the connection, 25 s after the peer vanished.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent data, probes included, may stay without acknowledgement
/// (`TCP_USER_TIMEOUT`). Without it, a request on a dead connection is sent again
/// for about 15 minutes (`tcp_retries2`).
const USER_TIMEOUT: Duration = Duration::from_secs(25);

/// The operator's options about the API server's address and the agent's credentials.
///
/// If `kubeconfig` or `context` is given, a kubeconfig has address and credentials. Else
/// they come from the pod's own service account in a cluster, and from the user's
/// kubeconfig elsewhere, unless `server` is given. `server`, `ca` and `token_file` each
/// replace their part of the result.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// The name of a context of the kubeconfig.
    pub context: Option<String>,
    /// URL of the API server.
    pub server: Option<String>,
    /// PEM file of the authorities that may have signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// File of the bearer token; read again as it is renewed.
    pub token_file: Option<PathBuf>,
}

/// Whether this is a container of a cluster.
pub fn in_cluster() -> bool {
    env::var_os(IN_CLUSTER_VARIABLE).is_some()
}

impl Access {
    /// Whether the operator gave any of these options.
    pub fn is_given(&self) -> bool {
        let Self {
            kubeconfig,
            context,
            server,
            ca,
            token_file,
        } = self;
        let strings = context.is_some() || server.is_some();
        strings || kubeconfig.is_some() || ca.is_some() || token_file.is_some()
    }

    /// A client. Connects to nothing yet.
    ///
    /// # Errors
    /// Where a file cannot be read or does not make sense.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let config = self.config().await?;
        let server = config.cluster_url.clone();
        client(config).with_context(|| format!("no client for API server {server}"))
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let Self {
            server,
            ca,
            token_file,
            ..
        } = self;
        let mut config = self.found().await?;
        if let Some(server) = server {
            config.cluster_url = server
                .parse()
                .with_context(|| format!("`{server}` is not a URL"))?;
        }
        if let Some(path) = ca {
            let file = path.display();
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .with_context(|| format!("cannot read certificates from {file}"))?;
            ensure!(!certificates.is_empty(), "no certificate in {file}");
            let ders = certificates.iter().map(|der| der.to_vec());
            config.root_cert = Some(ders.collect());
            config.root_cert_file = Some(path.clone());
        }
        if let Some(path) = token_file {
            let file = path.display();
            let text = path
                .to_str()
                .with_context(|| format!("path {file} is not UTF-8"))?;
            config.auth_info.token = None;
            config.auth_info.token_file = Some(text.to_owned());
        }
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        Ok(config)
    }

    /// The configuration before `server`, `ca` and `token_file` replace parts of it.
    async fn found(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        if let Some(path) = &self.kubeconfig {
            let file = path.display();
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read kubeconfig {file}"))?;
            return Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .with_context(|| format!("cannot use kubeconfig {file}"));
        }
        if self.context.is_none() {
            if in_cluster() {
                return Config::incluster_env().context("cannot use the pod's service account");
            }
            if let Some(server) = &self.server {
                let url = server.parse();
                let url = url.with_context(|| format!("`{server}` is not a URL"))?;
                return Ok(Config::new(url));
            }
        }
        Config::from_kubeconfig(&options)
            .await
            .context("cannot use the default kubeconfig")
    }
}

/// A client like that of `Client::try_from`, with two differences: its connections
/// notice a peer that has vanished, and it repeats no request, since watches do.
fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    tcp.set_tcp_user_timeout(Some(USER_TIMEOUT));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(config.connect_timeout);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;

    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: one, cluster: {server: 'https://192.0.2.1:6443'}}
- {name: two, cluster: {server: 'https://192.0.2.2:6443'}}
users:
- {name: agent, user: {token: secret}}
contexts:
- {name: one, context: {cluster: one, user: agent}}
- {name: two, context: {cluster: two, user: agent}}
";

    fn access(folder: &tempfile::TempDir) -> Access {
        let file = folder.path().join("kubeconfig");
        fs::write(&file, KUBECONFIG).unwrap();
        Access {
            kubeconfig: Some(file),
            ..Access::default()
        }
    }

    #[tokio::test]
    async fn contexts_are_chosen_and_options_replace() {
        let folder = tempfile::tempdir().unwrap();
        let mut access = access(&folder);
        let config = access.config().await.unwrap();
        assert_eq!(config.cluster_url, "https://192.0.2.1:6443");
        assert!(config.auth_info.token.is_some());
        access.context = Some("two".into());
        let config = access.config().await.unwrap();
        assert_eq!(config.cluster_url, "https://192.0.2.2:6443");
        access.server = Some("https://192.0.2.3".into());
        access.token_file = Some("/token".into());
        let config = access.config().await.unwrap();
        assert_eq!(config.cluster_url, "https://192.0.2.3");
        assert!(config.auth_info.token.is_none());
        assert_eq!(config.auth_info.token_file.unwrap(), "/token");
        assert_eq!(config.connect_timeout, Some(CONNECT_TIMEOUT));
    }

    #[tokio::test]
    async fn what_does_not_make_sense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut access = access(&folder);
        access.context = Some("three".into());
        let error = access.config().await.unwrap_err();
        assert!(format!("{error:#}").contains("three"), "{error:#}");
        access.context = None;
        access.server = Some("not a url".into());
        let error = access.config().await.unwrap_err();
        assert!(format!("{error:#}").contains("`not a url` is not a URL"));
        access.server = None;
        let empty = folder.path().join("ca.crt");
        fs::write(&empty, "").unwrap();
        access.ca = Some(empty);
        let error = access.config().await.unwrap_err();
        assert!(format!("{error:#}").contains("no certificate in"));
    }
}
