//! Keys and grants in files: what is taken, what else a file may be by mistake, and what a reload changes.

use std::fs;
use std::path::Path;

use jsonwebtoken::Algorithm;
use rowcast::Authenticator;
use rowcast::auth::{AuthOptions, KeySource, Secret};
use serde_json::json;

use crate::signer::{SECRET, Signer, claims, fixture, options, start};

async fn failure(source: KeySource) -> String {
    let options = AuthOptions {
        keys: vec![source],
        ..AuthOptions::default()
    };
    let error = Authenticator::start(options).await.expect_err("no key");
    assert!(error.is_config(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_file_that_is_no_public_key_is_told_from_others() {
    for (name, why) in [
        ("certificate.pem", "certificate"),
        ("rsa1024.pem", "2048"),
        ("p521.pem", "P-256"),
        ("secp256k1.pem", "P-256"),
        ("ed448.pem", "Ed25519"),
        ("x25519.pem", "kind that signs"),
        ("rsapss.pem", "PSS"),
        ("missing.pem", "cannot be read"),
    ] {
        let error = failure(KeySource::PublicKeyFile(fixture(name))).await;
        assert!(
            error.contains(why) && error.contains(name),
            "{name}: {error}"
        );
        assert!(error.starts_with("--jwt-public-key-file"), "{error}");
    }
    let plain = AuthOptions {
        keys: vec![KeySource::PublicKeyFile(fixture("rsa_pkcs1.pem"))],
        ..AuthOptions::default()
    };
    start(plain).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
        let signer = Signer::new(algorithm);
        fs::write(&path, &signer.private).unwrap();
        let error = failure(KeySource::PublicKeyFile(path.clone())).await;
        assert!(
            error.contains("private key") && error.contains("-pubout"),
            "{error}"
        );
        fs::write(&path, format!("{0}{0}", signer.public)).unwrap();
        let error = failure(KeySource::PublicKeyFile(path.clone())).await;
        assert!(error.contains("several keys"), "{error}");
        // The mistake that lets everybody sign.
        fs::write(&path, &signer.public).unwrap();
        let error = failure(KeySource::SecretFile(path.clone())).await;
        assert!(error.contains("--jwt-public-key-file"), "{error}");
    }
    for junk in [
        "",
        "key",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ] {
        fs::write(&path, junk).unwrap();
        failure(KeySource::PublicKeyFile(path.clone())).await;
    }
}

#[tokio::test]
async fn a_secret_is_long_and_ends_before_the_line_break() {
    for short in ["", "hunter2", &SECRET[1..]] {
        let error = failure(KeySource::Secret(Secret::from(short))).await;
        assert!(
            error.contains("openssl rand -base64 32") && error.contains("rowcast token secret"),
            "{error}"
        );
        assert!(short.is_empty() || !error.contains(short), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let token = Signer::new(Algorithm::HS256).sign(&claims(&json!({})));
    for (ending, same) in [
        ("", true),
        ("\n", true),
        ("\r\n", true),
        ("\n\n", false),
        (" \n", false),
    ] {
        fs::write(&path, format!("{SECRET}{ending}")).unwrap();
        let keys = vec![KeySource::SecretFile(path.clone())];
        let authenticator = start(AuthOptions { keys, ..options() }).await;
        assert_eq!(
            authenticator.identify(&token).await.is_ok(),
            same,
            "{ending:?}"
        );
    }
}

#[tokio::test]
async fn a_key_set_gives_the_keys_that_verify_and_binds_their_algorithm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let with = |set: serde_json::Value| {
        fs::write(&path, set.to_string()).unwrap();
        AuthOptions {
            keys: vec![KeySource::JwksFile(path.clone())],
            ..options()
        }
    };
    let good = claims(&json!({}));
    for algorithm in [
        Algorithm::RS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
        Algorithm::HS256,
    ] {
        let signer = Signer::new(algorithm);
        let authenticator = start(with(json!({"keys": [signer.jwk("k"), {"kty": "new"}]}))).await;
        assert!(
            authenticator
                .identify(&signer.sign_named("k", &good))
                .await
                .is_ok(),
            "{algorithm:?}"
        );
    }
    // With alg, that and no other; without it, the family.
    let rsa = Signer::new(Algorithm::RS256);
    let other = Signer {
        algorithm: Algorithm::PS384,
        key: rsa.key.clone(),
        private: String::new(),
        public: String::new(),
    };
    let bound = start(with(json!({"keys": [rsa.jwk("k")]}))).await;
    assert!(bound.identify(&rsa.sign(&good)).await.is_ok());
    assert!(bound.identify(&other.sign(&good)).await.is_err());
    let mut free = rsa.jwk("k");
    free.as_object_mut().unwrap().remove("alg");
    let free = start(with(json!({"keys": [free]}))).await;
    assert!(free.identify(&other.sign(&good)).await.is_ok());

    let es = Signer::new(Algorithm::ES256);
    let change = |changes: serde_json::Value| {
        let mut jwk = es.jwk("k");
        jwk.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        json!({"keys": [jwk]})
    };
    start(with(change(
        json!({"use": "sig", "key_ops": ["sign", "verify"]}),
    )))
    .await;
    for (bad, why) in [
        (change(json!({"use": "enc"})), "use is not sig"),
        (change(json!({"key_ops": ["encrypt"]})), "no verify"),
        (change(json!({"alg": "ES384"})), "alg does not fit"),
        (change(json!({"alg": "HS256"})), "alg does not fit"),
        (change(json!({"alg": "none"})), "alg does not fit"),
        (change(json!({"alg": "RSA-OAEP"})), "alg does not fit"),
        (change(json!({"crv": "P-521"})), "curve"),
        (change(json!({"crv": "P-384"})), "no point"),
        (change(json!({"crv": "secp256k1"})), "curve"),
        (change(json!({"y": es.jwk("k")["x"]})), "no point"),
        (change(json!({"x": "!"})), "base64url"),
        (change(json!({"x": 7})), "wrong type"),
        (change(json!({"d": "AAAA"})), "private key"),
        (
            json!({"keys": [{"kty": "oct", "k": "AAAA"}]}),
            "can be guessed",
        ),
        (
            json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}),
            "bits",
        ),
        (
            json!({"keys": [{"kty": "OKP", "crv": "X25519", "x": "AAAA"}]}),
            "curve",
        ),
        (json!({"keys": []}), "it is empty"),
        (json!({"keys": vec![json!({}); 101]}), "at most 100"),
        (json!({"keys": {}}), "no key set"),
        (es.jwk("k"), "no key set"),
        (json!([]), "no key set"),
    ] {
        let error = Authenticator::start(with(bad.clone()))
            .await
            .expect_err("no key")
            .to_string();
        assert!(
            error.starts_with("--jwks-file") && error.contains(why),
            "{bad}: {error}"
        );
    }
}

#[tokio::test]
async fn a_reload_takes_effect_as_a_whole_and_says_whether_anything_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
    let (secret, set, grants) = (file("secret"), file("set"), file("grants"));
    let (one, two) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::EdDSA));
    let hs = Signer::new(Algorithm::HS256);
    write(&secret, SECRET);
    write(&set, &json!({"keys": [one.jwk("one")]}).to_string());
    write(&grants, "# all\ntasks\n\n  org:{org} # theirs\r\n");
    let authenticator = start(AuthOptions {
        keys: vec![
            KeySource::SecretFile(secret.clone()),
            KeySource::JwksFile(set.clone()),
        ],
        grant_files: vec![grants.clone()],
        ..AuthOptions::default()
    })
    .await;
    let good = claims(&json!({"org": 1}));
    let accepts = async |token: String| authenticator.identify(&token).await.is_ok();
    let removed = async || {
        authenticator
            .reload()
            .await
            .map(|reload| reload.anything_removed)
    };
    let identity = authenticator.identify(&hs.sign(&good)).await.unwrap();
    assert!(identity.grants.cover("tasks") && identity.grants.cover("org:1"));
    assert!(!removed().await.unwrap());
    // More than before: nobody needs to go.
    write(
        &set,
        &json!({"keys": [two.jwk("two"), one.jwk("one")]}).to_string(),
    );
    write(&grants, "tasks\norg:{org}\nnews");
    assert!(!removed().await.unwrap());
    assert!(accepts(two.sign_named("two", &good)).await);
    // Something is wrong: nothing changes, not even what is right.
    write(&set, "{");
    write(&secret, "another secret, which is long enough for this");
    assert!(
        removed()
            .await
            .unwrap_err()
            .to_string()
            .contains("--jwks-file")
    );
    assert!(accepts(hs.sign(&good)).await);
    write(&set, &json!({"keys": [two.jwk("two")]}).to_string());
    write(&grants, "tasks\nin box");
    let error = removed().await.unwrap_err().to_string();
    assert!(
        error.contains("--grant-file") && error.contains("line 2"),
        "{error}"
    );
    assert!(accepts(one.sign_named("one", &good)).await);
    // A key and a grant are gone.
    write(&grants, "tasks\n");
    assert!(removed().await.unwrap());
    assert!(!accepts(one.sign_named("one", &good)).await);
    assert!(!accepts(hs.sign(&good)).await);
    assert!(accepts(two.sign_named("two", &good)).await);
    assert!(!removed().await.unwrap());
    // The same key under another name is another key.
    write(&set, &json!({"keys": [two.jwk("three")]}).to_string());
    assert!(removed().await.unwrap());
    write(&grants, "");
    assert!(removed().await.unwrap());
}
