//! The page at `/` and its files.

use crate::support::feed::Feed;
use crate::support::token::ask_for_tokens;
use crate::{ask, ask_as, header, json};

const ACCEPT: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";

/// All files, by their paths.
const FILES: &[(&str, &str)] = &[
    ("/", "text/html; charset=utf-8"),
    ("/console/console.js", "text/javascript; charset=utf-8"),
    ("/console/console.css", "text/css; charset=utf-8"),
    ("/console/icon.svg", "image/svg+xml"),
];

#[tokio::test]
async fn files_come_with_their_type_and_a_tag_by_which_they_are_not_sent_again() {
    let feed = Feed::start().await;
    for (path, content_type) in FILES {
        let answer = ask(&feed, "GET", path, &[ACCEPT]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(header(&answer, "content-type"), Some(*content_type));
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"));
        assert_eq!(header(&answer, "cache-control"), Some("no-cache"));
        assert!(!answer.body.is_empty(), "{path}");

        // The helper gives headers in lower case, and a tag has both.
        let head = raw_tag(&feed, path).await;
        let lists = [head.clone(), format!("\"other\", W/{head}"), "*".to_owned()];
        for list in lists {
            let known = format!("If-None-Match: {list}");
            let again = ask(&feed, "GET", path, &[ACCEPT, &known]).await;
            assert_eq!(again.status, 304, "{path} {list}");
            assert_eq!(again.body, "");
            assert_eq!(header(&again, "etag"), header(&answer, "etag"));
        }
        let known = "If-None-Match: \"other\"";
        let other = ask(&feed, "GET", path, &[ACCEPT, known]).await;
        assert_eq!((other.status, &other.body), (200, &answer.body), "{path}");

        let head = ask(&feed, "HEAD", path, &[ACCEPT]).await;
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        let length = answer.body.len().to_string();
        assert_eq!(header(&head, "content-length"), Some(&*length), "{path}");
    }
}

/// The tag of a file, as it was sent.
async fn raw_tag(feed: &Feed, path: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.expect("a client");
    let url = format!("http://{}{path}", feed.address);
    let request = client.get(url).header("accept", "text/html");
    let answer = request.send().await.expect("an answer");
    let tag = answer.headers().get("etag").expect("a tag");
    tag.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn the_page_may_run_its_own_script_and_speak_to_its_own_server_only() {
    let feed = Feed::start().await;
    let answer = ask(&feed, "GET", "/", &[ACCEPT]).await;
    let policy = header(&answer, "content-security-policy").expect("a policy");
    let directives: Vec<_> = policy.split("; ").collect();
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
    ] {
        assert!(directives.contains(&directive), "{directive} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    // Nothing in it would be kept from running, or come from elsewhere.
    for word in [
        "<script>", "<style", " style=", " onload=", "http:", "https:",
    ] {
        assert!(!answer.body.contains(word), "{word} in {}", answer.body);
    }
}

#[tokio::test]
async fn programs_are_told_which_paths_there_are_and_people_find_the_page() {
    let feed = Feed::start().await;
    for lines in [&[][..], &["Accept: */*"], &["Accept: application/json"]] {
        let answer = ask(&feed, "GET", "/", lines).await;
        assert_eq!(answer.status, 404, "{lines:?}");
        assert_eq!(json(&answer)["error"], "not_found");
    }
    for (path, to) in [("/console", "./"), ("/console/", "../")] {
        let answer = ask(&feed, "GET", path, &[ACCEPT]).await;
        assert_eq!(answer.status, 308, "{path}");
        assert_eq!(header(&answer, "location"), Some(to));
    }
    for path in [
        "/console/nothing.js",
        "/console/index.html",
        "/console/../console.js",
        "/console/%2e%2e/console.js",
        "/console/console.js/more",
        "/console//console.js",
        "/console/Console.js",
        "/console/status/more",
        "/index.html",
    ] {
        let answer = ask(&feed, "GET", path, &[ACCEPT]).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    for path in ["/", "/console/console.js", "/console/status"] {
        let answer = ask(&feed, "POST", path, &[ACCEPT, "Content-Length: 0"]).await;
        assert_eq!(answer.status, 405, "{path}");
    }
}

#[tokio::test]
async fn pages_of_elsewhere_and_other_names_are_refused_as_for_all_routes() {
    let feed = Feed::start().await;
    for path in [
        "/",
        "/console/console.js",
        "/console/status",
        "/console/connections",
    ] {
        let rebound = ask_as(&feed, "evil.example", "GET", path, &[ACCEPT]).await;
        assert_eq!(rebound.status, 403, "{path}");
        assert_eq!(json(&rebound)["error"], "host_refused");
        let foreign = ask(
            &feed,
            "GET",
            path,
            &[ACCEPT, "Origin: https://evil.example"],
        )
        .await;
        assert_eq!(foreign.status, 403, "{path}");
        assert_eq!(json(&foreign)["error"], "origin_refused");
    }
}

#[tokio::test]
async fn the_page_itself_needs_no_token() {
    let feed = Feed::start_configured(ask_for_tokens).await;
    for (path, _) in FILES {
        let answer = ask(&feed, "GET", path, &[ACCEPT]).await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn there_is_nothing_where_it_is_turned_off() {
    let feed = Feed::start_configured(|config| config.console = false).await;
    for path in [
        "/",
        "/console",
        "/console/console.js",
        "/console/status",
        "/console/connections",
    ] {
        let answer = ask(&feed, "GET", path, &[ACCEPT]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(json(&answer)["error"], "not_found");
    }
    assert_eq!(ask(&feed, "GET", "/healthz", &[]).await.status, 200);
}
