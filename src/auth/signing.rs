//! `SigningKey`: signs tokens, for `rowcast token mint`. The server itself signs nothing.

use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto};
use serde_json::{Map, Value};

use super::Secret;
use super::keys::{KeyError, check_secret};

/// A key that signs, and its algorithm.
pub(crate) struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
}

impl SigningKey {
    /// A secret, for HS256.
    pub(crate) fn from_secret(secret: &Secret) -> Result<Self, KeyError> {
        check_secret(secret.as_bytes())?;
        Ok(Self {
            key: EncodingKey::from_secret(secret.as_bytes()),
            algorithm: Algorithm::HS256,
        })
    }

    /// A private key in PEM; which it is says the algorithm.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let tag = pem::parse(text).map(|block| block.tag().to_owned());
        match tag.as_deref() {
            Ok("PRIVATE KEY" | "RSA PRIVATE KEY") => {}
            Ok("EC PRIVATE KEY") => {
                return Err(KeyError(
                    "it is in the older form of EC keys; write the usual one with `openssl pkcs8 -topk8 -nocrypt -in \
                     FILE`"
                        .into(),
                ));
            }
            Ok("ENCRYPTED PRIVATE KEY") => {
                return Err(KeyError(
                    "it is encrypted; write it in the clear with `openssl pkcs8 -in FILE`".into(),
                ));
            }
            Ok(tag) => {
                return Err(KeyError(format!(
                    "it is of the kind {tag:?}, and a private key is needed to sign"
                )));
            }
            Err(_) => {
                return Err(KeyError(
                    "it is no PEM file; one begins with -----BEGIN PRIVATE KEY-----".into(),
                ));
            }
        }
        let keys = [
            (EncodingKey::from_rsa_pem(text), Algorithm::RS256),
            (EncodingKey::from_ec_pem(text), Algorithm::ES256),
            (EncodingKey::from_ec_pem(text), Algorithm::ES384),
            (EncodingKey::from_ed_pem(text), Algorithm::EdDSA),
        ];
        keys.into_iter()
            .filter_map(|(key, algorithm)| Some((key.ok()?, algorithm)))
            .find(|(key, algorithm)| crypto::sign(b"", key, *algorithm).is_ok())
            .map(|(key, algorithm)| Self { key, algorithm })
            .ok_or_else(|| {
                KeyError(
                    "it is no key that signs tokens; use RSA of 2048 bits or more, P-256, P-384 or Ed25519".into(),
                )
            })
    }

    /// A token with these claims.
    pub(crate) fn sign(
        &self,
        kid: Option<String>,
        claims: &Map<String, Value>,
    ) -> Result<String, KeyError> {
        let header = Header {
            kid,
            ..Header::new(self.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|error| KeyError(format!("the token could not be signed: {error}")))
    }
}
