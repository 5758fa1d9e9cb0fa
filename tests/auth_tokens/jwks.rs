//! Key sets behind a URL, with a real server that counts who asks: rotation, failures, and floods of unknown ids.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::Algorithm;
use rowcast::Authenticator;
use rowcast::auth::{AuthError, AuthOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use warp::Filter as _;
use warp::http::{Response, StatusCode};

use crate::signer::{Signer, claims, options, start};

/// A server that publishes what it was told to.
struct Publisher {
    url: String,
    answer: Arc<Mutex<Response<String>>>,
    fetches: Arc<AtomicUsize>,
    /// A runtime of its own: with it, connections end too that are kept open.
    runtime: Option<Runtime>,
}

impl Publisher {
    fn start(keys: &Value) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(Response::new(json!({"keys": keys}).to_string())));
        let fetches = Arc::<AtomicUsize>::default();
        let (to, count) = (Arc::clone(&answer), Arc::clone(&fetches));
        let route = warp::path("keys").map(move || {
            count.fetch_add(1, Ordering::SeqCst);
            let answer = to.lock().unwrap();
            let mut response = Response::new(answer.body().clone());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            response
        });
        let runtime = Runtime::new().unwrap();
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).unwrap()
        };
        runtime.spawn(warp::serve(route).incoming(listener).run());
        let runtime = Some(runtime);
        Self {
            url,
            answer,
            fetches,
            runtime,
        }
    }

    fn publish(&self, keys: &Value) {
        *self.answer.lock().unwrap() = Response::new(json!({"keys": keys}).to_string());
    }

    fn fail(&self) {
        *self.answer.lock().unwrap().status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn options(&self) -> AuthOptions {
        AuthOptions {
            jwks_url: Some(self.url.parse().unwrap()),
            ..AuthOptions::default()
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test]
async fn an_unknown_id_fetches_the_set_once_however_many_ask() {
    let (old, new) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let publisher = Publisher::start(&json!([old.jwk("old")]));
    let authenticator = start(publisher.options()).await;
    let good = claims(&json!({}));
    for _ in 0..3 {
        authenticator
            .identify(&old.sign_named("old", &good))
            .await
            .unwrap();
        authenticator
            .identify(&new.sign_named("old", &good))
            .await
            .unwrap_err();
    }
    assert_eq!(publisher.fetches(), 1, "known ids need no fetch");
    publisher.publish(&json!([old.jwk("old"), new.jwk("new")]));
    let token = new.sign_named("new", &good);
    let asking = (0..50).map(|_| {
        let (authenticator, token) = (authenticator.clone(), token.clone());
        tokio::spawn(async move { authenticator.identify(&token).await })
    });
    for asked in asking.collect::<Vec<_>>() {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(publisher.fetches(), 2);
    // Ids that nobody has cause no fetch for the next 30 s.
    for n in 0..100 {
        let found = authenticator
            .identify(&new.sign_named(&format!("x{n}"), &good))
            .await;
        assert!(matches!(found, Err(AuthError::Invalid(_))), "{found:?}");
    }
    assert_eq!(publisher.fetches(), 2);
    // A reload does, and tells of the key that is gone.
    publisher.publish(&json!([new.jwk("new")]));
    assert!(authenticator.reload().await.unwrap().anything_removed);
    authenticator
        .identify(&old.sign_named("old", &good))
        .await
        .unwrap_err();
    authenticator.identify(&token).await.unwrap();
    assert_eq!(publisher.fetches(), 3);
}

#[tokio::test]
async fn while_the_set_cannot_be_fetched_the_last_one_stays_good() {
    let (old, new) = (Signer::new(Algorithm::EdDSA), Signer::new(Algorithm::EdDSA));
    let good = claims(&json!({}));
    for outage in ["down", "500", "empty", "junk", "huge", "elsewhere"] {
        let mut publisher = Publisher::start(&json!([old.jwk("old")]));
        let authenticator = start(publisher.options()).await;
        let elsewhere = Publisher::start(&json!([new.jwk("new")]));
        match outage {
            "down" => publisher.end(),
            "500" => publisher.fail(),
            "empty" => publisher.publish(&json!([])),
            "junk" => *publisher.answer.lock().unwrap() = Response::new("<html>".into()),
            "huge" => publisher.publish(&json!([new.jwk("new"), "x".repeat(1 << 20)])),
            _ => {
                let mut answer = publisher.answer.lock().unwrap();
                *answer.status_mut() = StatusCode::FOUND;
                let to = elsewhere.url.parse().unwrap();
                answer.headers_mut().insert("location", to);
            }
        }
        let unknown = authenticator.identify(&new.sign_named("new", &good)).await;
        assert_eq!(unknown, Err(AuthError::Unavailable), "{outage}");
        assert!(authenticator.reload().await.is_err(), "{outage}");
        authenticator
            .identify(&old.sign_named("old", &good))
            .await
            .unwrap();
        assert_eq!(elsewhere.fetches(), 0, "{outage}");
        // A set that cannot be fetched is not asked for again with each token.
        let fetches = publisher.fetches();
        let unknown = authenticator
            .identify(&new.sign_named("newer", &good))
            .await;
        assert_eq!(unknown, Err(AuthError::Unavailable), "{outage}");
        assert_eq!(publisher.fetches(), fetches, "{outage}");
    }
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed() {
    let signer = Signer::new(Algorithm::ES256);
    let publisher = Publisher::start(&json!([signer.jwk("k")]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/first", listener.local_addr().unwrap());
    let set = json!({"keys": [signer.jwk("k")]}).to_string();
    let first = warp::path("first")
        .map(|| warp::redirect::see_other(warp::http::Uri::from_static("/second")));
    let second = warp::path("second").map(move || set.clone());
    let serving = tokio::spawn(warp::serve(first.or(second)).incoming(listener).run());
    let redirected = AuthOptions {
        jwks_url: Some(url.parse().unwrap()),
        ..publisher.options()
    };
    let token = signer.sign_named("k", &claims(&json!({})));
    start(redirected).await.identify(&token).await.unwrap();
    serving.abort();
}

#[tokio::test]
async fn secrets_are_not_taken_from_a_url() {
    let (secret, public) = (Signer::new(Algorithm::HS256), Signer::new(Algorithm::ES256));
    let publisher = Publisher::start(&json!([secret.jwk("s"), public.jwk("p")]));
    let authenticator = start(publisher.options()).await;
    let good = claims(&json!({}));
    authenticator
        .identify(&public.sign_named("p", &good))
        .await
        .unwrap();
    authenticator
        .identify(&secret.sign_named("s", &good))
        .await
        .unwrap_err();
    authenticator
        .identify(&secret.sign(&good))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn tokens_of_a_key_at_hand_wait_for_nobody() {
    let published = Signer::new(Algorithm::ES256);
    let publisher = Publisher::start(&json!([published.jwk("k")]));
    let both = AuthOptions {
        jwks_url: publisher.options().jwks_url,
        ..options()
    };
    let authenticator = start(both).await;
    let hs = Signer::new(Algorithm::HS256);
    authenticator
        .identify(&hs.sign_named("unknown", &claims(&json!({}))))
        .await
        .unwrap();
    assert_eq!(publisher.fetches(), 1);
}

#[tokio::test]
async fn without_a_set_at_start_there_is_no_server() {
    // A port that nobody listens on.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://ann:hunter2@{}/keys?key=hunter2",
        listener.local_addr().unwrap()
    );
    drop(listener);
    let options = AuthOptions {
        jwks_url: Some(url.parse().unwrap()),
        ..AuthOptions::default()
    };
    let error = Authenticator::start(options)
        .await
        .expect_err("no keys")
        .to_string();
    assert!(
        error.contains("--jwks-url") && error.contains("/keys"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}
