//! Where objects come from.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Where objects come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// What to follow; without, the folder where `--manifests` names one, else
    /// the API server of the cluster this runs in or that an option names
    #[arg(long, env = "HEADLESS_SOURCE", value_enum)]
    pub source: Option<SourceKind>,
    /// Folder of Kubernetes YAML to read and to follow
    #[arg(long, env = "HEADLESS_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// How long the API server may send nothing on a watch, not even a bookmark, before
    /// names are no longer denied
    #[arg(
        long,
        env = "HEADLESS_SOURCE_MAX_AGE_DENY",
        value_name = "DURATION",
        default_value = "2m",
        value_parser = max_age
    )]
    pub source_max_age_deny: Duration,
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

/// The API server, as far as it is not what the pod's service account or the
/// default kubeconfig say.
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
    /// Authorities that may have signed the API server's certificate, in PEM
    #[arg(long, env = "HEADLESS_API_CA", value_name = "FILE")]
    pub api_ca: Option<PathBuf>,
    /// Bearer token; the file is read again as the token is renewed
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
