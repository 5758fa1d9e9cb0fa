//! Who is revoked or disconnected is gone from every server of the database, and whoever is revoked stays out.

use rowcast::Config;
use serde_json::json;

use super::Running;
use super::support::Database;
use super::support::feed::{Client, soon};
use super::support::token::{ask_for_tokens, now, token};

async fn connect(server: &Running, user: &str, id: &str, issued_at: u64) -> Client {
    let mut client = Client::connect(server.address).await;
    let token = signed(user, id, issued_at);
    let hello = json!({"type": "hello", "token": token, "channels": ["tasks"]});
    client.say(&hello).await;
    client
}

fn signed(user: &str, id: &str, issued_at: u64) -> String {
    token(json!({"sub": user, "jti": id, "iat": issued_at, "channels": ["tasks"]}))
}

async fn two_servers(database: &Database) -> [Running; 2] {
    let change = |config: &mut Config| ask_for_tokens(config);
    let first = Running::start_with(database, change).await;
    [first, Running::start_with(database, change).await]
}

/// Both servers close it, with these words.
async fn are_closed(clients: impl IntoIterator<Item = Client>, code: &str, number: u16) {
    for mut client in clients {
        client.hear_a("welcome").await;
        client.hear_a("subscribed").await;
        let disconnect = client.hear_a("disconnect").await;
        assert_eq!(disconnect["code"], code);
        assert_eq!(disconnect["reconnect"], number == 1012);
        assert_eq!(u16::from(client.hear_close().await.code), number);
        client.end().await;
    }
}

async fn stays(mut client: Client) {
    client.hear_a("welcome").await;
    client.hear_a("subscribed").await;
    client.say(&json!({"type": "ping", "id": 1})).await;
    client.hear_a("pong").await;
}

async fn a_revoked_user_is_gone_everywhere(database: Database) {
    let servers = two_servers(&database).await;
    let early = now() - 10;
    let mut anns = Vec::new();
    let mut bobs = Vec::new();
    for server in &servers {
        anns.push(connect(server, "ann", "a", early).await);
        bobs.push(connect(server, "bob", "b", early).await);
    }
    let answer = servers[0].post("/api/v1/revoke", r#"{"user":"ann"}"#).await;
    assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
    are_closed(anns, "TOKEN_REVOKED", 4001).await;
    for bob in bobs {
        stays(bob).await;
    }
    // Nor does she get in again, also on a server that was not there, until she has a token from after it.
    let third = Running::start_with(&database, ask_for_tokens).await;
    for server in servers.iter().chain([&third]) {
        let mut again = connect(server, "ann", "a", early).await;
        assert_eq!(again.hear_a("error").await["code"], "UNAUTHORIZED");
        let close = again.hear_close().await;
        assert_eq!(u16::from(close.code), 4001);
        assert!(close.reason.contains("revoked"), "{}", close.reason);
        again.end().await;
        stays(connect(server, "ann", "a2", now() + 2).await).await;
    }
}

async fn a_revoked_token_is_gone_and_its_user_is_not(database: Database) {
    let servers = two_servers(&database).await;
    let mut gone = Vec::new();
    let mut others = Vec::new();
    for server in &servers {
        gone.push(connect(server, "ann", "stolen", now()).await);
        others.push(connect(server, "ann", "own", now()).await);
    }
    let answer = servers[1]
        .post("/api/v1/revoke", r#"{"jti":"stolen"}"#)
        .await;
    assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
    are_closed(gone, "TOKEN_REVOKED", 4001).await;
    for other in others {
        stays(other).await;
    }
    // Streams and requests are asked again, too.
    let token = signed("ann", "stolen", now());
    for path in ["/cursor", "/events?channels=tasks", "/sse?channels=tasks"] {
        let sign = if path.contains('?') { '&' } else { '?' };
        let url = format!("http://{}{path}{sign}token={token}", servers[0].address);
        let answer = soon("an answer", reqwest::get(url))
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), 401, "{path}");
    }
}

async fn a_revoked_permit_takes_its_channel_and_no_more(database: Database) {
    let servers = two_servers(&database).await;
    let permit = token(json!({"sub": "ann", "jti": "p1", "channel": "messages:42"}));
    let subscribe = json!({"type": "subscribe", "channels": ["messages:42"], "tokens": [permit]});
    let mut anns = Vec::new();
    for server in &servers {
        let mut ann = connect(server, "ann", "a", now()).await;
        ann.hear_a("welcome").await;
        ann.hear_a("subscribed").await;
        ann.say(&subscribe).await;
        assert_eq!(
            ann.hear_a("subscribed").await["channels"],
            json!(["messages:42"])
        );
        anns.push(ann);
    }
    servers[0].post("/api/v1/revoke", r#"{"jti":"p1"}"#).await;
    for mut ann in anns {
        let lost = ann.hear_a("unsubscribed").await;
        assert_eq!(
            (&lost["channels"], &lost["code"]),
            (&json!(["messages:42"]), &json!("FORBIDDEN"))
        );
        // It opens nothing any more, and the connection goes on.
        ann.say(&subscribe).await;
        assert_eq!(ann.hear_a("error").await["code"], "FORBIDDEN");
        ann.say(&json!({"type": "ping"})).await;
        ann.hear_a("pong").await;
    }
}

async fn a_user_who_is_disconnected_may_come_back(database: Database) {
    let servers = two_servers(&database).await;
    let mut anns = Vec::new();
    for server in &servers {
        anns.push(connect(server, "ann", "a", now()).await);
    }
    let bob = connect(&servers[0], "bob", "b", now()).await;
    let answer = servers[0]
        .post("/api/v1/disconnect", r#"{"user":"ann"}"#)
        .await;
    assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
    are_closed(anns, "DISCONNECTED", 1012).await;
    stays(bob).await;
    stays(connect(&servers[1], "ann", "a", now()).await).await;
}

on_both! {
    a_revoked_user_is_gone_everywhere
    a_revoked_token_is_gone_and_its_user_is_not
    a_revoked_permit_takes_its_channel_and_no_more
    a_user_who_is_disconnected_may_come_back
}
