//! Tokens: those that are accepted and what they grant, and the attacks that are not.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do, where they stand"
)]

#[cfg(feature = "sqlite")]
mod cli;
mod files;
mod jwks;
mod property;
mod signer;

use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, crypto};
use rowcast::auth::{AuthError, AuthOptions, GrantTemplate, Identity, KeySource, Revocation};
use rowcast::{Authenticator, ChannelPattern};
use serde_json::{Value, json};
use signer::{SECRET, Signer, claims, encode, now, options, start, with_public_key};

const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn granted(identity: &Identity) -> Vec<&str> {
    let patterns = identity.grants.patterns().iter();
    patterns.map(ChannelPattern::as_str).collect()
}

/// Why a token is refused.
async fn refusal(authenticator: &Authenticator, token: &str) -> String {
    let error = authenticator
        .identify(token)
        .await
        .expect_err("it must not be accepted");
    error.to_string()
}

/// Why a token with these claims and a good signature is refused.
async fn refused_claims(options: AuthOptions, changes: Value) -> String {
    let token = Signer::new(Algorithm::HS256).sign(&claims(&changes));
    refusal(&start(options).await, &token).await
}

async fn identity(options: AuthOptions, changes: Value) -> Identity {
    let token = Signer::new(Algorithm::HS256).sign(&claims(&changes));
    let identity = start(options).await.identify(&token).await;
    (*identity.expect("it is accepted")).clone()
}

#[tokio::test]
async fn each_algorithm_is_accepted_from_its_own_key_and_from_no_other() {
    let signers: Vec<_> = ALL.into_iter().map(Signer::new).collect();
    for signer in &signers {
        let (authenticator, _folder) = if signer.public.is_empty() {
            (start(options()).await, tempfile::tempdir().unwrap())
        } else {
            with_public_key(&signer.public).await
        };
        for other in &signers {
            let token = other.sign(&claims(&json!({"jti": "t1", "iat": 100.5})));
            let same = std::ptr::eq(signer, other)
                || (signer.public.is_empty() && other.public.is_empty());
            let found = authenticator.identify(&token).await;
            assert_eq!(
                found.is_ok(),
                same,
                "{} for a key of {}",
                other.name(),
                signer.name()
            );
            if let Ok(identity) = found {
                assert_eq!(identity.user.as_deref(), Some("ann"));
                assert_eq!(identity.token_id.as_deref(), Some("t1"));
                assert_eq!(identity.issued_at, Some(100));
                assert!(identity.expires_at.is_some_and(|at| at > now() + 3500));
            }
        }
    }
}

#[tokio::test]
async fn the_token_has_no_say_in_the_algorithm() {
    let rsa = Signer::new(Algorithm::RS256);
    let (authenticator, _folder) = with_public_key(&rsa.public).await;
    let good = claims(&json!({})).to_string();
    // The public key, which everybody may know, as if it were a secret; in each form an attacker may guess.
    let der = pem::parse(&rsa.public).unwrap().into_contents();
    for secret in [rsa.public.as_bytes(), rsa.public.trim().as_bytes(), &der] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let forger = Signer {
                key: EncodingKey::from_secret(secret),
                ..Signer::new(algorithm)
            };
            let why = refusal(
                &authenticator,
                &forger.sign_as(&json!({"alg": forger.name()}), &good),
            )
            .await;
            assert!(why.contains("alg is none of those"), "{why}");
        }
    }
    // A good signature under the name of another algorithm.
    for signer in ALL.into_iter().map(Signer::new) {
        let (own, _folder) = if signer.public.is_empty() {
            (start(options()).await, tempfile::tempdir().unwrap())
        } else {
            with_public_key(&signer.public).await
        };
        for name in ALL.map(|algorithm| format!("{algorithm:?}")) {
            let token = signer.sign_as(&json!({"alg": name}), &good);
            assert_eq!(own.identify(&token).await.is_ok(), name == signer.name());
        }
    }
    let family = |algorithm: Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
    for none in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        " ",
        "hs256",
        "HS256 ",
        "HS1",
        "ES256K",
        "ES512",
        "RSA1_5",
        "dir",
        "HS256\u{0}",
    ] {
        for signature in ["", "AA", "e30"] {
            let header = encode(json!({"alg": none}).to_string());
            let token = format!("{header}.{}.{signature}", encode(&good));
            refusal(&authenticator, &token).await;
            refusal(&start(options()).await, &token).await;
        }
        // Signed, and still of no algorithm.
        let signer = Signer::new(Algorithm::HS256);
        assert!(family(signer.algorithm));
        refusal(
            &start(options()).await,
            &signer.sign_as(&json!({"alg": none}), &good),
        )
        .await;
    }
}

#[tokio::test]
async fn nothing_of_a_token_can_be_changed() {
    for signer in [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA].map(Signer::new) {
        let (authenticator, _folder) = if signer.public.is_empty() {
            (start(options()).await, tempfile::tempdir().unwrap())
        } else {
            with_public_key(&signer.public).await
        };
        let token = signer.sign(&claims(&json!({})));
        assert!(authenticator.identify(&token).await.is_ok());
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            refusal(&authenticator, str::from_utf8(&changed).unwrap()).await;
            refusal(&authenticator, &token[..index]).await;
        }
        let parts: Vec<_> = token.split('.').collect();
        let richer = encode(claims(&json!({"channels": ["*"]})).to_string());
        for bad in [
            format!("{}.{richer}.{}", parts[0], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{token}."),
            format!("{token}.{}", parts[2]),
            format!("{token}="),
            format!("{token} "),
            format!(" {token}"),
            format!("{token}\n"),
            format!("{token}\0"),
        ] {
            refusal(&authenticator, &bad).await;
        }
    }
    // Signatures of the wrong size, and of zeros only (CVE-2022-21449).
    let es = Signer::new(Algorithm::ES256);
    let (authenticator, _folder) = with_public_key(&es.public).await;
    let message = format!(
        "{}.{}",
        encode(r#"{"alg":"ES256"}"#),
        encode(claims(&json!({})).to_string())
    );
    for length in [0, 1, 32, 63, 64, 65, 96, 128] {
        refusal(
            &authenticator,
            &format!("{message}.{}", encode(vec![0; length])),
        )
        .await;
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused_whatever_it_is() {
    let authenticator = start(options()).await;
    let signer = Signer::new(Algorithm::HS256);
    let deep = format!(
        "{{\"exp\":9999999999,\"a\":{}{}}}",
        "[".repeat(2000),
        "]".repeat(2000)
    );
    let good = claims(&json!({})).to_string();
    let head = json!({"alg": "HS256"});
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "....".into(),
        "a.b.c".into(),
        "ä.ö.ü".into(),
        "\0.\0.\0".into(),
        "{}.{}.{}".into(),
        "null".into(),
        // Parts that are no object, or no JSON.
        signer.sign_as(&head, ""),
        signer.sign_as(&head, "null"),
        signer.sign_as(&head, "[]"),
        signer.sign_as(&head, "{"),
        signer.sign_as(&head, "{}{}"),
        signer.sign_as(&head, "\u{feff}{}"),
        signer.sign_as(&head, &deep),
        signer.sign_as(&json!([]), &good),
        signer.sign_as(&json!("HS256"), &good),
        signer.sign_as(&json!({}), &good),
        signer.sign_as(&json!({"alg": ["HS256"]}), &good),
        signer.sign_as(&json!({"alg": "HS256", "kid": 7}), &good),
        signer.sign_as(
            &json!({"alg": "HS256", "crit": ["b64"], "b64": false}),
            &good,
        ),
        // A claim twice: another reader may have taken the other one.
        signer.sign_as(&head, r#"{"exp":9999999999,"sub":"ann","sub":"bob"}"#),
        signer.sign_as(&head, r#"{"exp":9999999999,"exp":1}"#),
        signer.sign_as(
            &head,
            "{\"exp\":9999999999,\"sub\":\"ann\",\"s\\u0075b\":\"bob\"}",
        ),
    ] {
        let why = refusal(&authenticator, &bad).await;
        assert!(why.starts_with("the token is not accepted: "), "{why}");
    }
    let twice = format!(r#"{{"alg":"none","alg":"{}"}}"#, signer.name());
    let message = format!("{}.{}", encode(twice), encode(&good));
    let signature = crypto::sign(message.as_bytes(), &signer.key, signer.algorithm).unwrap();
    refusal(&authenticator, &format!("{message}.{signature}")).await;

    let long = signer.sign(&claims(&json!({"a": "x".repeat(7000)})));
    let why = refusal(&authenticator, &long).await;
    assert!(
        why.contains(&format!("{} bytes long, the limit is 8192", long.len())),
        "{why}"
    );
    refusal(&authenticator, &"a".repeat(100_000_000)).await;
    let roomy = start(AuthOptions {
        token_bytes_max: long.len(),
        ..options()
    })
    .await;
    assert!(roomy.identify(&long).await.is_ok());
}

#[tokio::test]
async fn dates_are_checked_and_have_to_be_numbers() {
    let at = now();
    for (changes, why) in [
        (json!({"exp": null}), "no exp"),
        (json!({"exp": at - 31}), "expired"),
        (json!({"exp": at as f64 - 31.5}), "expired"),
        (json!({"exp": 0}), "expired"),
        (json!({"exp": -1}), "expired"),
        (json!({"exp": -1e300}), "expired"),
        (json!({"nbf": at + 60}), "not valid yet"),
        (json!({"nbf": 1e300}), "not valid yet"),
        (json!({"iat": at + 60}), "issued in the future"),
        (json!({"exp": "9999999999"}), "exp is not a number"),
        (json!({"exp": [9_999_999_999_u64]}), "exp is not a number"),
        (json!({"exp": true}), "exp is not a number"),
        (json!({"nbf": "0"}), "nbf is not a number"),
        (json!({"iat": "0"}), "iat is not a number"),
        (json!({"iat": {}}), "iat is not a number"),
    ] {
        let error = refused_claims(options(), changes.clone()).await;
        assert!(error.contains(why), "{changes}: {error}");
        let forgiving = AuthOptions {
            allow_no_exp: true,
            ..options()
        };
        if changes["exp"] != Value::Null || changes.get("exp").is_none() {
            // A date that is there is checked, needed or not.
            let error = refused_claims(forgiving, changes.clone()).await;
            assert!(error.contains(why), "{changes}: {error}");
        }
    }
    let null = Signer::new(Algorithm::HS256).sign_as(&json!({"alg": "HS256"}), r#"{"exp":null}"#);
    let forgiving = start(AuthOptions {
        allow_no_exp: true,
        ..options()
    })
    .await;
    assert!(
        refusal(&forgiving, &null)
            .await
            .contains("exp is not a number")
    );

    let endless = identity(
        AuthOptions {
            allow_no_exp: true,
            ..options()
        },
        json!({"exp": null}),
    )
    .await;
    assert_eq!(endless.expires_at, None);
    let far = identity(options(), json!({"exp": 1e300, "iat": -5, "nbf": at + 20})).await;
    assert_eq!(
        (far.expires_at, far.issued_at),
        (Some(253_402_300_799), Some(0))
    );
    // Past its end when it came, it is good for as long as clocks may be off.
    let wide = AuthOptions {
        leeway: Duration::from_mins(10),
        ..options()
    };
    let late = identity(wide, json!({"exp": at - 100})).await;
    assert_eq!(late.expires_at, Some(at + 500));
}

#[tokio::test]
async fn issuer_and_audience_are_those_that_were_configured() {
    let strict = || AuthOptions {
        audiences: vec!["rowcast".into(), "feed".into()],
        issuers: vec!["https://id.example.org".into(), "me".into()],
        ..options()
    };
    let both = |changes: Value| {
        let mut claims = json!({"aud": "rowcast", "iss": "me"});
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        claims
    };
    for good in [
        json!({}),
        json!({"aud": ["other", "feed"]}),
        json!({"iss": "https://id.example.org"}),
    ] {
        identity(strict(), both(good)).await;
    }
    for (bad, why) in [
        (json!({"aud": null}), "for whom"),
        (json!({"aud": "other"}), "somebody else (aud)"),
        (json!({"aud": "Rowcast"}), "somebody else (aud)"),
        (json!({"aud": "rowcast feed"}), "somebody else (aud)"),
        (json!({"aud": []}), "somebody else (aud)"),
        (json!({"aud": [["rowcast"]]}), "somebody else (aud)"),
        (json!({"aud": {"rowcast": 1}}), "somebody else (aud)"),
        (json!({"iss": null}), "who issued it"),
        (json!({"iss": "you"}), "another issuer"),
        (json!({"iss": "https://id.example.org/"}), "another issuer"),
        (json!({"iss": ["me"]}), "another issuer"),
        (json!({"iss": 1}), "another issuer"),
    ] {
        let error = refused_claims(strict(), both(bad.clone())).await;
        assert!(error.contains(why), "{bad}: {error}");
    }
    // The client is told what is wrong, and nothing of how the server is set up.
    let error = refused_claims(options(), json!({"aud": "rowcast"})).await;
    assert!(error.contains("(aud)") && !error.contains("--"), "{error}");
    identity(options(), json!({"iss": "anybody"})).await;
}

#[tokio::test]
async fn a_user_gets_its_own_channels_and_a_strange_id_gets_none() {
    let ann = identity(options(), json!({})).await;
    assert_eq!(granted(&ann), ["inbox:ann", "user:ann"]);
    let numbered = identity(options(), json!({"sub": 42})).await;
    assert_eq!(numbered.user.as_deref(), Some("42"));
    assert_eq!(granted(&numbered), ["inbox:42", "user:42"]);
    let nobody = identity(options(), json!({"sub": null})).await;
    assert_eq!((nobody.user.as_deref(), granted(&nobody)), (None, vec![]));
    // Ids that would reach into the channels of others.
    for strange in [
        "*",
        "a:b",
        "auth0|123",
        "ann:*",
        ":",
        "ann bob",
        "än",
        "{sub}",
        "../x:y",
    ] {
        let user = identity(
            options(),
            json!({"sub": strange, "channels": ["tasks", "x:{sub}"]}),
        )
        .await;
        assert_eq!(user.user.as_deref(), Some(strange));
        assert_eq!(granted(&user), ["tasks"], "{strange}");
    }
    for bad in [
        json!(""),
        json!(true),
        json!(1.5),
        json!([]),
        json!(["ann"]),
        json!({"id": 1}),
        json!("a\0b"),
        json!("a\nb"),
        json!("x".repeat(256)),
    ] {
        let error = refused_claims(options(), json!({"sub": bad})).await;
        assert!(error.contains("user"), "{error}");
    }
    refused_claims(options(), json!({"jti": 7})).await;
    refused_claims(options(), json!({"jti": ""})).await;

    // {sub} is the user, whatever the claim is called; and a `sub` that is not the user's fills nothing.
    let renamed = |name: &str| AuthOptions {
        user_claim: name.into(),
        ..options()
    };
    let user = identity(renamed("userId"), json!({"userId": 7, "sub": "bob"})).await;
    assert_eq!(
        (user.user.as_deref(), granted(&user)),
        (Some("7"), vec!["inbox:7", "user:7"])
    );
    let none = identity(renamed("userId"), json!({"sub": "bob"})).await;
    assert_eq!((none.user.as_deref(), granted(&none)), (None, vec![]));
    let deep = identity(renamed("profile.id"), json!({"profile": {"id": "eve"}})).await;
    assert_eq!(granted(&deep), ["inbox:eve", "user:eve"]);
}

#[tokio::test]
async fn grants_are_those_of_the_token_and_those_of_the_server() {
    let template = |text| GrantTemplate::parse(text).unwrap();
    let none = || AuthOptions {
        grants: vec![],
        ..options()
    };
    let list = identity(none(), json!({"channels": ["tasks", "project:7:*", "team:{teams}"], "teams": ["x", "y"], "publish": "a b:*"})).await;
    assert_eq!(granted(&list), ["project:7:*", "tasks", "team:x", "team:y"]);
    assert!(list.publish.cover("a:1") && list.publish.cover("b:1") && !list.publish.cover("b"));
    let text = identity(none(), json!({"channels": "tasks  project:7 "})).await;
    assert_eq!(granted(&text), ["project:7", "tasks"]);
    assert!(granted(&identity(none(), json!({})).await).is_empty());
    let more = AuthOptions {
        grants: vec![template("tasks"), template("org:{org}")],
        ..options()
    };
    let more = identity(more, json!({"org": "acme", "channels": []})).await;
    assert_eq!(granted(&more), ["org:acme", "tasks"]);

    for (bad, why) in [
        (
            json!({"channels": ["tasks", "a b"]}),
            "entry 2 of its claim channels",
        ),
        (
            json!({"channels": ["tasks", "", "x"]}),
            "entry 2 of its claim channels",
        ),
        (
            json!({"channels": ["tasks", 7]}),
            "entry 2 of its claim channels is not a text",
        ),
        (json!({"channels": ["**"]}), "entry 1"),
        (json!({"channels": ["a:*:b"]}), "entry 1"),
        (json!({"channels": ["inbox:{sub"]}), "entry 1"),
        (json!({"channels": ["a\0b"]}), "entry 1"),
        (json!({"channels": ["a\u{202e}b"]}), "entry 1"),
        (json!({"channels": ["x".repeat(201)]}), "entry 1"),
        (json!({"channels": "tasks\tx"}), "entry 1"),
        (json!({"channels": {"a": 1}}), "neither a list nor a text"),
        (json!({"channels": true}), "neither a list nor a text"),
        (
            json!({"publish": ["'; DROP TABLE events; --"]}),
            "entry 1 of its claim publish",
        ),
    ] {
        let error = refused_claims(none(), bad.clone()).await;
        assert!(error.contains(why), "{bad}: {error}");
        assert!(!error.contains("DROP"), "{error}");
    }
    // A thousand, and not one more, not by templates either.
    let roomy = || AuthOptions {
        token_bytes_max: 100_000,
        ..none()
    };
    let many = |count: usize| {
        (0..count)
            .map(|n| json!(format!("c{n}")))
            .collect::<Value>()
    };
    assert_eq!(
        identity(roomy(), json!({"channels": many(1000)}))
            .await
            .grants
            .patterns()
            .len(),
        1000
    );
    let error = refused_claims(roomy(), json!({"channels": many(1001)})).await;
    assert!(error.contains("more than 1000"), "{error}");
    let squared = json!({"channels": vec!["{l}:{l}"; 40], "l": many(400)});
    let error = refused_claims(roomy(), squared).await;
    assert!(error.contains("more than 1000"), "{error}");
}

#[tokio::test]
async fn a_permit_is_for_one_user_and_one_channel_and_opens_no_connection() {
    let signer = Signer::new(Algorithm::HS256);
    let authenticator = start(options()).await;
    let permit = |changes: Value| {
        let token = signer.sign(&claims(&changes));
        let authenticator = authenticator.clone();
        async move |user: Option<&str>| authenticator.permit(&token, user).await
    };
    let got = permit(json!({"channel": "project:7"}))(Some("ann"))
        .await
        .unwrap();
    assert_eq!(got.pattern.as_str(), "project:7");
    assert!(got.expires_at.is_some());
    for other in [None, Some("bob"), Some("Ann"), Some("ann "), Some("")] {
        let error = permit(json!({"channel": "project:7"}))(other)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("somebody else"), "{error}");
    }
    let anonymous = permit(json!({"channel": "project:*", "sub": null}));
    assert!(anonymous(None).await.is_ok());
    assert!(anonymous(Some("ann")).await.is_err());
    for bad in [
        json!({}),
        json!({"channels": ["project:7"]}),
        json!({"channel": "project:7", "channels": ["x"]}),
        json!({"channel": ["project:7"]}),
        json!({"channel": "project:7 project:8"}),
        json!({"channel": "{sub}"}),
        json!({"channel": ""}),
        json!({"channel": 7}),
        json!({"channel": "project:7", "exp": 1}),
        json!({"channel": "project:7", "aud": "x"}),
    ] {
        assert!(permit(bad.clone())(Some("ann")).await.is_err(), "{bad}");
    }
    let token = signer.sign(&claims(&json!({"channel": "project:7", "jti": "t1"})));
    let why = refusal(&authenticator, &token).await;
    assert!(why.contains("no token to connect with"), "{why}");
    let forged = Signer {
        key: EncodingKey::from_secret(b"another"),
        ..Signer::new(Algorithm::HS256)
    };
    assert!(
        authenticator
            .permit(&forged.sign(&claims(&json!({"channel": "a"}))), Some("ann"))
            .await
            .is_err()
    );
    authenticator
        .revocations()
        .replace(vec![Revocation::Token { id: "t1".into() }]);
    assert_eq!(
        authenticator.permit(&token, Some("ann")).await,
        Err(AuthError::Revoked)
    );
    assert!(Authenticator::open().permit(&token, None).await.is_err());
}

#[tokio::test]
async fn revoked_users_and_tokens_are_refused_until_they_have_newer_ones() {
    let signer = Signer::new(Algorithm::HS256);
    let authenticator = start(options()).await;
    let at = now();
    let token = |changes| signer.sign(&claims(&changes));
    authenticator.revocations().replace(vec![
        Revocation::User {
            user: "ann".into(),
            at,
        },
        Revocation::Token { id: "t1".into() },
    ]);
    for (changes, revoked) in [
        (json!({}), true),
        (json!({"iat": at}), true),
        (json!({"iat": at as f64 + 0.9}), true),
        (json!({"iat": at + 1}), false),
        (json!({"sub": "bob"}), false),
        (json!({"sub": "bob", "jti": "t1"}), true),
        (json!({"sub": null, "jti": "t1"}), true),
    ] {
        let found = authenticator.identify(&token(changes.clone())).await;
        assert_eq!(
            found.err(),
            revoked.then_some(AuthError::Revoked),
            "{changes}"
        );
    }
    // Whoever has no good token is not told who is revoked.
    let forged = Signer {
        key: EncodingKey::from_secret(b"another"),
        ..Signer::new(Algorithm::HS256)
    };
    assert_ne!(
        authenticator
            .identify(&forged.sign(&claims(&json!({}))))
            .await,
        Err(AuthError::Revoked)
    );
}

#[tokio::test]
async fn the_id_of_a_key_selects_and_does_nothing_else() {
    let (one, two) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("jwks.json");
    std::fs::write(
        &set,
        json!({"keys": [one.jwk("one"), two.jwk("two")]}).to_string(),
    )
    .unwrap();
    let only_set = AuthOptions {
        keys: vec![KeySource::JwksFile(set)],
        ..options()
    };
    let authenticator = start(only_set.clone()).await;
    let good = claims(&json!({}));
    assert!(
        authenticator
            .identify(&one.sign_named("one", &good))
            .await
            .is_ok()
    );
    assert!(
        authenticator
            .identify(&two.sign_named("two", &good))
            .await
            .is_ok()
    );
    assert!(authenticator.identify(&two.sign(&good)).await.is_ok());
    // Of the set, but not the key it names.
    refusal(&authenticator, &one.sign_named("two", &good)).await;
    for kid in [
        "three",
        "",
        "../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "one\0",
        "ONE",
        "one ",
        "ö",
        "http://127.0.0.1/keys",
    ] {
        refusal(&authenticator, &one.sign_named(kid, &good)).await;
        // The content of an empty file as the secret.
        let empty = Signer {
            key: EncodingKey::from_secret(b""),
            ..Signer::new(Algorithm::HS256)
        };
        refusal(&authenticator, &empty.sign_named(kid, &good)).await;
    }
    // A key of the attacker's own in the header, or where to find it.
    let own = Signer::new(Algorithm::ES256);
    for header in [
        json!({"alg": "ES256", "jwk": own.jwk("own")}),
        json!({"alg": "ES256", "kid": "own", "jwk": own.jwk("own")}),
        json!({"alg": "ES256", "jku": "https://127.0.0.1:1/keys"}),
        json!({"alg": "ES256", "x5u": "https://127.0.0.1:1/keys"}),
        json!({"alg": "ES256", "x5c": [encode(&own.public)]}),
    ] {
        refusal(&authenticator, &own.sign_as(&header, &good.to_string())).await;
    }
    // A key without an id stands in for ids that no key has; not for those that one has.
    let mut keys = options().keys;
    keys.extend(only_set.keys);
    let mixed = start(AuthOptions { keys, ..options() }).await;
    let hs = Signer::new(Algorithm::HS256);
    assert!(mixed.identify(&hs.sign_named("three", &good)).await.is_ok());
    assert!(mixed.identify(&hs.sign(&good)).await.is_ok());
    refusal(&mixed, &hs.sign_named("one", &good)).await;
    assert_eq!(SECRET.len(), 32);
}

#[tokio::test]
async fn where_nobody_is_asked_everybody_may_read_and_nobody_write() {
    let open = Authenticator::open();
    for token in ["", "x", "a.b.c"] {
        let identity = open.identify(token).await.unwrap();
        assert!(identity.grants.cover("x") && !identity.publish.cover("x"));
    }
    assert!(open.anonymous().is_some());
    assert!(start(options()).await.anonymous().is_none());
    assert!(!open.reload().await.unwrap().anything_removed);
    assert!(Authenticator::start(AuthOptions::default()).await.is_err());
}
