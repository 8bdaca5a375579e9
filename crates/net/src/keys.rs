//! Makes the keys of a run: a CA that forgets its key, a server, a client.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::tls::is_host;
use crate::{KeysError, Role};

/// Makes a CA, and with it `dir/server/` and `dir/client/`, each with `tls.crt`, `tls.key` and
/// `ca.crt`: ECDSA over P-256, valid for [`VALIDITY`].
///
/// The server's certificate is for `hosts`, DNS names (also `*.example.org`) or IP addresses;
/// for `localhost`, 127.0.0.1 and ::1 when there are none. The client's can only be a client's,
/// the server's only a server's. Key files are 0600. The CA's key is not kept, so no further
/// certificate can be made to match.
///
/// # Errors
///
/// [`KeysError`]. Nothing is overwritten: one file in the way and none is written.
pub fn make(dir: &Path, hosts: &[String]) -> Result<(), KeysError> {
    let hosts = match hosts {
        [] => LOCAL.map(String::from).to_vec(),
        _ => hosts.to_vec(),
    };
    if let Some(host) = hosts.iter().find(|host| !is_host(host)) {
        return Err(KeysError::Host { host: host.clone() });
    }
    let (server, client) = (dir.join("server"), dir.join("client"));
    refuse_existing(&[&server, &client])?;
    let ca = authority()?;
    write_identity(&server, &ca, issue(&ca, Role::Server, hosts)?)?;
    write_identity(&client, &ca, issue(&ca, Role::Client, Vec::new())?)
}

/// A certificate and its key, in PEM form.
struct Issued {
    certificate: String,
    key: String,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Result<Authority, KeysError> {
    let key = KeyPair::generate().map_err(crypto)?;
    let mut params = CertificateParams::default();
    validity(&mut params);
    // A name of its own for each CA: verifiers look for a certificate's issuer by name.
    let id: String = params
        .key_identifier(&key)
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect();
    params.distinguished_name = name(&format!("barge CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key).map_err(crypto)
}

fn issue(ca: &Authority, role: Role, hosts: Vec<String>) -> Result<Issued, KeysError> {
    let key = KeyPair::generate().map_err(crypto)?;
    let mut params = CertificateParams::new(hosts).map_err(crypto)?;
    validity(&mut params);
    params.distinguished_name = name(&format!("barge {role}"));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match role {
        Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    let certificate = params.signed_by(&key, ca).map_err(crypto)?.pem();
    Ok(Issued {
        certificate,
        key: key.serialize_pem(),
    })
}

fn validity(params: &mut CertificateParams) {
    let now = SystemTime::now();
    params.not_before = (now - LEEWAY).into();
    params.not_after = (now + VALIDITY).into();
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn refuse_existing(dirs: &[&PathBuf]) -> Result<(), KeysError> {
    for path in dirs.iter().flat_map(|dir| FILES.map(|file| dir.join(file))) {
        match fs::symlink_metadata(&path) {
            Ok(_) => return Err(KeysError::Exists { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeysError::Write { path, source }),
        }
    }
    Ok(())
}

fn write_identity(dir: &Path, ca: &Authority, issued: Issued) -> Result<(), KeysError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| KeysError::Write {
            path: dir.to_owned(),
            source,
        })?;
    let [certificate, key, authority] = FILES.map(|file| dir.join(file));
    write_new(key, 0o600, &issued.key)?;
    write_new(certificate, 0o644, &issued.certificate)?;
    write_new(authority, 0o644, &ca.pem())
}

fn write_new(path: PathBuf, mode: u32, text: &str) -> Result<(), KeysError> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path);
    match created.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(KeysError::Exists { path })
        }
        Err(source) => Err(KeysError::Write { path, source }),
    }
}

fn crypto(error: rcgen::Error) -> KeysError {
    KeysError::Crypto(error.into())
}

/// How long the certificates are valid: longer than any migration, too short to be kept as a secret.
pub const VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// How far before now validity begins, for clocks that are behind.
const LEEWAY: Duration = Duration::from_secs(3600);

/// The server's names when none are given.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The files of an identity, as a Kubernetes TLS Secret names them.
const FILES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn make_writes_two_identities_and_keeps_their_keys_private() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &[]).unwrap();
        for role in [Role::Server, Role::Client] {
            Identity::load_for(dir.path(), role).unwrap();
            let key = dir.path().join(role.to_string()).join("tls.key");
            assert_eq!(
                fs::metadata(key).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        let entries = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(entries, 2, "the CA's key is not kept");
    }

    #[test]
    fn make_overwrites_nothing_and_names_the_file_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("client/tls.key");
        fs::create_dir(dir.path().join("client")).unwrap();
        fs::write(&taken, "mine").unwrap();
        let error = make(dir.path(), &[]).unwrap_err();
        assert!(
            matches!(&error, KeysError::Exists { path } if *path == taken),
            "{error}"
        );
        assert_eq!(fs::read(&taken).unwrap(), b"mine");
        assert!(!dir.path().join("server").exists());
    }

    #[test]
    fn make_refuses_hosts_no_certificate_can_name() {
        let dir = tempfile::tempdir().unwrap();
        for host in ["", "two words", "https://a", "a:443", "[::1]", "*", "a.*.b"] {
            let error = make(dir.path(), &[host.to_owned()]).unwrap_err();
            assert!(matches!(error, KeysError::Host { .. }), "{host:?}: {error}");
        }
        let hosts = [
            "*.apps.example.org",
            "192.0.2.1",
            "2001:db8::1",
            "a.example.org",
        ];
        make(dir.path(), &hosts.map(String::from)).unwrap();
    }
}
