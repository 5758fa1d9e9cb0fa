//! What it costs to find out whose a token is, in microseconds of one core, for each kind of key.
//!
//! `cargo bench --bench auth`

#[path = "../tests/auth_tokens/signer.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "made for tests, which use the rest of it"
)]
mod signer;

use std::hint::black_box;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::json;
use signer::{Signer, claims, options, start, with_public_key};

/// How long each is measured.
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let said = json!({"jti": "t1", "iat": 1, "channels": ["tasks", "project:7:*", "messages:42"]});
    for algorithm in [
        Algorithm::HS256,
        Algorithm::HS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
        Algorithm::RS256,
        Algorithm::PS256,
    ] {
        let signer = Signer::new(algorithm);
        let token = signer.sign(&claims(&said));
        let forged = Signer::new(algorithm);
        let forged = match algorithm {
            Algorithm::HS256 | Algorithm::HS512 => format!("{}A", &token[..token.len() - 1]),
            _ => forged.sign(&claims(&said)),
        };
        runtime.block_on(async {
            let (authenticator, _folder) = if signer.public.is_empty() {
                (
                    start(options()).await,
                    tempfile::tempdir().expect("a folder"),
                )
            } else {
                with_public_key(&signer.public).await
            };
            let mut micros = Vec::new();
            for (token, good) in [(&token, true), (&forged, false)] {
                let (began, mut count) = (Instant::now(), 0_u32);
                while began.elapsed() < MEASURED {
                    for _ in 0..100 {
                        let found = authenticator.identify(black_box(token)).await;
                        assert_eq!(black_box(found).is_ok(), good);
                    }
                    count += 100;
                }
                micros.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(count));
            }
            println!(
                "{algorithm:?}: {:.2} µs accepted, {:.2} µs refused, token of {} bytes",
                micros[0],
                micros[1],
                token.len()
            );
        });
    }
}
