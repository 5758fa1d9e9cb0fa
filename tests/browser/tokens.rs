//! Who a page is: the ways to say so that a browser leaves to it, and pages that have no business here.

use serde_json::json;

use crate::scene::Scene;
use crate::support::token::{SECRET, token_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_says_who_it_is_and_reads_why_it_is_not_let_in() {
    let good = token_for("ann", &["tasks"]);
    let script = include_str!("tokens.js").replace("GOOD", &good);
    let script = script.replace("BAD", &good[..good.len() - 4]);
    let folder = crate::support::temp_dir();
    let key = folder.path().join("key");
    std::fs::write(&key, SECRET).expect("an empty folder");
    let key = key.display().to_string();
    let mut scene = Scene::start_with(&["--jwt-secret-file", &key], |server| {
        script.replace("SERVER", server)
    })
    .await;

    let told = scene.noted("stranger", 2).await;
    assert!(
        told.contains(&json!(["stranger", "socket", "close", 1006])),
        "{told:?}"
    );
    assert!(
        told.contains(&json!(["stranger", "fetch", "TypeError"])),
        "{told:?}"
    );
    scene.noted("cookie", 1).await;
    scene.insert(&["tasks", "inbox:bob", "inbox:ann"]).await;

    let granted = json!(["inbox:ann", "tasks", "user:ann"]);
    let cookie = scene.noted("cookie", 3).await;
    assert_eq!(cookie[0], json!(["cookie", "subscribed", granted]));
    for name in ["bearer", "query"] {
        let notes = scene.noted(name, 4).await;
        let protocol = if name == "bearer" { "rowcast.v1" } else { "" };
        assert_eq!(notes[0], json!([name, "open", protocol]));
        assert_eq!(notes[1], json!([name, "subscribed", null, granted]));
        assert_eq!(notes[2], json!([name, "event", "tasks.created", null]));
        assert_eq!(notes[3], json!([name, "event", "inbox.created", null]));
        assert_eq!(scene.notes(name).len(), 4, "and nothing of bob's");
    }
    let bad = scene.noted("bad", 3).await;
    assert_eq!(bad[0], json!(["bad", "open", "rowcast.v1"]));
    assert_eq!(bad[1][2], "UNAUTHORIZED");
    assert_eq!((&bad[2][1], &bad[2][2]), (&json!("close"), &json!(4001)));
    let reason = bad[2][3].as_str().expect("a reason");
    assert!(reason.contains("not accepted"), "{reason}");
}
