//! `rowcast attach` and `rowcast detach`: triggers that write the events of a table of the user's own.

use std::io::{IsTerminal as _, stdout};

use anstyle::{AnsiColor, Style};
use clap::Args;

use crate::config::DatabaseArgs;
use crate::error::Error;
use crate::source::capture::{
    Attached, Giver, Operation, Script, Template, Wanted, attach, detach, list,
};

const EXAMPLES: &str = "\
Examples:
  rowcast attach tasks --channel tasks                           print the triggers, change nothing
  rowcast attach tasks --channel tasks --apply                   install them
  rowcast attach tasks --channel tasks --channel 'project:{project_id}' --actor '{updated_by}' --apply
  rowcast attach shop.orders --channel 'inbox:{customer_id}' --only id,state,total --on insert,update --apply
  rowcast attach tasks --channel tasks --actor setting:app.user_id --apply
                                     Postgres; your backend says SET LOCAL app.user_id = 'ann' in its transaction
  rowcast attach --list                                          what is captured, and whether it still fits
  rowcast detach tasks --apply                                   remove the triggers

From then on an UPDATE of a task, by any program, is an event task.updated in the same transaction: payload is the row as it
is, previous as it was. A row that changes its project goes to the channels of both. To keep the triggers with your schema, put
what is printed into a migration of your own: rowcast attach tasks --channel tasks > migrations/0042_capture_tasks.sql";

#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AttachArgs {
    /// The table: tasks, shop.tasks, or with the quotes of SQL.
    #[arg(required_unless_present = "list")]
    table: Option<String>,

    /// Where its events go. Columns in braces stand for their values: '`project:{project_id`}'. A row in which one is NULL, or
    /// can be no part of a name, is not on that channel. Repeat it for more.
    #[arg(long = "channel", value_name = "NAME", value_parser = Template::parse, required_unless_present = "list")]
    channels: Vec<Template>,

    /// The column that tells rows apart: the event's entityId. [default: the primary key]
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,

    /// What the types of events begin with: task makes task.created, task.updated, task.deleted. [default: the table's name
    /// without its last s]
    #[arg(long = "type", value_name = "WORD")]
    kind: Option<String>,

    /// Who did it: a column in braces, '{`updated_by`}', or a setting of the session (Postgres), `setting:app.user_id`.
    #[arg(long, value_name = "FROM", value_parser = Giver::parse)]
    actor: Option<Giver>,

    /// Which mutation of a client it was, so that its page can ignore the echo. As --actor.
    #[arg(long, value_name = "FROM", value_parser = Giver::parse)]
    origin: Option<Giver>,

    /// Send these columns and no others.
    #[arg(
        long,
        value_name = "COLUMNS",
        value_delimiter = ',',
        conflicts_with = "include"
    )]
    only: Vec<String>,

    /// Send all columns but these. A change of nothing else is no event.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    except: Vec<String>,

    /// Send these columns though their names look like secrets.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    include: Vec<String>,

    /// Which changes. [default: all; TRUNCATE, which Postgres has, is one event on the channels without columns]
    #[arg(long, value_name = "CHANGES", value_delimiter = ',', value_enum)]
    on: Vec<Operation>,

    /// Install the triggers, in one transaction, in the place of those that may be there.
    #[arg(long)]
    apply: bool,

    /// Say which tables are captured, how, and what has changed since.
    #[arg(long, conflicts_with_all = ["table", "channels", "id", "kind", "actor", "origin", "only", "except", "include", "on", "apply"])]
    list: bool,

    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast detach tasks             print the statements, change nothing
  rowcast detach tasks --apply     remove the triggers; events that they wrote stay")]
pub(super) struct DetachArgs {
    /// The table.
    table: String,

    /// Remove its triggers.
    #[arg(long)]
    apply: bool,

    #[command(flatten)]
    database: DatabaseArgs,
}

const WARNING: Style = AnsiColor::Yellow.on_default();

pub(super) async fn run(args: AttachArgs) -> Result<(), Error> {
    let config = args.database.config()?;
    if args.list {
        print_list(&list(&config).await?);
        return Ok(());
    }
    let wanted = Wanted {
        table: args.table.unwrap_or_default(),
        channels: args.channels,
        id: args.id,
        kind: args.kind,
        actor: args.actor,
        origin: args.origin,
        only: args.only,
        except: args.except,
        include: args.include,
        on: args.on,
    };
    let script = attach(&config, &wanted, args.apply).await?;
    if args.apply {
        anstream::println!(
            "{} is captured: its changes are events from now on",
            script.table
        );
        if let Some(channel) = &script.try_channel {
            anstream::println!(
                "try it: rowcast tail '{channel}' beside a running server, and change a row"
            );
        }
    }
    print_rest(&script, args.apply);
    Ok(())
}

pub(super) async fn run_detach(args: DetachArgs) -> Result<(), Error> {
    let config = args.database.config()?;
    let script = detach(&config, &args.table, args.apply).await?;
    if args.apply {
        anstream::println!("{} is not captured any more", script.table);
    }
    print_rest(&script, args.apply);
    Ok(())
}

/// The statements go where they can be redirected to a file, and all else beside them.
fn print_rest(script: &Script, applied: bool) {
    if !applied {
        anstream::print!("{}", script.sql);
    }
    for note in &script.notes {
        anstream::eprintln!("note: {note}");
    }
    for warning in &script.warnings {
        anstream::eprintln!("{WARNING}warning:{WARNING:#} {warning}");
    }
    if !applied && stdout().is_terminal() {
        anstream::eprintln!("nothing was changed; add --apply to run these statements");
    }
}

fn print_list(attached: &[Attached]) {
    if attached.is_empty() {
        anstream::println!("no table is captured; rowcast attach --help shows how");
    }
    let words = |words: Vec<String>| words.join(", ");
    for table in attached {
        let definition = &table.definition;
        let on = definition.on.iter().map(ToString::to_string).collect();
        let channels = definition.channels.iter().cloned().map(String::from);
        anstream::println!("{}", table.table);
        anstream::println!("  on        {}", words(on));
        anstream::println!("  channels  {}", words(channels.collect()));
        anstream::println!("  type      {}", definition.kind);
        anstream::println!("  id        {}", definition.id);
        for (name, giver) in [("actor", &definition.actor), ("origin", &definition.origin)] {
            if let Some(giver) = giver {
                anstream::println!("  {name:<9} {}", String::from(giver.clone()));
            }
        }
        anstream::println!("  sent      {}", words(definition.sent.clone()));
        if !definition.held.is_empty() {
            anstream::println!("  left out  {}", words(definition.held.clone()));
        }
        for change in &table.changes {
            anstream::println!("  {WARNING}{change}{WARNING:#}");
        }
        if table.changes.is_empty() {
            anstream::println!("  it fits the table");
        } else {
            anstream::println!("  → attach it again with what it should be now");
        }
    }
}
