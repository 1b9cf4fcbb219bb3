//! Certificates of a control plane: one authority signs the API server's and the
//! administrator's.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Name of the file with the authority's certificate.
pub(super) const CA: &str = "ca.crt";

/// An address that the API server's certificate has besides loopback's: that of the
/// pod of number 20, from which a [`super::line::Line`] can lead to the server.
pub const FAR_ADDRESS: &str = "10.244.0.20";

/// Writes all keys and certificates into a folder, and the key pair that signs the
/// tokens of service accounts.
pub(super) fn make(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let names = &mut params.distinguished_name;
    names.push(DnType::CommonName, "kubernetes-ca");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join(CA), certificate.pem()).unwrap();
    let issuer = Issuer::new(params, key);

    let names = ["127.0.0.1", "localhost", FAR_ADDRESS];
    let server = CertificateParams::new(names.map(str::to_owned)).unwrap();
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    sign(folder, "apiserver", server, usage, &issuer);
    // The API server allows this group everything, whatever RBAC says.
    let mut admin = CertificateParams::default();
    let names = &mut admin.distinguished_name;
    names.push(DnType::OrganizationName, "system:masters");
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    sign(folder, "admin", admin, usage, &issuer);

    let key = KeyPair::generate().unwrap();
    fs::write(folder.join("sa.key"), key.serialize_pem()).unwrap();
    fs::write(folder.join("sa.pub"), key.public_key_pem()).unwrap();
}

fn sign(
    folder: &Path,
    name: &str,
    mut params: CertificateParams,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) {
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let file = |suffix: &str| folder.join(format!("{name}.{suffix}"));
    fs::write(file("crt"), certificate.pem()).unwrap();
    fs::write(file("key"), key.serialize_pem()).unwrap();
}
