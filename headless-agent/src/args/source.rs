//! Where objects come from.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Where objects come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Where objects come from. The default is the folder that `--manifests` names, else
    /// the API server that an option names or of the cluster that the agent runs in
    #[arg(long, env = "HEADLESS_SOURCE", value_enum)]
    pub source: Option<SourceKind>,
    /// Folder of Kubernetes YAML to read and to follow
    #[arg(long, env = "HEADLESS_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// How long the API server may stay silent on a watch, without even a bookmark, until
    /// the agent withholds negative answers. Known names are answered without a limit
    #[arg(
        long,
        env = "HEADLESS_SOURCE_MAX_AGE_DENY",
        value_name = "DURATION",
        default_value = "2m",
        value_parser = max_age
    )]
    pub source_max_age_deny: Duration,
    /// With `--endpoints auto`, the most EndpointSlices in the cluster with which the agent
    /// watches all. The agent counts them at its start
    #[arg(
        long,
        env = "HEADLESS_ENDPOINTS_MAX",
        value_name = "SLICES",
        default_value_t = ENDPOINTS_MAX
    )]
    pub endpoints_max: u64,
    /// The API server.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// The shortest `--source-max-age-deny`: below, a healthy server would be asked for
/// every watch every few seconds.
const MAX_AGE_MIN: Duration = Duration::from_secs(10);

fn max_age(text: &str) -> Result<Duration, String> {
    let age = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if age < MAX_AGE_MIN {
        return Err("shorter than 10s".into());
    }
    Ok(age)
}

/// What to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourceKind {
    /// A cluster's API server
    Kubernetes,
    /// A folder of YAML
    Manifests,
}

/// Default of `--endpoints-max`, by the costs in `docs/measurements.md`.
const ENDPOINTS_MAX: u64 = 5_000;

/// Which endpoints have names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Endpoints {
    /// `all` if the cluster has at most `--endpoints-max` EndpointSlices, else `headless`
    #[default]
    Auto,
    /// Endpoints of headless Services; none has a reverse name
    Headless,
    /// Endpoints of every Service, with their reverse names
    All,
}

/// How the API server is reached, where the pod's service account or the default
/// kubeconfig does not say so.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "API server")]
pub struct ApiArgs {
    /// Kubeconfig file, instead of the pod's service account
    #[arg(long, env = "HEADLESS_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of its current one
    #[arg(long, env = "HEADLESS_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// URL of the API server
    #[arg(long, env = "HEADLESS_API_SERVER", value_name = "URL")]
    pub api_server: Option<String>,
    /// File of the authorities that may sign the API server's certificate, in PEM
    #[arg(long, env = "HEADLESS_API_CA", value_name = "FILE")]
    pub api_ca: Option<PathBuf>,
    /// File of the bearer token. The file is read again when the token is renewed
    #[arg(long, env = "HEADLESS_API_TOKEN_FILE", value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
}

/// A folder of objects.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct FolderArgs {
    /// Folder of Kubernetes YAML to read
    #[arg(long, env = "HEADLESS_MANIFESTS", value_name = "DIR")]
    pub manifests: PathBuf,
}
