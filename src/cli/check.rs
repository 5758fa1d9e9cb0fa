//! `rowcast check`: whether everything is there that `rowcast serve` would need with the same flags. Changes nothing.

use std::net::TcpListener;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::serve::raise_open_files_limit;
use crate::auth::Authenticator;
use crate::config::{Config, ConfigFile, ServeArgs};
use crate::error::Error;
use crate::http::{NetworkOptions, check_tls, connections_of_open_files, read_origins};
use crate::source::doctor::{Verdict, Wanted, absent_file, examine};
use crate::source::{DatabaseConfig, Migrate, StreamConfig, end_of_stream};

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
The exit code is 0 when `rowcast serve` would start, 1 when it would not, and 64 when a flag is wrong.

For systemd: ExecStartPre=rowcast check")]
pub(super) struct CheckArgs {
    /// Do not look whether the port is free: for when the server runs.
    #[arg(long)]
    running: bool,

    #[command(flatten)]
    serve: ServeArgs,
}

pub(super) async fn run(mut args: CheckArgs, file: Option<Arc<ConfigFile>>) -> Result<(), Error> {
    if let Some(file) = &file {
        Report::ok(format!("{} was read", file.path().display()));
    }
    args.serve.file = file;
    let config = Config::try_from(args.serve)?;
    raise_open_files_limit();
    let mut report = Report::default();
    files(&config.network, &mut report);
    keys(&config, &mut report).await;
    limits(&config.network, &mut report);
    if args.running {
        Report::ok(format!("{} was not looked at", config.listen));
    } else {
        port(&config, &mut report);
    }
    if let Some(stream) = &config.stream {
        self::stream(stream, config.database.is_some(), &mut report).await;
    }
    if let Some(database) = &config.database {
        self::database(database, config.migrate, &mut report).await;
    }
    match report.problems {
        0 => Ok(()),
        1 => Err(Error::Unready("1 problem".into())),
        problems => Err(Error::Unready(format!("{problems} problems"))),
    }
}

/// What was found goes out line by line.
#[derive(Default)]
struct Report {
    problems: usize,
}

impl Report {
    fn ok(text: impl AsRef<str>) {
        line("ok", AnsiColor::Green.on_default(), text.as_ref(), None);
    }

    fn hint(text: &str, advice: Option<&str>) {
        line("hint", AnsiColor::Yellow.on_default(), text, advice);
    }

    fn problem(&mut self, text: impl AsRef<str>, advice: Option<&str>) {
        self.problems += 1;
        let style = AnsiColor::Red.on_default().bold();
        line("problem", style, text.as_ref(), advice);
    }
}

fn line(word: &str, style: Style, text: &str, advice: Option<&str>) {
    let advice = advice.map_or(String::new(), |advice| format!(" → {advice}"));
    anstream::println!("{style}{word:<9}{style:#} {text}{advice}");
}

fn files(network: &NetworkOptions, report: &mut Report) {
    if let Some(tls) = &network.tls {
        match check_tls(tls) {
            Ok(()) => Report::ok(format!(
                "the certificate {} and its key {} match",
                tls.cert.display(),
                tls.key.display()
            )),
            Err(error) => report.problem(error.to_string(), None),
        }
    }
    if let Some(path) = &network.origins_file {
        match read_origins(path) {
            Ok(origins) => Report::ok(format!("{} has {} origins", path.display(), origins.len())),
            Err(error) => report.problem(error.to_string(), None),
        }
    }
}

async fn keys(config: &Config, report: &mut Report) {
    let Some(options) = &config.auth else {
        let everybody = if config.network.public {
            "everybody who reaches it"
        } else {
            "everybody on this machine"
        };
        let text = format!("no key: {everybody} may read every channel");
        return Report::hint(
            &text,
            Some("--jwt-secret-file, --jwt-public-key-file or --jwks-url"),
        );
    };
    match Authenticator::start(options.clone()).await {
        Ok(_) => Report::ok("the keys of tokens, and the grants, are good"),
        Err(error) => report.problem(error.to_string(), None),
    }
}

fn limits(network: &NetworkOptions, report: &mut Report) {
    let possible = connections_of_open_files();
    match network.connections_max {
        None | Some(0) => Report::ok(format!(
            "the limit of open files has room for {possible} connections"
        )),
        Some(wanted) if possible != 0 && wanted > possible => report.problem(
            format!("--max-connections {wanted}, and the limit of open files has room for {possible}"),
            Some("raise it (LimitNOFILE= of systemd, ulimit -Hn elsewhere), or allow fewer connections"),
        ),
        Some(wanted) => Report::ok(format!(
            "--max-connections {wanted}, and the limit of open files has room for {possible}"
        )),
    }
}

fn port(config: &Config, report: &mut Report) {
    let address = config.listen;
    match TcpListener::bind(address) {
        Ok(_) => Report::ok(format!("{address} is free")),
        Err(source) => report.problem(Error::Bind { address, source }.to_string(), None),
    }
}

async fn stream(stream: &StreamConfig, has_table: bool, report: &mut Report) {
    let name = format!("the stream {:?} at {}", stream.name, stream.url);
    let advice = "`rowcast relay` writes it";
    match end_of_stream(stream).await {
        Ok(Some(cursor)) => Report::ok(format!("{name} is there, to the position {cursor}")),
        Ok(None) if has_table => Report::hint(&format!("{name} is not there yet"), Some(advice)),
        Ok(None) => report.problem(format!("{name} is not there"), Some(advice)),
        Err(error) if has_table => Report::hint(
            &format!("cannot {error}"),
            Some("the server would begin with the table"),
        ),
        Err(error) => report.problem(format!("cannot {error}"), None),
    }
}

async fn database(database: &DatabaseConfig, migrate: Migrate, report: &mut Report) {
    let url = &database.url;
    let migrates = migrate == Migrate::Auto;
    if let Some(path) = absent_file(database) {
        let shown = path.display();
        if migrates {
            Report::ok(format!("{shown} is not there yet, and is created at start"));
        } else {
            let advice = "`rowcast migrate` creates it; or start with --migrate auto";
            report.problem(format!("there is no {shown}"), Some(advice));
        }
        return;
    }
    let wanted = Wanted {
        repair: false,
        new_epoch: false,
    };
    let findings = match examine(database, wanted, &mut |_, _| {}).await {
        Ok(findings) => findings,
        Err(error) => return report.problem(format!("cannot {error}"), None),
    };
    let mut migrating = false;
    for finding in findings {
        let text = format!("{url}: {}", finding.text);
        let advice = finding.advice.as_deref();
        migrating |= migrates && finding.mended_at_start;
        match finding.verdict {
            Verdict::Fine | Verdict::Repaired => Report::ok(text),
            Verdict::Hint => Report::hint(&text, advice),
            // What is missing beside a migration is missing for want of it.
            Verdict::Problem if migrating => Report::hint(&text, Some("done at start")),
            Verdict::Problem => report.problem(text, advice),
        }
    }
}
