//! The command line: what `--help` shows, and where each command goes.

mod attach;
mod banner;
mod bench;
mod check;
mod client;
mod config;
#[cfg(feature = "sqlite")]
mod demo;
mod doctor;
mod emit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gen_types;
mod log;
mod migrate;
mod prune;
mod relay;
mod serve;
mod signals;
mod tail;
mod token;
mod verify;
mod why;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{Refusal, ServeArgs, Sources};
use crate::error::Error;

/// Exit code of bad usage or configuration (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// Turns an `events` table into a realtime feed: INSERT a row, and every subscribed client has it.
#[derive(Debug, Parser)]
#[command(name = "rowcast", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: ServeArgs,

    #[command(flatten)]
    log: log::LogArgs,

    /// Read settings from this file. It is read at start only, not at SIGHUP. [default: rowcast.toml in the present
    /// folder, if it is there]
    #[arg(
        long,
        value_name = "FILE",
        env = "ROWCAST_CONFIG",
        global = true,
        help_heading = "Configuration"
    )]
    config: Option<PathBuf>,
}

/// Commands that read no configuration file: the demo is for those who have none, and a benchmark does not load the server
/// that some file is about.
const WITHOUT_FILE: [&str; 2] = ["bench", "demo"];

const EXAMPLES: &str = "\
Try it:
  rowcast demo                                    a feed with events, no database needed
  rowcast                                         serve rowcast.db on 127.0.0.1:3001
  rowcast tail tasks                              print the events of a channel as they come
  rowcast emit tasks task.created '{\"id\": 1}'     insert one
  rowcast token secret > key                      ask for tokens: rowcast --jwt-secret-file key
Any program may insert: INSERT INTO events (channel, type, payload) VALUES ('tasks', 'task.created', '{}')

Every flag can be set in the environment: --poll-interval as ROWCAST_POLL_INTERVAL; and in a file: rowcast config default";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the feed. This is what rowcast does without a command.
    Serve(Box<ServeArgs>),
    /// Create or update the tables.
    Migrate(migrate::MigrateArgs),
    /// Delete old events.
    Prune(prune::PruneArgs),
    /// Capture a table of your own: triggers that write its events.
    Attach(Box<attach::AttachArgs>),
    /// Remove the triggers of a captured table.
    Detach(attach::DetachArgs),
    /// Relay the table into a stream in Redis, which many servers read in its place.
    Relay(Box<relay::RelayCommand>),
    /// Look whether the database is fit for a feed, and mend what a restore or a failover left behind.
    Doctor(doctor::DoctorArgs),
    /// Look whether everything is there that `rowcast serve` would need with these flags, and change nothing.
    Check(Box<check::CheckArgs>),
    /// Show what is configured, and what can be: the file rowcast.toml.
    Config(config::ConfigArgs),
    /// Insert events.
    Emit(emit::EmitArgs),
    /// Print events as they come, as a client of a running server.
    Tail(tail::TailArgs),
    /// Write types for clients.
    Gen(Box<gen_types::GenArgs>),
    /// Make secrets and tokens, and look into tokens.
    Token(token::TokenArgs),
    /// Show a feed at work: a server on a temporary database, a writer, and a client.
    #[cfg(feature = "sqlite")]
    Demo(demo::DemoArgs),
    /// Find out whether every committed row arrives once: writes rows, and follows the feed.
    Verify(Box<verify::VerifyArgs>),
    /// Put load on a server and measure it: fan-out, latency, connects, catching up, idle clients.
    Bench(Box<bench::BenchArgs>),
    /// Say how far an event has come for somebody, and what kept it from going further.
    Why(why::WhyArgs),
    /// Print a completion script, for example `rowcast completions bash >> ~/.bashrc`.
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

/// Runs the command line, and gives the exit code: 0 done, 1 failed, 64 bad usage or configuration.
#[must_use]
pub fn main() -> ExitCode {
    let declaration = Cli::command();
    let args: Vec<_> = std::env::args_os().collect();
    let parsed = Sources::read(&declaration, &args, &WITHOUT_FILE).and_then(|sources| {
        let cli = Cli::from_arg_matches(&sources.matches).map_err(Refusal::Usage)?;
        Ok((cli, sources))
    });
    let (cli, sources) = match parsed {
        Ok(parsed) => parsed,
        Err(Refusal::Usage(error)) if !error.use_stderr() => {
            // How --help and --version end. Nothing can be done about a closed terminal.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(Refusal::Usage(error)) => {
            print_usage_error(&error);
            return ExitCode::from(EXIT_USAGE);
        }
        Err(Refusal::File(error)) => {
            anstream::eprintln!("rowcast: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    log::start(&cli.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("rowcast: failed to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli, &declaration, &sources));
    match result.map_err(|error| sources.cite(error)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let prefix = if error.is_config() { "" } else { "failed to " };
            anstream::eprintln!("rowcast: {prefix}{error}");
            if error.is_config() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// A value that is wrong is one line, as all errors about configuration; for the rest clap knows more than a line.
fn print_usage_error(error: &clap::Error) {
    let text = error.render().to_string();
    let shown = hide_passwords(&text);
    if error.kind() == ErrorKind::ValueValidation {
        let line = shown.lines().next().unwrap_or_default();
        let line = line.strip_prefix("error: ").unwrap_or(line);
        anstream::eprintln!("rowcast: {line}");
    } else if shown == text {
        // With its colours. Nothing can be done about a closed terminal.
        let _ = error.print();
    } else {
        anstream::eprint!("{shown}");
    }
}

/// clap repeats what it does not understand, and that may be a token, or a database URL whose flag was forgotten.
fn hide_passwords(text: &str) -> String {
    let hide = |line: &str| {
        // How URLs, Postgres settings and tokens begin.
        let Some(start) = ["://", "postgres", "eyJ"]
            .iter()
            .find_map(|sign| line.find(sign))
        else {
            return line.to_owned();
        };
        // clap puts what it repeats between quotes, and a password may have quotes in it.
        let user_ends = line.rfind('@').map_or(start, |at| at.max(start));
        let end = line[user_ends..]
            .find(['\'', '\n'])
            .map_or(line.len(), |quote| user_ends + quote);
        format!("{}…{}", &line[..start], &line[end..])
    };
    text.split_inclusive('\n').map(hide).collect()
}

async fn run(cli: Cli, declaration: &clap::Command, sources: &Sources) -> Result<(), Error> {
    let file = sources.file.clone();
    match cli.command {
        None => serve::run(cli.serve, file).await,
        Some(Command::Serve(args)) => serve::run(*args, file).await,
        Some(Command::Check(args)) => check::run(*args, file).await,
        Some(Command::Config(args)) => config::run(args, declaration, sources),
        Some(Command::Migrate(args)) => migrate::run(args).await,
        Some(Command::Prune(args)) => prune::run(args).await,
        Some(Command::Attach(args)) => attach::run(*args).await,
        Some(Command::Detach(args)) => attach::run_detach(args).await,
        Some(Command::Relay(args)) => relay::run(*args, file).await,
        Some(Command::Doctor(args)) => doctor::run(args).await,
        Some(Command::Emit(args)) => emit::run(args).await,
        Some(Command::Tail(args)) => tail::run(args).await,
        Some(Command::Gen(args)) => gen_types::run(*args).await,
        Some(Command::Token(args)) => token::run(args).await,
        Some(Command::Why(args)) => why::run(args).await,
        Some(Command::Bench(args)) => Box::pin(bench::run(*args)).await,
        Some(Command::Verify(args)) => Box::pin(verify::run(*args)).await,
        #[cfg(feature = "sqlite")]
        Some(Command::Demo(args)) => Box::pin(demo::run(args)).await,
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "rowcast", &mut io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }
}
