//! Logs: pretty on a terminal, JSON lines elsewhere, always on standard error.

use std::io::{IsTerminal as _, stderr};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Flags about logs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct LogArgs {
    /// How much to log: error, warn, info, debug, trace, or a filter such as rowcast=debug.
    #[arg(long, value_name = "FILTER", default_value = "warn,rowcast=info", env = "ROWCAST_LOG", global = true, value_parser = filter)]
    log: String,

    /// How to write logs. [default: pretty on a terminal, json elsewhere]
    #[arg(long, value_enum, env = "ROWCAST_LOG_FORMAT", global = true)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Pretty,
    Json,
}

/// Starts logging. Called once. Of what dependencies say by way of the crate `log`, warnings and errors are written,
/// whatever the filter is.
pub(super) fn start(args: &LogArgs) {
    let format = args.log_format.unwrap_or(if stderr().is_terminal() {
        LogFormat::Pretty
    } else {
        LogFormat::Json
    });
    let subscriber = tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_target(false)
        // The filter was parsed once already, as a flag.
        .with_env_filter(EnvFilter::new(&args.log));
    // The routes of warp write the paths of requests at that level, with whatever stands in them.
    let quiet = filter_fn(|event| {
        *event.level() <= tracing::Level::INFO || !event.target().starts_with("warp")
    });
    match format {
        LogFormat::Pretty => subscriber
            .compact()
            .with_ansi(stderr().is_terminal())
            .finish()
            .with(quiet)
            .init(),
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .finish()
            .with(quiet)
            .init(),
    }
    // Below that the codec of WebSockets writes every frame of a client, and with it tokens.
    log::set_max_level(log::LevelFilter::Warn);
}

fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; write error, warn, info, debug, trace, or a filter such as rowcast=debug"
        )),
    }
}
