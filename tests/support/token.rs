//! Tokens that a test signs, and a configuration that accepts them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rowcast::Config;
use rowcast::auth::{AuthOptions, KeySource};
use serde_json::{Value, json};

/// What tests sign with. Found in no log and no answer: the suite looks for it.
pub const SECRET: &str = "a secret of this test and of nobody else";

/// Asks clients for tokens signed with the secret.
pub fn ask_for_tokens(config: &mut Config) {
    config.auth = Some(AuthOptions {
        keys: vec![KeySource::Secret(SECRET.into())],
        ..AuthOptions::default()
    });
}

/// Now, in seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// A token with these claims, and an `exp` in an hour if they have none.
pub fn token(claims: Value) -> String {
    let mut claims = claims;
    let fields = claims.as_object_mut().expect("claims are an object");
    fields.entry("exp").or_insert(json!(now() + 3600));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).expect("it signs")
}

/// The token of a user who may subscribe to these.
pub fn token_for(user: &str, channels: &[&str]) -> String {
    token(json!({"sub": user, "channels": channels}))
}

/// Whether a text tells what nobody may be told: the secret, or what begins as tokens do.
pub fn tells_a_secret(text: &str) -> bool {
    // The shortest header there is, `{"alg":"HS256"}`, has 20 characters.
    let is_token = |(start, _)| {
        let rest = &text.as_bytes()[start..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        rest.iter().take_while(|byte| is_part(byte)).count() >= 20
    };
    text.contains(SECRET) || text.match_indices("eyJ").any(is_token)
}
