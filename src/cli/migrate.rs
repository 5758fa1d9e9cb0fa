//! `rowcast migrate`: the tables, and nothing else.

use clap::Args;

use crate::config::DatabaseArgs;
use crate::error::Error;
use crate::source::{self, Migrate};

#[derive(Debug, Clone, Args)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,

    /// Only say whether they are up to date.
    #[arg(long)]
    check: bool,
}

pub(super) async fn run(args: MigrateArgs) -> Result<(), Error> {
    let database = args.database.config()?;
    let migrate = if args.check {
        Migrate::Check
    } else {
        Migrate::Auto
    };
    source::open(&database, migrate).await?;
    anstream::println!("the tables in {} are up to date", database.url);
    Ok(())
}
