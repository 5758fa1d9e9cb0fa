//! The tables: created, updated or checked at start.

use sqlx::migrate::MigrateError;

use crate::error::Error;

/// What is to happen with the tables at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Migrate {
    /// Create or update them.
    #[default]
    Auto,
    /// Refuse to start when they are not up to date.
    Check,
    /// Take them as they are.
    Off,
}

/// What went wrong with a migration, told for people.
pub(super) fn migration_error(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::Unusable(format!(
            "its tables were made by a newer rowcast (migration {version}); start that version, or a newer one"
        )),
        MigrateError::VersionMismatch(version) => Error::Unusable(format!(
            "migration {version} was applied with another text than this rowcast has; start the version that made the tables"
        )),
        MigrateError::ExecuteMigration(source, _) if table_exists(&source) => Error::Unusable(
            "it already has a table `events` that rowcast did not make; put rowcast's own elsewhere (Postgres: --schema rowcast; \
             SQLite: another file), or give that table the shape of migrations/ and start with --migrate off"
                .into(),
        ),
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            Error::Database { doing: "create or update the tables", source }
        }
        other => Error::Unusable(format!("its tables cannot be brought up to date: {other}")),
    }
}

fn table_exists(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("42P07") || error.message().contains("already exists")
    })
}

/// The table that notes which migrations were applied. Not sqlx's default: the user's own application may have that.
const MIGRATIONS_TABLE: &str = "_rowcast_migrations";

/// Creates, updates or checks the tables.
pub(super) async fn set_up_tables<C: sqlx::migrate::Migrate>(
    mut migrator: sqlx::migrate::Migrator,
    connection: &mut C,
    migrate: Migrate,
) -> Result<(), Error> {
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    match migrate {
        Migrate::Off => Ok(()),
        Migrate::Auto => migrator
            .run_direct(None, connection, false)
            .await
            .map_err(migration_error),
        Migrate::Check => {
            // Without the table nothing was applied.
            let applied = connection
                .list_applied_migrations(MIGRATIONS_TABLE)
                .await
                .unwrap_or_default();
            // What `Auto` refuses, too.
            for have in &applied {
                match migrator.iter().find(|known| known.version == have.version) {
                    None => {
                        return Err(migration_error(MigrateError::VersionMissing(have.version)));
                    }
                    Some(known) if known.checksum != have.checksum => {
                        return Err(migration_error(MigrateError::VersionMismatch(have.version)));
                    }
                    Some(_) => {}
                }
            }
            let missing = migrator
                .iter()
                .filter(|wanted| !applied.iter().any(|have| have.version == wanted.version))
                .count();
            if missing == 0 {
                return Ok(());
            }
            Err(Error::Unusable(format!(
                "{missing} of {} migrations are not applied, and --migrate check leaves that to you; run `rowcast migrate`",
                migrator.iter().count()
            )))
        }
    }
}
