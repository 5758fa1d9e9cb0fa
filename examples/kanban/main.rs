//! The backend of a board: an ordinary application with a table of cards. For realtime it does one thing more, in the same
//! transaction: `INSERT INTO events`. The feed is mounted beside its routes. README.md says how to start it.

use rowcast::{Authenticator, Broadcaster, DatabaseConfig, Gate, Hub, HubOptions, Migrate};
use rowcast::{PollInterval, source};
use serde::Deserialize;
use sqlx::sqlite::SqlitePool;
use sqlx::{query, query_scalar};
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
const ADD: &str = "INSERT INTO cards (id, title, state, position, by) VALUES (?1, ?2, ?3, ?4, ?5)";
const CHANGE: &str = "UPDATE cards SET title = coalesce(?2, title), state = coalesce(?3, state),
    position = coalesce(?4, position), by = ?5 WHERE id = ?1";
const REMOVE: &str = "DELETE FROM cards WHERE id = ?1";

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
    sqlx::raw_sql(include_str!("tables.sql"))
        .execute(&pool)
        .await?;
    let pool = warp::any().map(move || pool.clone());
    let board = warp::path!("api" / "board")
        .and(warp::get())
        .and(pool.clone());
    let board = board.then(async |pool: SqlitePool| {
        let state = query_scalar(BOARD).fetch_one(&pool).await;
        answer(state.map(Some))
    });
    let card = warp::path!("api" / "cards" / String)
        .and(warp::header::optional("x-actor"))
        .and(warp::header::optional("x-origin"))
        .and(pool)
        .map(|id, actor, origin, pool| Request {
            id,
            actor,
            origin,
            pool,
        });
    let wish = warp::body::content_length_limit(4096).and(warp::body::json());
    let add = card.clone().and(warp::post()).and(wish);
    let add = add.then(async |card: Request, wish| card.write("card.created", ADD, wish).await);
    let change = card.clone().and(warp::patch()).and(wish);
    let change =
        change.then(async |card: Request, wish| card.write("card.updated", CHANGE, wish).await);
    let remove = card.and(warp::delete());
    let remove = remove
        .then(async |card: Request| card.write("card.deleted", REMOVE, Wish::default()).await);
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

/// A card that is to be, or the members of one that are to be others.
#[derive(Default, Deserialize)]
struct Wish {
    title: Option<String>,
    state: Option<String>,
    position: Option<f64>,
}

/// Which card, who asks, and from which tab: that one shows the change already, and ignores its echo.
struct Request {
    id: String,
    actor: Option<String>,
    origin: Option<String>,
    pool: SqlitePool,
}

impl Request {
    async fn write(self, kind: &str, sql: &'static str, wish: Wish) -> Response {
        answer(self.try_write(kind, sql, wish).await)
    }

    /// Changes the card, and tells of it: both or neither. Gives the card; none where there is no such card.
    async fn try_write(
        &self,
        kind: &str,
        sql: &'static str,
        wish: Wish,
    ) -> Result<Option<String>, sqlx::Error> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let card = || query_scalar::<_, String>(CARD).bind(&self.id);
        let before = card().fetch_optional(&mut *tx).await?;
        let write = query(sql).bind(&self.id).bind(wish.title).bind(wish.state);
        let write = write.bind(wish.position).bind(&self.actor);
        if write.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let after = card().fetch_optional(&mut *tx).await?;
        let payload = after.or(before.clone());
        let event = query(EVENT)
            .bind(kind)
            .bind(&self.id)
            .bind(&payload)
            .bind(before);
        event
            .bind(&self.actor)
            .bind(&self.origin)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(payload)
    }
}

/// What a table refuses (its CHECKs, its trigger) is the client's to know; what else goes wrong is not.
fn answer(done: Result<Option<String>, sqlx::Error>) -> Response {
    let (status, body) = match done {
        Ok(Some(json)) => (StatusCode::OK, json),
        Ok(None) => (StatusCode::NOT_FOUND, "\"this card is gone\"".into()),
        Err(sqlx::Error::Database(error)) if is_refusal(&*error) => {
            let message = serde_json::Value::from(error.message());
            (StatusCode::UNPROCESSABLE_ENTITY, message.to_string())
        }
        Err(error) => {
            eprintln!("the database: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, "\"try again\"".into())
        }
    };
    let reply = with_header(body, "content-type", "application/json");
    with_status(reply, status).into_response()
}

/// Result code 19 of SQLite.
fn is_refusal(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 19)
}
