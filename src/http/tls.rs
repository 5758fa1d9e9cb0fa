//! TLS for those without a proxy: certificate and key from files, replaced while connections live.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::options::TlsFiles;
use crate::error::Error;

/// What a connection is told that speaks TLS and something else than HTTP/1.1 inside.
const ALPN: &[u8] = b"http/1.1";

/// The first byte of everything that is TLS: a record with a handshake in it.
pub(super) const FIRST_BYTE: u8 = 0x16;

/// What is said to those who speak HTTP where TLS is spoken.
pub(super) const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\
    Connection: close\r\nContent-Length: 102\r\n\r\n\
    {\"error\":\"tls_required\",\"message\":\"this port speaks TLS: use https:// and wss:// in place of http://\"}";

/// A certificate and its key, as they were read last.
pub(crate) struct Tls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// # Errors
    /// [`Error::Config`] with the file and what is wrong with it.
    pub fn load(files: &TlsFiles) -> Result<Self, Error> {
        Ok(Self {
            files: files.clone(),
            config: ArcSwap::from(Arc::new(read(files)?)),
        })
    }

    /// Reads the files again, for connections to come. What was read last stays when they are not good.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self) -> Result<(), Error> {
        self.config.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        self.config.load_full().into()
    }
}

/// Whether the files are good.
///
/// # Errors
/// As [`Tls::load`].
pub(crate) fn check(files: &TlsFiles) -> Result<(), Error> {
    read(files).map(drop)
}

fn read(files: &TlsFiles) -> Result<ServerConfig, Error> {
    let (cert, key) = (files.cert.display(), files.key.display());
    let chain = CertificateDer::pem_slice_iter(&bytes("--tls-cert", &files.cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| config(format!("--tls-cert {cert} is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(config(format!(
            "--tls-cert {cert} has no certificate; it begins with -----BEGIN CERTIFICATE-----"
        )));
    }
    let pem = bytes("--tls-key", &files.key)?;
    let is_encrypted = |line: &[u8]| line.windows(9).any(|word| word == b"ENCRYPTED");
    if pem.split(|&byte| byte == b'\n').any(is_encrypted) {
        return Err(config(format!(
            "--tls-key {key} is encrypted; `openssl pkey -in {key} -out key.pem` writes one that is not"
        )));
    }
    // What the parser says is kept back: it may quote the file.
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        config(format!(
            "--tls-key {key} has no private key; it begins with -----BEGIN PRIVATE KEY-----"
        ))
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| config(format!("TLS: {error}")))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => config(format!(
                "--tls-key {key} is not the key of --tls-cert {cert}; the server's own certificate has to be the first in its file"
            )),
            error => config(format!("--tls-cert {cert} with --tls-key {key}: {error}")),
        })?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    // Thousands that come back at once after a restart of a proxy need no signature each.
    server.ticketer =
        aws_lc_rs::Ticketer::new().map_err(|error| config(format!("TLS: {error}")))?;
    Ok(server)
}

fn bytes(flag: &str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| config(format!("{flag} {}: {error}", path.display())))
}

fn config(text: String) -> Error {
    Error::Config(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_it_says() {
        let text = str::from_utf8(PLAIN_HTTP_ANSWER).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{}",
            body.len()
        );
    }
}
