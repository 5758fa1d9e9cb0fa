//! Key pairs made for one test, and tokens signed with them: by another library than the one that verifies, or by hand.

use std::path::PathBuf;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rowcast::Authenticator;
use rowcast::auth::{AuthOptions, KeySource, Secret};
use serde_json::{Value, json};

/// As `rowcast token secret` would make it, only the same each time.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Who signs.
pub struct Signer {
    pub algorithm: Algorithm,
    pub key: EncodingKey,
    /// The private and the public key, in PEM. Empty for a secret.
    pub private: String,
    pub public: String,
}

impl Signer {
    pub fn new(algorithm: Algorithm) -> Self {
        let (private, public) = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                return Self {
                    algorithm,
                    key: EncodingKey::from_secret(SECRET.as_bytes()),
                    private: String::new(),
                    public: String::new(),
                };
            }
            Algorithm::ES256 => curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
                (
                    pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref()),
                    pem("PUBLIC KEY", public.as_ref()),
                )
            }
            _ => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
                let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
                (
                    pem("PRIVATE KEY", private.as_ref()),
                    pem("PUBLIC KEY", public.as_ref()),
                )
            }
        };
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(private.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(private.as_bytes()),
            _ => EncodingKey::from_rsa_pem(private.as_bytes()),
        };
        Self {
            algorithm,
            key: key.unwrap(),
            private,
            public,
        }
    }

    /// The public key as a member of a key set.
    pub fn jwk(&self, kid: &str) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(
            &json!({"typ": "JWT", "alg": self.name()}),
            &claims.to_string(),
        )
    }

    pub fn sign_named(&self, kid: &str, claims: &Value) -> String {
        self.sign_as(
            &json!({"alg": self.name(), "kid": kid}),
            &claims.to_string(),
        )
    }

    /// Signs whatever the header and the payload say.
    pub fn sign_as(&self, header: &Value, payload: &str) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(payload));
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    pub fn name(&self) -> String {
        format!("{:?}", self.algorithm)
    }
}

fn curve(algorithm: &'static EcdsaSigningAlgorithm) -> (String, String) {
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    (
        pem("PRIVATE KEY", document.as_ref()),
        pem("PUBLIC KEY", public.as_ref()),
    )
}

fn pem(tag: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n",
        lines.join("\n")
    )
}

pub fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Claims that are in order, with these instead of or beside them; null takes one out.
pub fn claims(changes: &Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": now() + 3600});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// Options with the secret.
pub fn options() -> AuthOptions {
    AuthOptions {
        keys: vec![KeySource::Secret(Secret::from(SECRET))],
        ..AuthOptions::default()
    }
}

pub async fn start(options: AuthOptions) -> Authenticator {
    Authenticator::start(options).await.unwrap()
}

/// An authenticator with nothing but this public key.
pub async fn with_public_key(public: &str) -> (Authenticator, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, public).unwrap();
    let options = AuthOptions {
        keys: vec![KeySource::PublicKeyFile(path)],
        ..AuthOptions::default()
    };
    (start(options).await, folder)
}

/// A file among the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/auth_tokens/pem")
        .join(name)
}
