//! `rowcast doctor`: says what is wrong with the database, and mends what can be mended.

use std::io::{IsTerminal as _, stderr};

use anstyle::{AnsiColor, Style};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::config::DatabaseArgs;
use crate::error::Error;
use crate::source::doctor::{Finding, Verdict, Wanted, examine};

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The exit code is 0 when all is well, or is now, and 1 when a problem remains. Without a flag nothing is written.

After a dump was restored into another cluster:
  rowcast doctor --repair --database-url postgres://user:password@host/database")]
pub(super) struct DoctorArgs {
    /// Mend what can be mended without a risk: rows of another cluster become history, sequences go on after the highest id.
    #[arg(long)]
    repair: bool,

    /// Have every client that comes back refetch its state: for after a backup was put in the place of the database. In
    /// Postgres it holds for servers that are started later.
    #[arg(long)]
    new_epoch: bool,

    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: DoctorArgs) -> Result<(), Error> {
    let config = args.database.config()?;
    let wanted = Wanted {
        repair: args.repair,
        new_epoch: args.new_epoch,
    };
    let progress = progress();
    let mut advance = |done, of| {
        progress.set_length(of);
        progress.set_position(done);
    };
    let findings = examine(&config, wanted, &mut advance).await;
    progress.finish_and_clear();
    let findings = findings?;
    anstream::println!("{}", config.url);
    for finding in &findings {
        print(finding);
    }
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    let problems = count(Verdict::Problem);
    if problems > 0 {
        return Err(Error::Unusable(format!(
            "{problems} problem{} in {} (see above)",
            if problems == 1 { "" } else { "s" },
            config.url
        )));
    }
    if count(Verdict::Repaired) > 0 {
        anstream::println!("all is well now");
    } else {
        anstream::println!("all is well");
    }
    Ok(())
}

fn print(finding: &Finding) {
    let (word, style): (_, Style) = match finding.verdict {
        Verdict::Fine => ("ok", AnsiColor::Green.on_default()),
        Verdict::Hint => ("hint", AnsiColor::Yellow.on_default()),
        Verdict::Problem => ("problem", AnsiColor::Red.on_default().bold()),
        Verdict::Repaired => ("repaired", AnsiColor::Cyan.on_default()),
    };
    anstream::println!("{style}{word:<9}{style:#} {}", finding.text);
    if let Some(advice) = &finding.advice {
        anstream::println!("{:<9} → {advice}", "");
    }
}

/// A bar, on a terminal; nothing elsewhere.
fn progress() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(
        "{bar:30} {human_pos} of {human_len} rows made history, {eta} to go",
    )
    .expect("the template is a constant");
    ProgressBar::new(0).with_style(style)
}
