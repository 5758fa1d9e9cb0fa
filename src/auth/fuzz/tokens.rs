//! Laws of tokens: accepted are those that a key signed, and they grant what they say.

use std::io::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use serde_json::{Map, Value, json};

use super::super::grants::find;
use super::super::{
    AuthOptions, Authenticator, Finding, GrantTemplate, Grants, Identity, KeySource,
};
use super::is_of;
use crate::event::ChannelPattern;

/// The secret of the tokens in the corpus.
const SECRET: &str = "a secret of the corpus and of nobody else";

/// Grants of the server under test.
const GRANTS: [&str; 4] = [
    "inbox:{sub}",
    "user:{sub}",
    "team:{teams}:*",
    "org:{org.id}-x:tasks",
];

/// Longest text of an error, in bytes: a client is told what is wrong, and nothing of what it sent.
const ERROR_BYTES_MAX: usize = 200;

/// A server with a key of each family, and who signs for it.
struct Fixture {
    server: Authenticator,
    curve: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

/// Keys are made at the start, the secret apart: what is found does not depend on them.
static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let curve = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let rsa = RsaKeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
    let point = curve.public_key().as_ref();
    let set = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "curve", "alg": "ES256",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    }]});
    let public = pem::Pem::new("RSA PUBLIC KEY", rsa.public_key().as_ref());
    let file = |text: String| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("it is written");
        file
    };
    let (set, public) = (file(set.to_string()), file(pem::encode(&public)));
    let options = AuthOptions {
        keys: vec![
            KeySource::Secret(SECRET.into()),
            KeySource::JwksFile(set.path().into()),
            KeySource::PublicKeyFile(public.path().into()),
        ],
        grants: GRANTS
            .iter()
            .map(|text| GrantTemplate::parse(text).expect("a constant"))
            .collect(),
        allow_no_exp: true,
        ..AuthOptions::default()
    };
    let server = Authenticator::start(options).now_or_never();
    Fixture {
        server: server.expect("nothing to wait for").expect("good keys"),
        curve,
        rsa,
    }
});

/// Four lines: who signs (`hs256`, `es256`, `rs256`, or `raw` for a token as it is), a header, claims; then edits of the
/// token, as three bytes each: where, in two of them, and what is written there.
pub(crate) fn token(data: &[u8]) {
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (signer, header, claims, edits) = (part(), part(), part(), part());
    if signer == b"raw" {
        judge(&String::from_utf8_lossy(header), None);
        return;
    }
    let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encode(header), encode(claims));
    let Some((algorithm, signature)) = FIXTURE.sign(signer, message.as_bytes()) else {
        judge(&String::from_utf8_lossy(data), None);
        return;
    };
    let mut token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes();
    for edit in edits.chunks_exact(3) {
        let place = usize::from(edit[0]) << 8 | usize::from(edit[1]);
        let length = token.len();
        token[place % length] = edit[2];
    }
    judge(
        &String::from_utf8_lossy(&token),
        Some((algorithm, &message)),
    );
}

impl Fixture {
    fn sign(&self, signer: &[u8], message: &[u8]) -> Option<(&'static str, Vec<u8>)> {
        let random = SystemRandom::new();
        match signer {
            b"hs256" => Some(("HS256", mac(hmac::HMAC_SHA256, message))),
            b"es256" => {
                let signature = self.curve.sign(&random, message).expect("it signs");
                Some(("ES256", signature.as_ref().to_vec()))
            }
            b"rs256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("it signs");
                Some(("RS256", signature))
            }
            _ => None,
        }
    }
}

fn mac(hash: hmac::Algorithm, message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hash, SECRET.as_bytes());
    hmac::sign(&key, message).as_ref().to_vec()
}

/// Has the server look at a token, of which `signed` is what a key has signed with which algorithm.
fn judge(token: &str, signed: Option<(&str, &str)>) {
    let server = &FIXTURE.server;
    let identity = server.identify(token).now_or_never();
    let identity = identity.expect("nothing to wait for");
    let inspected = server.inspect(token).now_or_never();
    let inspected = inspected.expect("nothing to wait for");
    let user = match &inspected {
        Ok(Finding::Subscription(user, _)) => user.clone(),
        _ => None,
    };
    let permit = server.permit(token, user.as_deref()).now_or_never();
    let permit = permit.expect("nothing to wait for");
    assert!(
        identity.is_err() || permit.is_err(),
        "a token is for a connection or a subscription"
    );
    for error in [identity.as_ref().err(), permit.as_ref().err()] {
        let shown = error.map(ToString::to_string).unwrap_or_default();
        assert!(shown.len() <= ERROR_BYTES_MAX, "{} bytes", shown.len());
        assert!(!has_part_of(token, &shown), "a part of a token is shown");
    }
    match &inspected {
        Ok(Finding::Connection(found)) => assert_eq!(identity.as_deref(), Ok(found)),
        Ok(Finding::Subscription(_, found)) => assert_eq!(permit.as_ref(), Ok(found)),
        Err(refusal) => {
            assert!(identity.is_err() && permit.is_err(), "{refusal}");
            let signature = token.rsplit('.').next().unwrap_or_default();
            let shown = refusal.to_string();
            assert!(signature.len() < 20 || !shown.contains(signature));
            assert!(!shown.contains(SECRET));
            return;
        }
    }
    let claims = authentic(token, signed);
    match (identity, permit) {
        (Ok(identity), _) => connection(&identity, &claims),
        (_, Ok(permit)) => {
            let channel = claims.get("channel").and_then(Value::as_str);
            assert_eq!(channel, Some(permit.pattern.as_str()));
            ends(permit.expires_at, &claims);
            let other = server
                .permit(token, Some("somebody else than that"))
                .now_or_never();
            let other = other.expect("nothing to wait for");
            assert!(other.is_err() || user.as_deref() == Some("somebody else than that"));
        }
        _ => unreachable!("one of them was found"),
    }
}

fn has_part_of(token: &str, shown: &str) -> bool {
    token
        .split('.')
        .any(|part| part.len() >= 20 && shown.contains(part))
}

/// A key has signed it, as we know who ask it; and its claims, read by another.
fn authentic(token: &str, signed: Option<(&str, &str)>) -> Map<String, Value> {
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("accepted, and not three parts: {token}");
    };
    let json = |part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
        serde_json::from_slice::<Map<String, Value>>(&bytes).expect("an object")
    };
    let header_json = json(header);
    let algorithm = header_json.get("alg").and_then(Value::as_str);
    assert!(
        !header_json.contains_key("crit"),
        "crit was not understood: {token}"
    );
    let message = format!("{header}.{payload}");
    let is_ours = signed.is_some_and(|(own, ours)| algorithm == Some(own) && message == ours);
    let hash = match algorithm {
        Some("HS256") => Some(hmac::HMAC_SHA256),
        Some("HS384") => Some(hmac::HMAC_SHA384),
        Some("HS512") => Some(hmac::HMAC_SHA512),
        _ => None,
    };
    let is_mac =
        hash.is_some_and(|hash| URL_SAFE_NO_PAD.encode(mac(hash, message.as_bytes())) == signature);
    assert!(is_ours || is_mac, "FORGED: {token}");
    json(payload)
}

fn connection(identity: &Identity, claims: &Map<String, Value>) {
    assert!(
        !claims.contains_key("channel"),
        "a permit is no token to connect with"
    );
    let user = match claims.get("sub") {
        Some(Value::String(user)) => Some(user.clone()),
        Some(number) => Some(number.to_string()),
        None => None,
    };
    assert_eq!(identity.user.as_deref(), user.as_deref());
    assert_eq!(
        identity.token_id.as_deref(),
        claims.get("jti").and_then(Value::as_str)
    );
    ends(identity.expires_at, claims);
    granted(&identity.grants, claims, "channels", &GRANTS);
    granted(&identity.publish, claims, "publish", &[]);
}

/// When it ends is what it says, give or take the clocks.
fn ends(expires_at: Option<u64>, claims: &Map<String, Value>) {
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    let now = super::super::now() as f64;
    assert_eq!(expires_at.is_some(), claims.contains_key("exp"));
    if let (Some(at), Some(exp)) = (expires_at, number("exp")) {
        let at = at as f64;
        assert!(at <= (exp + 31.0).max(0.0), "{at} is after {exp}");
        assert!(at + 31.0 >= now, "{at} is over, and it is {now}");
    }
    for name in ["nbf", "iat"] {
        assert!(number(name).is_none_or(|from| from <= now + 31.0), "{name}");
    }
}

/// Each pattern is an entry of the claim as it stands there, or comes of a template, with no wildcard of a claim; and no
/// entry is left out.
fn granted(grants: &Grants, claims: &Map<String, Value>, name: &str, server: &[&str]) {
    let entries: Vec<&str> = match claims.get(name) {
        Some(Value::String(text)) => text.split(' ').filter(|entry| !entry.is_empty()).collect(),
        Some(Value::Array(entries)) => entries.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for pattern in grants.patterns() {
        let text = pattern.as_str();
        let plain = entries.contains(&text);
        let mut templates = entries.iter().chain(server);
        let filled = templates.any(|entry| entry.contains('{') && is_of(entry, text));
        assert!(plain || filled, "{text:?} is of nothing in {claims:?}");
    }
    for entry in entries.iter().filter(|entry| !entry.contains('{')) {
        let asked = ChannelPattern::parse(entry).expect("it was accepted");
        assert_eq!(
            grants.narrow(&asked),
            std::slice::from_ref(&asked),
            "{entry:?} is withheld"
        );
    }
    // What is for a user is for that user only.
    if let Some(Value::String(user)) = find(claims, "sub")
        && name == "channels"
        && super::super::is_part(user)
        && user.len() < 100
    {
        assert!(grants.cover(&format!("inbox:{user}")), "{user} is withheld");
    }
}
