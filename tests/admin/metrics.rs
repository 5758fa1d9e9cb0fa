//! Metrics and statistics: every one is there, well-formed, and moves; and what docs/ops names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::Running;
use crate::support::feed::Client;
use crate::support::{Database, until};

/// Metrics that a Prometheus server has of its own.
const OF_PROMETHEUS: &[&str] = &["up"];

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_well_formed_and_move() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    let kind = answer.headers["content-type"].to_str().expect("text");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(answer.text.ends_with("# EOF\n"));
    let mut families: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in answer.text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            if let (Some(word), Some(name)) = (words.next(), words.next()) {
                assert!(
                    families.entry(name).or_default().insert(word),
                    "twice: {line}"
                );
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().expect("a number");
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let name = sample.split('{').next().expect("a name");
        let ours = name.starts_with("rowcast_") || name.starts_with("process_");
        assert!(ours, "{line}");
    }
    for (name, said) in &families {
        assert!(
            said.contains("HELP") && said.contains("TYPE"),
            "{name}: {said:?}"
        );
        let is_time = name.ends_with("_seconds");
        assert_eq!(said.contains("UNIT"), is_time, "{name}: {said:?}");
    }
    assert_eq!(server.count("rowcast_ready").await, 1);
    assert!(server.metric("process_start_time_seconds").await > 1.7e9);
    assert!(answer.text.contains(concat!(
        "rowcast_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"} 1"
    )));

    let mut client = Client::connect(server.address).await;
    client.subscribe(&["tasks", "project:7"]).await;
    assert_eq!(server.count("rowcast_connections").await, 1);
    assert_eq!(server.count("rowcast_subscriptions").await, 2);
    let lags = server.metric("rowcast_delivery_lag_seconds_count").await;
    database.connect().await.insert(1).await;
    client.hear_events(1).await;
    until("the delivery to be counted", async || {
        (server.metric("rowcast_delivery_lag_seconds_count").await > lags).then_some(())
    })
    .await;
    assert!(server.metric("rowcast_delivery_lag_seconds_sum").await < 60.0);
    for name in [
        "rowcast_polls_total",
        "rowcast_wakes_total",
        "rowcast_events_total",
        "rowcast_deliveries_total",
        "rowcast_poll_seconds_count",
        "rowcast_window_events_sum",
    ] {
        assert!(server.metric(name).await >= 1.0, "{name}");
    }
    assert!(server.metric("rowcast_look_age_seconds").await < 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_that_of_the_oldest_event_and_never_negative() {
    let database = Database::sqlite().await;
    let server = Running::start_with(&database, |config| config.hub.shards = 1).await;
    let mut client = Client::connect(server.address).await;
    client.subscribe(&["tasks"]).await;
    let insert = |times: &str| {
        format!(
            "INSERT INTO events (channel, type, payload, created_at)
             SELECT 'tasks', 'task.created', '{{}}', strftime('%Y-%m-%dT%H:%M:%fZ', 'now', value)
               FROM json_each('[{times}]')"
        )
    };
    let mut writer = database.connect().await;
    let mut sum = 0.0;
    // Of a clock that is ahead; then two at once, of which the second is older.
    for (times, count, more) in [
        ("\"+1 hour\"", 1, 0.0),
        ("\"+0 days\", \"-1 hour\"", 2, 3600.0),
    ] {
        let before = server.metric("rowcast_delivery_lag_seconds_count").await;
        writer.run(&insert(times)).await;
        client.hear_events(count).await;
        until("the delivery to be counted", async || {
            (server.metric("rowcast_delivery_lag_seconds_count").await > before).then_some(())
        })
        .await;
        let now = server.metric("rowcast_delivery_lag_seconds_sum").await;
        assert!(
            (more..more + 60.0).contains(&(now - sum)),
            "{times}: {now} after {sum}"
        );
        sum = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_tell_who_listens_to_what() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let mut clients = Vec::new();
    for names in [
        &["tasks", "project:7"][..],
        &["tasks"],
        &["tasks", "messages:*"],
        &[],
    ] {
        let mut client = Client::connect(server.address).await;
        if !names.is_empty() {
            client.subscribe(names).await;
        }
        clients.push(client);
    }
    // A client that said nothing may not have been seated yet.
    until("all of them to be there", async || {
        let stats = server.get("/api/v1/ws/stats?project_id=7").await.json();
        (stats["clients"] == 4).then_some(())
    })
    .await;
    let stats = server.get("/api/v1/ws/stats?project_id=7").await.json();
    assert_eq!(stats["channels"], 3);
    assert_eq!(
        stats["clientsPerChannel"],
        json!([
            {"channel": "tasks", "clients": 3},
            {"channel": "messages:*", "clients": 1},
            {"channel": "project:7", "clients": 1},
        ])
    );
    assert_eq!(stats["channelsLeftOut"], 0);
    assert_eq!(stats["project"], json!({"id": "7", "clients": 1}));
    assert_eq!(stats["counters"]["connections"], 4);
    let other = server.get("/api/v1/ws/stats?project_id=a%20b").await.json();
    assert_eq!(other["project"], json!({"id": "a b", "clients": 0}));
    assert!(
        server
            .get("/api/v1/ws/stats")
            .await
            .json()
            .get("project")
            .is_none()
    );
    // What clients are told is as it was.
    let url = format!("http://{}/api/v1/ws/stats", server.address);
    let public: Value = serde_json::from_str(
        &reqwest::get(&url)
            .await
            .expect("a server")
            .text()
            .await
            .expect("text"),
    )
    .expect("JSON");
    assert_eq!(public["connections"], 4);
    assert!(public.get("clientsPerChannel").is_none());
    assert_eq!(server.broadcaster.client_count(), 4);

    // Many channels are cut, and that is said.
    let names: Vec<_> = (0..1000).map(|n| format!("many:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    clients[3].subscribe(&names).await;
    let stats = server.get("/api/v1/ws/stats").await.json();
    assert_eq!(stats["channels"], 1003);
    assert_eq!(stats["channelsLeftOut"], 3);
    assert_eq!(
        stats["clientsPerChannel"].as_array().map(Vec::len),
        Some(1000)
    );
    assert_eq!(stats["clientsPerChannel"][0]["channel"], "tasks");
}

/// Names of metrics that a text has: words that begin as ours do.
fn named(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_word(c))
        .filter(|word| {
            word.starts_with("rowcast_")
                || word.starts_with("process_")
                || OF_PROMETHEUS.contains(word)
        })
        .map(str::to_owned)
        .collect()
}

/// All expressions of a dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" || name == "query" => {
                        found.push(text.clone());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_name_metrics_that_exist() {
    let database = Database::sqlite().await;
    let server = Running::start(&database).await;
    let text = server.get("/metrics").await.text;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let exported: BTreeSet<_> = samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let dashboard = fs::read_to_string("docs/ops/grafana-dashboard.json").expect("it is there");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("it is JSON");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 10, "{found:?}");
    let alerts = fs::read_to_string("docs/ops/alerts.yml").expect("it is there");
    let exprs: String = alerts
        .lines()
        .filter(|line| line.trim_start().starts_with("expr:"))
        .collect();
    let names = named(&(found.join(" ") + " " + &exprs));
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let known = exported.contains(name.as_str()) || OF_PROMETHEUS.contains(&name.as_str());
        assert!(known, "{name} is not exported");
    }
}
