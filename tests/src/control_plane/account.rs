//! The agent's service account, with exactly the rights that the manifests of `deploy/`
//! grant.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams, TypeMeta};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

/// Namespace of the agent's service account.
pub const NAMESPACE: &str = "kube-system";

/// Name of the agent's service account.
pub const NAME: &str = "headless-agent";

/// Path of a folder in `deploy/`.
pub fn folder(name: &str) -> PathBuf {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    deploy.join(name)
}

/// Files that a folder's `kustomization.yaml` lists as resources, in its order.
pub fn resources(folder: &Path) -> Vec<PathBuf> {
    let kustomization = kustomization(folder);
    let names = kustomization["resources"].as_array().into_iter().flatten();
    let names = names.map(|name| name.as_str().unwrap());
    names.map(|name| folder.join(name)).collect()
}

/// The strategic merge patches of a folder's `kustomization.yaml`, in its order.
pub fn patches(folder: &Path) -> Vec<Value> {
    let kustomization = kustomization(folder);
    let patches = kustomization["patches"].as_array().into_iter().flatten();
    let texts = patches.map(|patch| patch["patch"].as_str().unwrap());
    texts
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect()
}

fn kustomization(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// The documents of a YAML file.
pub fn documents(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// All documents of the resources of a folder.
pub fn manifests(folder: &Path) -> Vec<Value> {
    let files = resources(folder);
    files.iter().flat_map(|file| documents(file)).collect()
}

/// Applies an object by server-side apply, with strict validation of every field. With
/// `dry_run` the server validates and stores nothing.
///
/// # Errors
/// If the server refuses the object or cannot be reached.
pub async fn apply(client: &Client, manifest: &Value, dry_run: bool) -> Result<(), kube::Error> {
    let mut object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
    let types: &TypeMeta = object.types.as_ref().unwrap();
    let kind = GroupVersionKind::try_from(types).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match object.metadata.namespace.take() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().unwrap();
    let mut params = PatchParams::apply("headless-tests");
    params.field_validation = Some(kube::api::ValidationDirective::Strict);
    params.dry_run = dry_run;
    api.patch(&name, &params, &Patch::Apply(&object)).await?;
    Ok(())
}

/// Applies the service account, roles and bindings of folders in `deploy/`, each
/// modified by `change` before; returns a token of the account, valid for an hour.
pub async fn token(client: &Client, folders: &[&str], change: impl Fn(&mut Value)) -> String {
    for name in folders {
        for mut manifest in manifests(&folder(name)) {
            let kind = manifest["kind"].as_str().unwrap();
            if matches!(
                kind,
                "ServiceAccount" | "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding"
            ) {
                change(&mut manifest);
                apply(client, &manifest, false).await.unwrap();
            }
        }
    }
    let api = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
    let request: TokenRequest = serde_json::from_value(json!({
        "metadata": {},
        "spec": { "audiences": [], "expirationSeconds": 3600 },
    }))
    .unwrap();
    let params = PostParams::default();
    let made = api.create_token_request(NAME, &params, &request).await;
    made.unwrap().status.unwrap().token.unwrap()
}
