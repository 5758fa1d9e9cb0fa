//! The backend of a board: an ordinary application with a table of cards. For realtime it does one thing more, in the same
//! transaction: `INSERT INTO events`. The feed is mounted beside its routes. README.md says how to start it.

use rowcast::{Authenticator, Broadcaster, DatabaseConfig, Gate, Hub, HubOptions, Migrate};
use rowcast::{PollInterval, source};
use serde::Deserialize;
use sqlx::sqlite::{SqliteArguments, SqlitePool};
use sqlx::{Sqlite, query, query::Query, query_scalar};
use warp::http::StatusCode;
use warp::reply::{Response, with_header, with_status};
use warp::{Filter, Reply};

/// What realtime asks of a backend.
const EVENT: &str =
    "INSERT INTO events (channel, type, entity_id, payload, previous, actor, origin)
    VALUES ('board:1', ?, ?, ?, ?, ?, ?)";

/// The state, and the position in the feed that it belongs to: of one statement, and so of one snapshot.
const BOARD: &str = "SELECT json_object('cursor', (SELECT cursor FROM rowcast_cursor), 'cards',
    (SELECT json_group_array(json(json)) FROM (SELECT json FROM card_json ORDER BY position, id)))";

const CARD: &str = "SELECT json FROM card_json WHERE id = ?";
const ADD: &str = "INSERT INTO cards (title, state, position, by, id) VALUES (?, ?, ?, ?, ?)";
const CHANGE: &str = "UPDATE cards SET title = coalesce(?, title), state = coalesce(?, state),
    position = coalesce(?, position), by = ? WHERE id = ?";
const REMOVE: &str = "DELETE FROM cards WHERE id = ?";

/// A card that is to be, or the members of one that are to be others.
#[derive(Deserialize)]
struct Wish {
    title: Option<String>,
    state: Option<String>,
    position: Option<f64>,
}

/// Who wants it, and from which tab: that one shows it already, and ignores the echo.
struct By {
    actor: Option<String>,
    origin: Option<String>,
}

enum Refusal {
    NoCard,
    Database(sqlx::Error),
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL").unwrap_or("sqlite://kanban.db".into());
    let address = std::env::var("LISTEN").unwrap_or("127.0.0.1:3033".into());

    // The feed: GET /ws and the rest, from the file that the application writes to.
    let source = source::open(&DatabaseConfig::new(&url)?, Migrate::Auto).await?;
    let broadcaster = Broadcaster::start(source, PollInterval::default()).await?;
    let hub = Hub::start(&broadcaster, HubOptions::default());
    let feed = rowcast::routes(&hub, &Gate::new(Authenticator::open()));

    // The application.
    let pool = SqlitePool::connect(&url).await?;
    let tables = include_str!("tables.sql");
    sqlx::raw_sql(tables).execute(&pool).await?;
    let with_pool = warp::any().map(move || pool.clone());
    let board = warp::path!("api" / "board")
        .and(warp::get())
        .and(with_pool.clone())
        .then(async |pool: SqlitePool| {
            let state = query_scalar(BOARD).fetch_one(&pool).await;
            answer(state.map_err(Refusal::Database))
        });
    let card = warp::path!("api" / "cards" / String)
        .and(with_pool)
        .and(warp::header::optional("x-actor"))
        .and(warp::header::optional("x-origin"))
        .map(|id, pool, actor, origin| (id, pool, By { actor, origin }));
    let wish = warp::body::content_length_limit(4096).and(warp::body::json());
    let add = card.clone().and(warp::post()).and(wish).then(
        async |(id, pool, by): (String, SqlitePool, By), wish: Wish| {
            answer(write(&pool, "card.created", filled(ADD, wish, &id, &by), &id, &by).await)
        },
    );
    let change = card.clone().and(warp::patch()).and(wish).then(
        async |(id, pool, by): (String, SqlitePool, By), wish: Wish| {
            answer(
                write(
                    &pool,
                    "card.updated",
                    filled(CHANGE, wish, &id, &by),
                    &id,
                    &by,
                )
                .await,
            )
        },
    );
    let remove = card
        .and(warp::delete())
        .then(async |(id, pool, by): (String, SqlitePool, By)| {
            answer(write(&pool, "card.deleted", query(REMOVE).bind(&id), &id, &by).await)
        });
    let page = warp::fs::dir(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/kanban/web/dist"
    ));

    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("the board is at http://{}", listener.local_addr()?);
    let routes = board.or(add).or(change).or(remove).or(page).or(feed);
    warp::serve(routes).incoming(listener).run().await;
    Ok(())
}

fn filled<'a>(sql: &'static str, wish: Wish, id: &'a str, by: &'a By) -> Statement<'a> {
    let values = query(sql)
        .bind(wish.title)
        .bind(wish.state)
        .bind(wish.position);
    values.bind(&by.actor).bind(id)
}

type Statement<'a> = Query<'a, Sqlite, SqliteArguments>;

/// Does what a statement says to a card, and tells of it: both or neither. Gives the card.
async fn write(
    pool: &SqlitePool,
    kind: &str,
    statement: Statement<'_>,
    id: &str,
    by: &By,
) -> Result<String, Refusal> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let before: Option<String> = query_scalar(CARD).bind(id).fetch_optional(&mut *tx).await?;
    if statement.execute(&mut *tx).await?.rows_affected() == 0 {
        return Err(Refusal::NoCard);
    }
    let after: Option<String> = query_scalar(CARD).bind(id).fetch_optional(&mut *tx).await?;
    let payload = after.or(before.clone()).unwrap_or_default();
    let event = query(EVENT).bind(kind).bind(id).bind(&payload).bind(before);
    let event = event.bind(&by.actor).bind(&by.origin);
    event.execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(payload)
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// SQLITE_CONSTRAINT.
fn is_refusal(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 19)
}

/// What a table refuses (its CHECKs, its trigger) is the client's to know; what else goes wrong is not.
fn answer(done: Result<String, Refusal>) -> Response {
    let (status, body) = match done {
        Ok(json) => (StatusCode::OK, json),
        Err(Refusal::NoCard) => (StatusCode::NOT_FOUND, "\"this card is gone\"".into()),
        Err(Refusal::Database(sqlx::Error::Database(error))) if is_refusal(&*error) => {
            let message = serde_json::Value::from(error.message());
            (StatusCode::UNPROCESSABLE_ENTITY, message.to_string())
        }
        Err(Refusal::Database(error)) => {
            eprintln!("the database: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, "\"try again\"".into())
        }
    };
    let reply = with_header(body, "content-type", "application/json");
    with_status(reply, status).into_response()
}
