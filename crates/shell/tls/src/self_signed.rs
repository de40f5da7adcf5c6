//! `--auto-tls` and `--peer-auto-tls`: a certificate nobody signed but its own key.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P521_SHA512,
};

use crate::files::Pair;

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum SelfSignedError {
    /// `--self-signed-cert-validity=0`.
    #[error("selfSignedCertValidity is invalid,it should be greater than 0")]
    NoTime,
    /// A host is no name and no address.
    #[error("the certificate cannot be made")]
    Make(#[source] rcgen::Error),
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How long a year is, to etcd.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The certificate of a folder (`<data-dir>/fixtures/client`): the one that is there, or one made now, on
/// P-521 and for these hosts, as etcd makes it. Says whether it was made.
///
/// # Errors
/// [`SelfSignedError`].
pub fn self_signed(
    folder: &Path,
    hosts: &[String],
    years: u32,
) -> Result<(Pair, bool), SelfSignedError> {
    if years == 0 {
        return Err(SelfSignedError::NoTime);
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SelfSignedError::Write { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed(folder))?;
    let pair = Pair { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    if pair.cert.exists() && pair.key.exists() {
        return Ok((pair, false));
    }
    let (cert, key) = make(hosts, years).map_err(SelfSignedError::Make)?;
    write(&pair.cert, &cert, 0o644).map_err(failed(&pair.cert))?;
    write(&pair.key, &key, 0o600).map_err(failed(&pair.key))?;
    Ok((pair, true))
}

fn make(hosts: &[String], years: u32) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512)?;
    let mut params = CertificateParams::new(hosts.to_vec())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "etcd");
    params.distinguished_name = name;
    params.not_before = SystemTime::now().into();
    params.not_after = (SystemTime::now() + YEAR * years).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.is_ca = IsCa::ExplicitNoCa;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
