//! JSON Web Key Sets: which of their keys verify tokens here, and with which algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, KeyError};

/// Most keys of one set. Those of the largest providers have a dozen.
pub(super) const KEYS_MAX: usize = 100;

/// Where a set comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The operator's own file. Secrets may be in it.
    File,
    /// A URL, which others can read too. Secrets may not be in it.
    Url,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The parts of a key that matter here (RFC 7517, 7518, 8037).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    intended: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    /// The private part, which is not read, but noticed.
    d: Option<serde::de::IgnoredAny>,
}

/// The keys of a set that verify tokens. Others, such as those for encryption, are passed over.
pub(super) fn keys(text: &[u8], origin: Origin) -> Result<Vec<Key>, KeyError> {
    let set: KeySet = serde_json::from_slice(text).map_err(|error| {
        KeyError(format!(
            "it is no key set, which looks like {{\"keys\": [{{\"kty\": …}}]}}: {}",
            Place(&error)
        ))
    })?;
    if set.keys.len() > KEYS_MAX {
        return Err(KeyError(format!(
            "it has {} keys; at most {KEYS_MAX} are taken",
            set.keys.len()
        )));
    }
    let mut keys = Vec::new();
    let mut passed_over = Vec::new();
    for (index, value) in set.keys.into_iter().enumerate() {
        match key(value, origin) {
            Ok(key) => keys.push(key),
            Err(KeyError(why)) => {
                tracing::debug!(key = index + 1, why, "passed over a key of the key set");
                passed_over.push(format!("key {}: {why}", index + 1));
            }
        }
    }
    if keys.is_empty() {
        let why = if passed_over.is_empty() {
            "it is empty".to_owned()
        } else {
            passed_over.join("; ")
        };
        return Err(KeyError(format!(
            "the key set has no key that verifies tokens: {why}"
        )));
    }
    Ok(keys)
}

/// Where JSON is wrong, and nothing of what stands there.
struct Place<'a>(&'a serde_json::Error);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} column {}", self.0.line(), self.0.column())
    }
}

fn key(value: Value, origin: Origin) -> Result<Key, KeyError> {
    let wrong = |why: &str| KeyError(why.to_owned());
    let jwk: Jwk = serde_json::from_value(value)
        .map_err(|_| wrong("it has no kty, or a member of the wrong type"))?;
    if jwk
        .intended
        .as_deref()
        .is_some_and(|intended| intended != "sig")
    {
        return Err(wrong("its use is not sig"));
    }
    let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
    if !jwk.key_ops.as_ref().is_none_or(verifies) {
        return Err(wrong("its key_ops have no verify"));
    }
    let part = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .ok()
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| wrong("a part of it is missing, or is no base64url"))
    };
    if jwk.d.is_some() {
        return Err(wrong(
            "it is a private key, which belongs to those who sign and nowhere else",
        ));
    }
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Key::from_rsa_components(&part(&jwk.n)?, &part(&jwk.e)?)?,
        ("EC", Some("P-256")) => point(Algorithm::ES256, 32, &part(&jwk.x)?, &part(&jwk.y)?)?,
        ("EC", Some("P-384")) => point(Algorithm::ES384, 48, &part(&jwk.x)?, &part(&jwk.y)?)?,
        ("OKP", Some("Ed25519")) => {
            let x = part(&jwk.x)?;
            (x.len() == 32)
                .then(|| Key::curve(Algorithm::EdDSA, &x))
                .flatten()
                .ok_or_else(|| wrong("it is no point of Ed25519"))?
        }
        ("EC" | "OKP", _) => {
            return Err(wrong("its curve is none of P-256, P-384 and Ed25519"));
        }
        ("oct", _) if origin == Origin::Url => {
            return Err(wrong(
                "it is a secret, and whoever can read the URL could sign with it",
            ));
        }
        ("oct", _) => Key::from_secret(&part(&jwk.k)?)?,
        _ => return Err(wrong("its kty is none of RSA, EC, OKP and oct")),
    };
    let key = key.named(jwk.kid.as_deref());
    match jwk.alg {
        None => Ok(key),
        Some(alg) => alg
            .parse()
            .ok()
            .and_then(|algorithm| key.only(algorithm))
            .ok_or_else(|| wrong("its alg does not fit its kty, or does not sign")),
    }
}

fn point(algorithm: Algorithm, bytes: usize, x: &[u8], y: &[u8]) -> Result<Key, KeyError> {
    let of_length = x.len() == bytes && y.len() == bytes;
    // An uncompressed point (SEC 1, 2.3.3).
    of_length
        .then(|| Key::curve(algorithm, &[&[4], x, y].concat()))
        .flatten()
        .ok_or_else(|| KeyError("its x and y are no point of its curve".into()))
}
