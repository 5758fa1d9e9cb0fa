//! Laws of the command line, for fuzzing.

use clap::{CommandFactory as _, Parser as _};

use super::{Cli, Command, hide_passwords};
use crate::config::{Config, ServeArgs};

/// Stands for each secret. Long enough to be accepted as one.
const CANARY: &str = "canary-of-a-secret-that-is-long-enough";

/// Flags with a secret behind them.
const SECRETS: [&str; 2] = ["--jwt-secret", "--admin-token"];

/// Each line is an argument. What comes of them, or is wrong with them, is said without the secrets in them.
pub(crate) fn arguments(text: &str) {
    let mut arguments = vec!["rowcast".to_owned()];
    let mut secret = false;
    for line in text.split('\n').take(20) {
        let flag = SECRETS.iter().find(|flag| {
            line.strip_prefix(**flag)
                .is_some_and(|v| v.starts_with('='))
        });
        arguments.push(match flag {
            _ if secret => CANARY.to_owned(),
            Some(flag) => format!("{flag}={CANARY}"),
            None => line.to_owned(),
        });
        secret = !secret && SECRETS.contains(&line);
    }
    // A name that is the canary itself is no secret.
    if text.contains(CANARY) {
        return;
    }
    let shown = match Cli::try_parse_from(&arguments) {
        Ok(cli) => serve(cli),
        // Long, slow to write, and the same each time.
        Err(error) if !error.use_stderr() => return,
        Err(error) => hide_passwords(&error.render().to_string()),
    };
    assert!(!shown.contains(CANARY), "{arguments:?}: {shown}");
}

/// A configuration file with this text.
pub(crate) fn config_file(text: &str) {
    crate::config::fuzz::file(&Cli::command(), text);
}

/// What a server would be told.
fn serve(cli: Cli) -> String {
    let shown = format!("{cli:?}");
    let args = match cli.command {
        None => cli.serve,
        Some(Command::Serve(args)) => *args,
        Some(_) => return shown,
    };
    shown + &config(args)
}

fn config(mut args: ServeArgs) -> String {
    // The one file that is read while flags are.
    if let Some(path) = &mut args.admin.admin_token_file {
        *path = "/nonexistent/token".into();
    }
    match Config::try_from(args) {
        Ok(config) => format!("{config:?}"),
        Err(error) => error.to_string(),
    }
}
