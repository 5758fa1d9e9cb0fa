//! Keys and grants that are in files: reads them, and says which file is wrong and why.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::keys::{Key, KeyError};
use super::options::{KeySource, Secret};
use super::{GrantTemplate, jwk};
use crate::error::Error;

/// Longest file of keys or grants, in bytes. Longer ones are a mistake in the name.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The keys of one source.
pub(super) fn keys(source: &KeySource) -> Result<Vec<Key>, Error> {
    match source {
        KeySource::Secret(secret) => one(Key::from_secret(secret.as_bytes()), "--jwt-secret"),
        KeySource::SecretFile(path) => {
            let secret = secret(path)?;
            one(
                Key::from_secret(secret.as_bytes()),
                &format!("--jwt-secret-file {}", path.display()),
            )
        }
        KeySource::PublicKeyFile(path) => {
            let flag = "--jwt-public-key-file";
            let text = read(flag, path)?;
            one(public_key(&text), &format!("{flag} {}", path.display()))
        }
        KeySource::JwksFile(path) => {
            let flag = "--jwks-file";
            let text = read(flag, path)?;
            jwk::keys(&text, jwk::Origin::File)
                .map_err(|error| Error::Config(format!("{flag} {}: {error}", path.display())))
        }
    }
}

fn one(key: Result<Key, KeyError>, whence: &str) -> Result<Vec<Key>, Error> {
    key.map(|key| vec![key])
        .map_err(|error| Error::Config(format!("{whence}: {error}")))
}

/// The secret in a file: all but a line break at its end.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn secret(path: &Path) -> Result<Secret, Error> {
    let mut bytes = read("--jwt-secret-file", path)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    Ok(Secret::from(bytes))
}

/// The grants of a file, one a line; what follows a # is a comment.
pub(super) fn grants(path: &Path) -> Result<Vec<GrantTemplate>, Error> {
    let flag = "--grant-file";
    let bytes = read(flag, path)?;
    grants_of(&bytes, &format!("{flag} {}", path.display()))
}

/// The grants of a file that was read.
pub(super) fn grants_of(bytes: &[u8], whence: &str) -> Result<Vec<GrantTemplate>, Error> {
    let wrong = |line: usize, why: &dyn std::fmt::Display| {
        Error::Config(format!("{whence}, line {line}: {why}"))
    };
    let mut grants = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line =
            std::str::from_utf8(line).map_err(|_| wrong(index + 1, &"it is not text in UTF-8"))?;
        let grant = line.split('#').next().unwrap_or_default().trim();
        if !grant.is_empty() {
            let grant = GrantTemplate::parse(grant).map_err(|error| wrong(index + 1, &error))?;
            grants.push(grant);
        }
    }
    Ok(grants)
}

/// Reads a whole file that is small.
///
/// # Errors
/// When it cannot be read or is too long; the text names the flag.
pub(crate) fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            Error::Config(format!(
                "{flag} {} cannot be read: {error}; is the path right, and may rowcast read it?",
                path.display()
            ))
        })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::Config(format!(
            "{flag} {} is longer than 1 MB; is it the right file?",
            path.display()
        )));
    }
    Ok(bytes)
}

/// The key of a PEM file; or what else the file is, as far as one can tell.
pub(super) fn public_key(text: &[u8]) -> Result<Key, KeyError> {
    let blocks = pem::parse_many(text).unwrap_or_default();
    let mut keys = blocks.iter().filter(|block| block.tag() != "EC PARAMETERS");
    let (Some(block), more) = (keys.next(), keys.next()) else {
        return Err(KeyError(
            "it is no PEM file; one begins with -----BEGIN PUBLIC KEY-----".into(),
        ));
    };
    let wrong = |why: &str| Err(KeyError(why.into()));
    match block.tag() {
        tag if tag.ends_with("PRIVATE KEY") => {
            return wrong(
                "it is a private key, which belongs to those who sign and nowhere else; make the public one of it with \
                 `openssl pkey -in FILE -pubout`",
            );
        }
        tag if tag.ends_with("CERTIFICATE") => {
            return wrong(
                "it is a certificate, whose dates and names nobody would check; take the key out of it with \
                 `openssl x509 -in FILE -noout -pubkey`",
            );
        }
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        tag => {
            return Err(KeyError(format!(
                "it is of the kind {tag:?}, and a file with PUBLIC KEY is needed"
            )));
        }
    }
    if more.is_some() {
        return wrong(
            "it has several keys in it; put each into a file, and give the flag for each",
        );
    }
    let der = block.contents();
    // Object identifiers, as they stand in DER.
    let has = |oid: &[u8]| der.windows(oid.len()).any(|window| window == oid);
    if has(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a") {
        return wrong(
            "it is an RSA key bound to PSS; give it as a key set with the alg it is for, with --jwks-file",
        );
    }
    if let Some(key) = Key::from_der(der)? {
        return Ok(key);
    }
    wrong(if has(b"\x2a\x86\x48\xce\x3d\x02\x01") {
        "it is of an elliptic curve that tokens are not verified with here; use P-256 (ES256) or P-384 (ES384)"
    } else if has(b"\x2b\x65\x71") {
        "it is an Ed448 key; use Ed25519"
    } else {
        "it is no key of a kind that signs tokens; use RSA of 2048 bits or more, P-256, P-384 or Ed25519"
    })
}
