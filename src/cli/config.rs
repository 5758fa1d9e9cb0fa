//! `rowcast config`: the configuration file: what holds, what there is to set, and what editors want to know.

use clap::{Args, Command, Subcommand};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::config::{Config, Sections, ServeArgs, Sources, default_file, schema};
use crate::error::Error;
use crate::http::EndpointSpec;
use crate::protocol::{PresetSpec, Presets};

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast config default > rowcast.toml                every key, commented out
  rowcast config print                                 what holds here, and why
  rowcast config print --poll-interval 2s              what would hold with this flag
  rowcast config preset topic-action                   a preset, to make one of one's own
  rowcast config schema > rowcast.schema.json          for editors")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum ConfigCommand {
    /// Print what `rowcast serve` would do with these flags, this environment and the file, as a file, and where each
    /// value comes from. Secrets are not shown.
    Print(Box<ServeArgs>),
    /// Print a file with every key, its meaning and its default, commented out.
    Default,
    /// Print a preset as it is written, to begin one of your own with; without a name, all there are.
    Preset {
        /// Which.
        name: Option<String>,
    },
    /// Print a JSON Schema of the file.
    Schema,
}

pub(super) fn run(args: ConfigArgs, root: &Command, sources: &Sources) -> Result<(), Error> {
    match args.command {
        ConfigCommand::Default => anstream::print!("{}", default_file(root, &sections())),
        ConfigCommand::Schema => anstream::println!("{:#}", schema(root, &sections())),
        ConfigCommand::Preset { name: None } => {
            for name in Presets::default().names() {
                let text = Presets::source(name).unwrap_or_default();
                let about = text
                    .lines()
                    .find_map(|line| line.strip_prefix("description = "));
                anstream::println!("{name:<13} {}", about.unwrap_or_default().trim_matches('"'));
            }
        }
        ConfigCommand::Preset { name: Some(name) } => {
            let Some(text) = Presets::source(&name) else {
                let presets = Presets::default();
                let all: Vec<_> = presets.names().collect();
                let text = format!("there is no preset {name:?}; there are {}", all.join(", "));
                return Err(Error::Config(text));
            };
            anstream::print!("{text}");
        }
        ConfigCommand::Print(mut args) => {
            anstream::print!("{}", sources.effective(root));
            // What contradicts itself is shown all the same, and told of.
            args.file.clone_from(&sources.file);
            Config::try_from(*args)?;
        }
    }
    Ok(())
}

/// What endpoints and presets are.
fn sections() -> Sections {
    Sections {
        endpoint: schema_of::<EndpointSpec>(),
        preset: schema_of::<PresetSpec>(),
        sample: SAMPLE,
    }
}

/// What the sample file has of them.
const SAMPLE: &str = "\
# Where clients of another protocol connect. `rowcast config preset` lists how they may speak.
# [[endpoint]]
# path = \"/api/v1/projects/{projectId}/ws\"
# preset = \"project-path\"
# channels = [\"project:{projectId}\"]
# grant = [\"team:{sub}\"]
# auth = \"jwt\"
# cookie = \"session\"

# A preset of your own; `rowcast config preset topic-action` prints a whole one.
# [preset.mine]
# client.subscribe = { match = { op = \"join\" }, channels = \"rooms\" }
# server.event = '{\"op\":\"{type}\",\"room\":\"{channel}\",\"data\":\"{payload}\"}'
";

/// The JSON Schema of a table, which stands within that of the file.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// Flags of `rowcast serve` that are no settings: they name the file, or ask for help.
    const NO_KEYS: [&str; 3] = ["config", "help", "version"];

    #[test]
    fn no_flag_is_forgotten() {
        let root = Cli::command();
        let mut built = Cli::command();
        built.build();
        let serve = built.find_subcommand("serve").expect("there is serve");
        let wanted: BTreeSet<_> = serve
            .get_arguments()
            .filter(|arg| !NO_KEYS.contains(&arg.get_id().as_str()))
            .map(|arg| {
                arg.get_long()
                    .expect("serve has flags only")
                    .replace('-', "_")
            })
            .collect();
        assert!(wanted.len() > 40, "{wanted:?}");

        let default = default_file(&root, &sections());
        let schema = schema(&root, &sections());
        let args = ["rowcast", "config", "print"].map(Into::into);
        let Ok(sources) = Sources::read(&root, &args, &["config"]) else {
            panic!("nothing is wrong with it");
        };
        let printed = sources.effective(&root);
        for key in wanted {
            let begins = |line: &str| {
                let line = line.trim_start_matches('#');
                line.strip_prefix(&key)
                    .is_some_and(|rest| rest.starts_with(' '))
            };
            assert!(default.lines().any(begins), "{key} is not in: {default}");
            assert!(printed.lines().any(begins), "{key} is not in: {printed}");
            assert!(schema["properties"][&key].is_object(), "{key}: {schema}");
        }
    }
}
