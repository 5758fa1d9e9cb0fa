//! A connection for reading rows, on a thread of its own. What a statement gives is read where SQLite has it and becomes an
//! event at once; sqlx would copy every value of every row twice more, and hand each row from thread to thread.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::mpsc;
use std::{fmt, thread};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use sqlx::ConnectOptions as _;
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::oneshot;

use super::BUSY_TIMEOUT;
use crate::error::Error;

/// Questions that wait for their turn. Whoever asks waits for the answer, or gives the reader up.
const QUESTIONS_MAX: usize = 1;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// An open file. It is closed when this is dropped, or what was being read then is read.
pub(super) struct RowReader {
    questions_tx: mpsc::SyncSender<Question>,
}

impl RowReader {
    /// Opens the file as sqlx does with the same options, but for creating it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(options: &SqliteConnectOptions) -> Result<Self, Error> {
        let doing = "open the file";
        let file = File::of(options);
        let (questions_tx, questions) = mpsc::sync_channel::<Question>(QUESTIONS_MAX);
        let (opened_tx, opened) = oneshot::channel();
        let work = move || {
            let connection = match file.open() {
                Ok(connection) => connection,
                Err(error) => {
                    // Nobody waits any more where it cannot be sent.
                    let _ = opened_tx.send(Err(error));
                    return;
                }
            };
            if opened_tx.send(Ok(())).is_ok() {
                for question in questions {
                    question(&connection);
                }
            }
        };
        thread::Builder::new()
            .name("rowcast-rows".into())
            .spawn(work)
            .map_err(|error| Error::database(doing)(error.into()))?;
        match opened.await {
            Ok(Ok(())) => Ok(Self { questions_tx }),
            Ok(Err(error)) => Err(failed(doing, error)),
            Err(_ended) => Err(Error::database(doing)(sqlx::Error::WorkerCrashed)),
        }
    }

    /// Has the thread answer a question.
    ///
    /// # Errors
    /// When the database fails, in the words that sqlx has for it.
    pub async fn ask<T: Send + 'static>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer_tx, answer) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            let _ = answer_tx.send(question(connection));
        });
        // A question that is not taken goes, and with it the sender of its answer.
        let _ = self.questions_tx.try_send(question);
        match answer.await {
            Ok(answer) => answer.map_err(|error| failed(doing, error)),
            Err(_panicked) => Err(Error::database(doing)(sqlx::Error::WorkerCrashed)),
        }
    }
}

/// What sqlx would open, and how.
#[derive(Debug, PartialEq)]
struct File {
    path: String,
    flags: OpenFlags,
    vfs: Option<String>,
}

impl File {
    fn of(options: &SqliteConnectOptions) -> Self {
        let mut file = Self {
            // A path that is not UTF-8 is refused by sqlx, which opens the file first.
            path: options.get_filename().to_string_lossy().into_owned(),
            flags: OpenFlags::SQLITE_OPEN_URI
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE,
            vfs: None,
        };
        // Nothing else tells them. Not every path makes a URL.
        for (name, value) in options.clone().filename("-").to_url_lossy().query_pairs() {
            match (&*name, &*value) {
                ("mode", "ro") => {
                    file.flags.remove(OpenFlags::SQLITE_OPEN_READ_WRITE);
                    file.flags.insert(OpenFlags::SQLITE_OPEN_READ_ONLY);
                }
                ("cache", "shared") => {
                    file.flags.remove(OpenFlags::SQLITE_OPEN_PRIVATE_CACHE);
                    file.flags.insert(OpenFlags::SQLITE_OPEN_SHARED_CACHE);
                }
                ("immutable", "true") => {
                    let path = percent_encode(file.path.as_bytes(), NON_ALPHANUMERIC);
                    file.path = format!("file:{path}?immutable=true");
                }
                ("vfs", vfs) => file.vfs = Some(vfs.to_owned()),
                _ => {}
            }
        }
        file
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = match &self.vfs {
            None => Connection::open_with_flags(&self.path, self.flags),
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, self.flags, vfs.as_str()),
        }?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Or every new value of a LIMIT would have its statement compiled anew, which takes as long as 50 rows.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    }
}

/// What SQLite says, as sqlx tells it: that is what errors are looked through for.
#[derive(Debug)]
struct Failure {
    code: i32,
    message: String,
}

fn failed(doing: &'static str, error: rusqlite::Error) -> Error {
    Error::database(doing)(match error {
        rusqlite::Error::SqliteFailure(error, message) => {
            sqlx::Error::Database(Box::new(Failure {
                code: error.extended_code,
                message: message.unwrap_or_else(|| error.to_string()),
            }))
        }
        other => sqlx::Error::Protocol(other.to_string()),
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl StdError for Failure {}

impl DatabaseError for Failure {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn of(url: &str) -> File {
        File::of(&SqliteConnectOptions::from_str(url).expect("a good URL"))
    }

    #[test]
    fn a_file_is_opened_as_its_url_says() {
        let plain = of("sqlite://a b.db");
        let flags = OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
        assert_eq!(
            (&*plain.path, plain.flags, &plain.vfs),
            ("a b.db", flags | OpenFlags::SQLITE_OPEN_READ_WRITE, &None)
        );
        // Who reads creates nothing.
        assert_eq!(of("sqlite://a b.db?mode=rwc"), plain);
        assert_eq!(
            of("sqlite://a b.db?mode=ro").flags,
            flags | OpenFlags::SQLITE_OPEN_READ_ONLY
        );
        let shared = of("sqlite://a b.db?cache=shared").flags;
        assert!(shared.contains(OpenFlags::SQLITE_OPEN_SHARED_CACHE));
        assert!(!shared.contains(OpenFlags::SQLITE_OPEN_PRIVATE_CACHE));
        assert_eq!(
            of("sqlite://a b.db?immutable=1").path,
            "file:a%20b%2Edb?immutable=true"
        );
        assert_eq!(
            of("sqlite://x.db?vfs=unix-excl").vfs.as_deref(),
            Some("unix-excl")
        );
        assert_eq!(of("sqlite://a:b.db").path, "a:b.db", "it makes no URL");
    }

    #[tokio::test]
    async fn a_reader_whose_thread_panicked_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        drop(Connection::open(&path).expect("a new file"));
        let options = SqliteConnectOptions::new().filename(&path);
        let reader = RowReader::open(&options).await.expect("it is there");
        for _ in 0..2 {
            let error = reader
                .ask("read new rows", |_| -> rusqlite::Result<()> {
                    panic!("as a bug would")
                })
                .await
                .expect_err("nobody answers");
            assert!(error.to_string().starts_with("read new rows: "), "{error}");
        }
        let absent = SqliteConnectOptions::new().filename(folder.path().join("none.db"));
        let Err(error) = RowReader::open(&absent).await else {
            panic!("there is no such file");
        };
        let text = error.to_string();
        assert!(
            text.starts_with(
                "open the file: error returned from database: (code: 14) unable to open"
            ),
            "{text}"
        );
    }
}
