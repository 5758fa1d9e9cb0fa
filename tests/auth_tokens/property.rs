//! Random tokens: none makes the server panic, and none is accepted that was not signed with the key.

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

use crate::signer::{Signer, encode, now, options, start};

const TOKENS: usize = 5000;

fn value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(..if depth == 0 { 8 } else { 10 }) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => json!(random.i64(..)),
        3 => json!(now() + random.u64(..7200) - 3600),
        4 => json!(random.f64() * 1e12),
        5 => json!(["ann", "*", "tasks", "a:*", "inbox:{sub}", "a b", "{l}"][random.usize(..7)]),
        6 | 7 => {
            let length = random.usize(..12);
            json!((0..length).map(|_| random.char(..)).collect::<String>())
        }
        8 => (0..random.usize(..4))
            .map(|_| value(random, depth - 1))
            .collect(),
        _ => {
            let members =
                (0..random.usize(..4)).map(|n| (format!("{n}"), value(random, depth - 1)));
            Value::Object(members.collect())
        }
    }
}

fn claims(random: &mut fastrand::Rng) -> Value {
    let names = [
        "exp", "nbf", "iat", "sub", "aud", "iss", "jti", "channels", "publish", "channel", "l",
    ];
    let mut claims = Map::new();
    for _ in 0..random.usize(..8) {
        let name = names[random.usize(..names.len())];
        claims.insert(name.into(), value(random, 3));
    }
    if random.bool() {
        claims.insert("exp".into(), json!(now() + 60));
    }
    Value::Object(claims)
}

#[tokio::test]
async fn random_claims_never_panic_and_random_tokens_are_never_accepted() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let random = &mut random;
    let authenticator = start(options()).await;
    let signer = Signer::new(Algorithm::HS256);
    let forger = Signer {
        key: EncodingKey::from_secret(b"fedcba9876543210fedcba9876543210"),
        ..Signer::new(Algorithm::HS256)
    };
    let mut accepted = 0;
    for _ in 0..TOKENS {
        let claims = claims(random);
        let token = signer.sign(&claims);
        if let Ok(identity) = authenticator.identify(&token).await {
            accepted += 1;
            // What is accepted keeps to the rules.
            let exp = claims["exp"].as_f64().unwrap();
            assert!(exp > now() as f64 - 31.0, "seed {seed}: {claims}");
            assert!(
                claims.get("channel").is_none() && claims.get("aud").is_none(),
                "seed {seed}: {claims}"
            );
            let everything = claims["channels"] == "*"
                || claims["channels"]
                    .as_array()
                    .is_some_and(|all| all.contains(&json!("*")));
            assert_eq!(
                identity.grants.cover("other:people:things"),
                everything,
                "seed {seed}: {claims}"
            );
        }
        let _ = authenticator.permit(&token, Some("ann")).await;
        let forged = forger.sign(&claims);
        assert!(
            authenticator.identify(&forged).await.is_err(),
            "seed {seed}: {claims}"
        );

        // The same, broken somewhere.
        let mut bytes = token.clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..128),
                1 => bytes.insert(at, random.u8(..128)),
                _ => drop(bytes.remove(at)),
            }
        }
        let broken = String::from_utf8(bytes).unwrap();
        if broken != token {
            assert!(
                authenticator.identify(&broken).await.is_err(),
                "seed {seed}: {broken:?}"
            );
        }
        let parts = (0..random.usize(..6)).map(|_| {
            let length = random.usize(..40);
            let bytes: Vec<_> = (0..length).map(|_| random.u8(..)).collect();
            if random.bool() {
                encode(bytes)
            } else {
                String::from_utf8_lossy(&bytes).into_owned()
            }
        });
        let junk = parts.collect::<Vec<_>>().join(".");
        assert!(
            authenticator.identify(&junk).await.is_err(),
            "seed {seed}: {junk:?}"
        );
    }
    assert!(
        accepted > TOKENS / 50,
        "{accepted} of {TOKENS} were accepted, seed {seed}"
    );
}
