//! Whom a service trusts: its CA certificates, and what of a peer's certificate is looked at.

use std::fs;
use std::path::Path;

use barge_net::Trust;

use super::conf::Service;
use super::pin::Pin;

/// Reads a service's CA certificates.
///
/// # Errors
///
/// The sentence that tells which file cannot be used.
pub(super) fn of(service: &Service, pin: &Pin) -> Result<Trust, String> {
    let verify = service.verify;
    let mut trust = Trust::default();
    trust.request = verify.request;
    trust.require = verify.require;
    trust.chain = verify.chain;
    trust.peer = verify.peer;
    trust.hosts.clone_from(&service.hosts);
    if let Some(path) = &service.ca_file {
        trust.add_file(path).map_err(|error| error.to_string())?;
    }
    if let Some(path) = &service.ca_path {
        add_folder(&mut trust, path)?;
    }
    pin.ask(&mut trust)?;
    Ok(trust)
}

/// Adds the files of a folder that are called by the hash of their subject.
fn add_folder(trust: &mut Trust, folder: &Path) -> Result<(), String> {
    let fails = |error: std::io::Error| format!("CApath {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(fails)? {
        let path = entry.map_err(fails)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(is_hash) {
            trust.add_file(&path).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// Eight hexadecimal digits, a dot and a number (openssl-rehash(1)).
fn is_hash(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        let digits =
            |text: &str, is: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(is);
        hash.len() == 8 && digits(hash, u8::is_ascii_hexdigit) && digits(number, u8::is_ascii_digit)
    })
}
