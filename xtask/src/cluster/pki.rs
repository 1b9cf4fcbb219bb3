//! The certificates of the cluster's components.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::config::{NODE, NODE_ADDRESS};
use super::place;

/// The first address of the range of cluster IPs, which is the API server's own.
const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The group whose members may do everything (Kubernetes's bootstrap policy).
const MASTERS: &str = "system:masters";

/// The group of kubelets (Kubernetes's node authorizer).
const NODES: &str = "system:nodes";

type Authority = Issuer<'static, KeyPair>;

/// Writes authorities, certificates and keys into the folder: `NAME.crt` and `NAME.key`.
///
/// # Errors
/// Names the file that could not be made.
pub(super) fn write(folder: &Path) -> Result<()> {
    let ca = authority(folder, "ca", "kubernetes-ca")?;
    let front = authority(folder, "front", "front-proxy-ca")?;
    let node = format!("system:node:{NODE}");
    let api_names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ];
    let api_addresses = [API_SERVICE, NODE_ADDRESS, Ipv4Addr::LOCALHOST];
    let server = |names: &[&str], addresses: &[Ipv4Addr]| {
        let names = names
            .iter()
            .map(|name| Ok(SanType::DnsName((*name).try_into()?)));
        let addresses = addresses
            .iter()
            .map(|address| Ok(SanType::IpAddress(IpAddr::V4(*address))));
        names
            .chain(addresses)
            .collect::<Result<Vec<_>, rcgen::Error>>()
    };
    let api = Some(server(&api_names, &api_addresses)?);
    let kubelet = Some(server(&[NODE], &[NODE_ADDRESS])?);
    let leaves = [
        ("apiserver", &ca, None, "kube-apiserver", api),
        ("kubelet-server", &ca, Some(NODES), node.as_str(), kubelet),
        (
            "apiserver-kubelet",
            &ca,
            Some(MASTERS),
            "kube-apiserver-kubelet-client",
            None,
        ),
        ("admin", &ca, Some(MASTERS), "admin", None),
        ("kubelet", &ca, Some(NODES), node.as_str(), None),
        ("cm", &ca, None, "system:kube-controller-manager", None),
        ("sched", &ca, None, "system:kube-scheduler", None),
        ("proxy", &ca, None, "system:kube-proxy", None),
        ("front-client", &front, None, "front-proxy-client", None),
    ];
    for (file, authority, group, name, server) in leaves {
        leaf(folder, file, authority, &subject(group, name), server)
            .with_context(|| format!("cannot make the certificate {file}"))?;
    }
    // Service account tokens are signed with this key.
    let key = KeyPair::generate()?;
    save(folder, "sa.key", &key.serialize_pem())?;
    save(folder, "sa.pub", &key.public_key_pem())
}

fn subject(group: Option<&str>, name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

fn authority(folder: &Path, file: &str, name: &str) -> Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(None, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    save(
        folder,
        &format!("{file}.crt"),
        &params.self_signed(&key)?.pem(),
    )?;
    save(folder, &format!("{file}.key"), &key.serialize_pem())?;
    Ok(Issuer::new(params, key))
}

/// A certificate for a server with these names, or for a client.
fn leaf(
    folder: &Path,
    file: &str,
    authority: &Authority,
    subject: &DistinguishedName,
    server: Option<Vec<SanType>>,
) -> Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject.clone();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![if server.is_some() {
        ExtendedKeyUsagePurpose::ServerAuth
    } else {
        ExtendedKeyUsagePurpose::ClientAuth
    }];
    params.subject_alt_names = server.unwrap_or_default();
    let key = KeyPair::generate()?;
    save(
        folder,
        &format!("{file}.crt"),
        &params.signed_by(&key, authority)?.pem(),
    )?;
    save(folder, &format!("{file}.key"), &key.serialize_pem())
}

fn save(folder: &Path, name: &str, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = folder.join(name);
    place::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", file.display()))
}
