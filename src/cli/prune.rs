//! `rowcast prune`: deletes old events once.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::sleep;

use crate::config::{DatabaseArgs, age};
use crate::error::Error;
use crate::retention::Sweep;
use crate::source::{self, Migrate};

/// How long a committed row is left alone however old it is: a running feed reads it in half a second, unless its
/// `--poll-interval` is longer or its database was away. `serve --retain` can wait for longer, as nobody waits for it.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Events are deleted in small batches, from the oldest on. Writers and feeds go on meanwhile, and it may be broken off at \
any time. A client whose cursor is older than what was deleted cannot be sent all it missed: it gets a `reset`, and \
refetches its state. So keep events for longer than clients are away. `rowcast serve --retain 7d` does this all the time.

Examples:
  rowcast prune --older-than 7d --dry-run
  rowcast prune --older-than 12h --database-url postgres://user:password@localhost/app")]
pub(super) struct PruneArgs {
    /// Delete the events that are older, for example 7d or 12h.
    #[arg(long, value_name = "DURATION", value_parser = age)]
    older_than: Duration,

    /// Only say how many they are.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: PruneArgs) -> Result<(), Error> {
    let config = args.database.config()?;
    // Whoever wants events deleted has some: tables are not made for it.
    let prune = source::open_prune(&config, Migrate::Check).await?;
    let known = prune.edge().await?;
    let progress = progress();
    if !args.dry_run {
        progress.set_message("waiting until every feed has read what was just committed");
        sleep(GRACE).await;
    }
    let mut sweep = Sweep::new(prune.as_ref(), known, args.older_than).dry_run(args.dry_run);
    let result = walk(&mut sweep, &progress).await;
    progress.finish_and_clear();
    let Sweep {
        deleted,
        kept,
        last_deleted,
        ..
    } = sweep;
    let age = humantime::format_duration(args.older_than);
    let (url, count) = (&config.url, HumanCount(deleted));
    let upto = last_deleted.map_or(String::new(), |id| format!(", up to event {id}"));
    if args.dry_run {
        anstream::println!("{count} events in {url} are older than {age}{upto}; none was deleted");
    } else if result.is_ok() || deleted > 0 {
        anstream::println!("deleted {count} events older than {age} from {url}{upto}");
    }
    if kept > 0 {
        anstream::println!(
            "{} more are old, but were committed just now, or since a transaction began that is still open; prune again later",
            HumanCount(kept)
        );
    }
    result
}

async fn walk(sweep: &mut Sweep<'_>, progress: &ProgressBar) -> Result<(), Error> {
    let mut total = None;
    while sweep.step().await? {
        if !progress.is_hidden() {
            // Once, and only where there is more than one batch.
            if total.is_none() {
                let about = sweep.deleted + sweep.left().await?;
                total = Some(about);
                progress.set_length(about);
                progress.set_style(style(
                    "{bar:30} {human_pos} of about {human_len} events, {eta} left",
                ));
                progress.reset();
            }
            progress.set_position(sweep.deleted);
        }
        sleep(sweep.pause()).await;
    }
    Ok(())
}

/// A line on a terminal; nothing elsewhere.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let progress = ProgressBar::new_spinner().with_style(style("{spinner} {msg}"));
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants")
}
