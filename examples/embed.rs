//! A warp application of yours with the feed beside its own routes: one port, one process.
//!
//! ```sh
//! cargo run --example embed
//! curl -d '{"title":"water the plants"}' -H 'content-type: application/json' http://127.0.0.1:3030/tasks
//! cargo run -- tail --url ws://127.0.0.1:3030/ws tasks  # in another terminal, before the request
//! ```

use std::sync::Arc;

use rowcast::source::{self, Insert};
use rowcast::{
    Authenticator, Broadcaster, Channel, DatabaseConfig, Error, Gate, Hub, HubOptions, Migrate,
    NewEvent, PollInterval,
};
use serde_json::value::RawValue;
use warp::http::StatusCode;
use warp::{Filter, Reply};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::var("DATABASE_URL").unwrap_or("sqlite://rowcast.db".into());
    let database = DatabaseConfig::new(&url)?;

    // The feed. It ends with the broadcaster, so keep that.
    let source = source::open(&database, Migrate::Auto).await?;
    let broadcaster = Broadcaster::start(source, PollInterval::default()).await?;
    let hub = Hub::start(&broadcaster, HubOptions::default());

    // Your own routes. A real application inserts in the transaction that stores the task, with whatever it uses to
    // speak to its database; rowcast notices the row, whoever inserts it.
    let insert = source::open_insert(&database, Migrate::Off).await?;
    let tasks = warp::path!("tasks")
        .and(warp::post())
        .and(warp::body::json())
        .then(move |task: Box<RawValue>| create_task(Arc::clone(&insert), task));
    let clients = warp::path!("clients").map(move || broadcaster.client_count().to_string());

    // Who gets in. `open` asks nobody; see `rowcast::Authenticator` for tokens.
    let gate = Gate::new(Authenticator::open());

    // GET /ws, /healthz and /api/v1/ws/stats are rowcast's.
    let routes = tasks.or(clients).or(rowcast::routes(&hub, &gate));
    println!("listening on http://127.0.0.1:3030, the feed is at ws://127.0.0.1:3030/ws");
    warp::serve(routes).run(([127, 0, 0, 1], 3030)).await;
    Ok(())
}

async fn create_task(insert: Arc<dyn Insert>, task: Box<RawValue>) -> impl Reply {
    let event = NewEvent::new(
        Channel::parse("tasks").expect("a name in rule"),
        "task.created",
        task,
    );
    match insert.insert(&[event]).await {
        Ok(inserted) => {
            warp::reply::with_status(format!("event {}\n", inserted[0].id), StatusCode::CREATED)
        }
        Err(error) => warp::reply::with_status(
            format!("failed to {error}\n"),
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
    }
}
