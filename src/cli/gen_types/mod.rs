//! `rowcast gen types`: TypeScript types of a feed, from a schema file or from what is in the table.

mod channel;
mod expression;
mod model;
mod output;
mod print;
mod samples;
mod schema;
mod shape;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::config::DatabaseArgs;
use crate::error::Error;
use crate::source::DatabaseConfig;
use output::Change;

#[derive(Debug, Clone, Args)]
pub(super) struct GenArgs {
    #[command(subcommand)]
    command: GenCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum GenCommand {
    /// Write TypeScript types of the events and channels of a feed, for createClient<Events, Channels>().
    Types(TypesArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast gen types feed.toml --out src/feed.ts           from a schema
  rowcast gen types feed.toml --out src/feed.ts --check   in CI: fail when src/feed.ts is stale
  rowcast gen types --database-url sqlite://rowcast.db    from the events that are there

A schema, feed.toml. A comment above a key becomes its comment:
  [channels]
  tasks = [\"task.created\", \"task.deleted\"]
  \"messages:{channelId}\" = [\"message.created\"]

  [types.Task]
  id = \"string\"
  \"done?\" = \"boolean\"                  # may be missing
  labels = \"string[]\"
  state = \"'open' | 'done' | null\"
  author = { name = \"string\" }

  [events]
  \"task.created\" = \"Task\"
  \"task.deleted\" = { id = \"string\" }
  [events.\"message.created\"]
  text = \"string\"
  meta = \"Record<string, unknown>\"

Types are string, number, boolean, null, unknown, texts and numbers themselves, names of [types], arrays (string[]),
records, and unions (|).

From the table: a member that some payloads lack is optional, and `messages:42` and `messages:43` are of one kind,
messages:{id}. Texts stay `string`, however few there are. What no row shows is not known: look at what comes out once.
The payload is what is looked at; clients type `previous` alike.")]
pub(super) struct TypesArgs {
    /// The schema. Without it, types are learnt from the events in the table.
    #[arg(value_name = "SCHEMA_FILE")]
    file: Option<PathBuf>,

    /// Write to this file, whole or not at all, and say what has changed in it. [default: print]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write nothing, and fail where the file of --out is not what would be written.
    #[arg(long, requires = "out")]
    check: bool,

    /// How many events to learn from at most, the newest first.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: u32,

    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: GenArgs) -> Result<(), Error> {
    let GenCommand::Types(args) = args.command;
    let feed = match &args.file {
        Some(file) => schema::read(file)?,
        None => samples::read(&database(&args.database)?, args.samples).await?,
    };
    let text = print::file(&feed);
    let Some(path) = &args.out else {
        anstream::print!("{text}");
        return Ok(());
    };
    let shown = path.display();
    let events = format!(
        "events: {}, channels: {}",
        feed.events.len(),
        feed.channels.len()
    );
    match output::compare(path, &text)? {
        Change::None => anstream::println!("{shown} is up to date ({events})"),
        Change::New if args.check => {
            return Err(Error::Stale(format!("{shown}: there is no such file")));
        }
        Change::Some(what) if args.check => {
            return Err(Error::Stale(format!("{shown}: {what}")));
        }
        Change::New => {
            output::write(path, &text)?;
            anstream::println!("wrote {shown} ({events})");
        }
        Change::Some(what) => {
            output::write(path, &text)?;
            anstream::println!("wrote {shown} ({events}): {what}");
        }
    }
    Ok(())
}

/// `--schema` is no file here, and looks as if it were.
fn database(args: &DatabaseArgs) -> Result<DatabaseConfig, Error> {
    if let Some(name) = args.schema.as_ref().filter(|name| {
        Path::new(name)
            .extension()
            .is_some_and(|found| found == "toml")
    }) {
        return Err(Error::Config(format!(
            "--schema {name} names a schema of Postgres; a file of types is named without a flag: rowcast gen types {name}"
        )));
    }
    args.config()
}
