//! Laws of what operators give: keys, key sets, and files of grants.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use url::Url;

use super::super::jwk::{self, KEYS_MAX, Origin};
use super::super::keys::{SECRET_BYTES_MIN, check_secret};
use super::super::signing::SigningKey;
use super::super::{JwksUrl, files};

/// Stands for a secret in a key set. Too short to be a key, so that it is complained about.
const CANARY: &[u8] = b"canary of a secret";

/// Any bytes as a file of each kind.
pub(crate) fn keys(data: &[u8]) {
    if let Ok(key) = files::public_key(data) {
        let _ = format!("{key:?}");
        assert!(
            check_secret(data).is_err() || !data.starts_with(b"-----BEGIN"),
            "a public key is no secret"
        );
    }
    assert!(check_secret(data).is_err() || data.len() >= SECRET_BYTES_MIN);
    // Slow, and of use only where there is something of a key.
    if data.windows(11).any(|window| window == b"PRIVATE KEY") {
        let _ = SigningKey::from_pem(data);
    }
    key_set(data);
    if let Ok(grants) = files::grants_of(data, "a file") {
        let lines = data.split(|byte| *byte == b'\n').count();
        assert!(grants.len() <= lines, "more grants than lines");
    }
    for line in String::from_utf8_lossy(data).split('\n') {
        jwks_url(line);
    }
}

fn key_set(data: &[u8]) {
    let found = jwk::keys(data, Origin::File).map(|keys| keys.len());
    let fetched = jwk::keys(data, Origin::Url).map(|keys| keys.len()).ok();
    let Ok(mut set) = serde_json::from_slice::<Value>(data) else {
        assert!(found.is_err() && fetched.is_none());
        return;
    };
    let Some(Value::Array(members)) = set.get_mut("keys") else {
        return;
    };
    let is_secret = |key: &Value| key.get("kty").is_some_and(|kty| kty == "oct");
    let public = members.iter().filter(|key| !is_secret(key)).count();
    assert!(
        fetched.is_none_or(|keys| keys <= public),
        "a secret was taken from a URL"
    );
    assert!(found.is_err() || members.len() <= KEYS_MAX);
    let canary = URL_SAFE_NO_PAD.encode(CANARY);
    // What is the canary elsewhere, as a kid, is no secret.
    let is_shown = |text: &str| text.contains("canary") || text.contains(&canary);
    if is_shown(&Value::Array(members.clone()).to_string()) {
        return;
    }
    for key in members.iter_mut().filter_map(Value::as_object_mut) {
        for secret in ["k", "d", "p", "q", "dp", "dq", "qi"] {
            if let Some(value) = key.get_mut(secret) {
                *value = canary.as_str().into();
            }
        }
    }
    let text = set.to_string();
    for origin in [Origin::File, Origin::Url] {
        let shown = match jwk::keys(text.as_bytes(), origin) {
            Ok(keys) => format!("{keys:?}"),
            Err(error) => error.to_string(),
        };
        assert!(!is_shown(&shown), "{shown}");
    }
}

/// What is shown of a URL has no user, no password and no query.
fn jwks_url(text: &str) {
    let Ok(url) = text.parse::<JwksUrl>() else {
        return;
    };
    let shown: Url = url.to_string().parse().expect("what is shown is a URL");
    assert!(
        shown.username().is_empty() && shown.password().is_none() && shown.query().is_none(),
        "{shown}"
    );
    assert!(shown.scheme() == "https" || url.is_loopback());
}
