//! A writer's connection: kept while it is good and the file is the same, opened anew when not.

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::file::FileIdentity;
use super::{explain, explain_shape};
use crate::error::Error;

/// One connection. Whoever uses it takes it out, and puts it back only when it is in good order: an error or a dropped
/// future closes it.
pub(super) struct Slot {
    options: SqliteConnectOptions,
    idle: Option<Open>,
}

/// An open file, and which one it is: a path may come to mean another file.
pub(super) struct Open {
    pub connection: SqliteConnection,
    file: Option<FileIdentity>,
}

impl Slot {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self {
            options,
            idle: None,
        }
    }

    /// A good connection.
    pub(super) async fn take(&mut self) -> Result<Open, Error> {
        // Asked before the file is opened: if it is replaced in between, this is found out next time.
        let file = FileIdentity::of(self.options.get_filename());
        if let Some(open) = self.idle.take()
            && open.file == file
        {
            return Ok(open);
        }
        let connection = self.options.connect().await;
        let connection =
            connection.map_err(|error| explain(&self.options, "open the file", error))?;
        Ok(Open { connection, file })
    }

    pub(super) fn keep(&mut self, open: Open) {
        self.idle = Some(open);
    }

    /// What an error with its connection means.
    pub(super) fn explain(&self, doing: &'static str, error: sqlx::Error) -> Error {
        explain_shape(explain(&self.options, doing, error))
    }
}
