//! The address of a client is that behind the proxy: limits count clients, and nobody can name another one.

use std::net::Ipv4Addr;

use reqwest::{Response, StatusCode};

use crate::fleet::{Fleet, Http, answer_to};
use crate::front::Kind;

/// Of each of the two servers, for an address.
const CONNECTIONS: usize = 2;

const ANN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const BOB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_clients() {
    for kind in Kind::BOTH {
        let limit = CONNECTIONS.to_string();
        let fleet = Fleet::start(kind, &["--max-connections-per-ip", &limit]).await;
        let ann = fleet.http(ANN);
        let mut streams: Vec<Response> = Vec::new();
        // Both servers are full for this address. The proxy chooses the server, so that one may refuse before.
        while streams.len() < 2 * CONNECTIONS {
            let answer = stream(&ann, &[]).await;
            match answer.status() {
                StatusCode::OK => streams.push(answer),
                StatusCode::TOO_MANY_REQUESTS => {}
                other => panic!("{kind:?}: {other}"),
            }
        }
        for claim in [&[][..], &["192.0.2.7"], &["192.0.2.7, 192.0.2.8"]] {
            let refused = stream(&ann, claim).await;
            assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{kind:?}");
            let text = refused.text().await.expect("a body");
            assert!(text.contains("ip_connection_limit"), "{kind:?}: {text}");
        }
        // Someone else, through the same proxy.
        let bob = fleet.http(BOB);
        for _ in 0..CONNECTIONS {
            streams.push(stream(&bob, &["127.0.0.2"]).await);
            let last = streams.last().expect("it was put there");
            assert_eq!(last.status(), StatusCode::OK, "{kind:?}");
        }
    }
}

/// A stream of events, by a client that claims to speak for these.
async fn stream(client: &Http, claims: &[&str]) -> Response {
    let request = client.get("/sse?channels=tasks");
    let request = claims.iter().fold(request, |request, claim| {
        request.header("X-Forwarded-For", *claim)
    });
    answer_to(request).await
}
