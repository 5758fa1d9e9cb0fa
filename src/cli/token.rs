//! `rowcast token`: makes secrets and tokens for development, and says what a token grants or why it is refused.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::auth::{
    self, Authenticator, Finding, GrantTemplate, Grants, Identity, Secret, SigningKey,
};
use crate::config::{self, AuthArgs};
use crate::error::Error;
use crate::event::ChannelPattern;

/// Length of a new secret, in bytes, before it is written as text: as many as the digest of HS512, so that it does for
/// every algorithm.
const SECRET_BYTES: usize = 64;

/// Longest life of a minted token.
const LIFE_LONGEST: Duration = Duration::from_hours(24 * 3650);

/// Most bytes of standard input that are looked at for a token.
const INPUT_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast token secret > key                                  a secret for --jwt-secret-file
  rowcast token mint --jwt-secret-file key --user ann --channels tasks,messages:42
  rowcast token mint --jwt-secret-file key --user ann --channel project:7
                                                              permits ann to subscribe to project:7
  rowcast token inspect --jwt-secret-file key eyJhbGciOi…     what it grants, or why it is refused")]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Print a new secret.
    Secret,
    /// Print a new token. For development: in production the backend that knows the users signs.
    Mint(Box<MintArgs>),
    /// Say what a token grants, or why it is refused. Takes the flags that the server has.
    Inspect(Box<InspectArgs>),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast token mint --jwt-secret-file key --user ann --channels tasks,messages:42 --for 8h
  rowcast token mint --private-key-file ed25519.pem --user ann --claim aud=rowcast --claim 'teams=[\"x\",\"y\"]'
  rowcast token mint --jwt-secret-file key --user ann --channel project:7")]
struct MintArgs {
    /// Sign with this secret (HS256). Prefer --jwt-secret-file: a command line can be seen in `ps`.
    #[arg(long, value_name = "SECRET", value_parser = config::secret, env = "ROWCAST_JWT_SECRET", hide_env_values = true)]
    jwt_secret: Option<Secret>,

    /// Sign with the secret in this file (HS256).
    #[arg(long, value_name = "FILE", env = "ROWCAST_JWT_SECRET_FILE")]
    jwt_secret_file: Option<PathBuf>,

    /// Sign with this private key: a PEM file with an RSA (RS256), P-256 (ES256), P-384 (ES384) or Ed25519 (EdDSA) key.
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<PathBuf>,

    /// Name the key in the token (`kid`), as a key set names it.
    #[arg(long, value_name = "ID")]
    kid: Option<String>,

    /// Who the token is for (`sub`).
    #[arg(long, value_name = "ID")]
    user: Option<String>,

    /// Patterns the token may subscribe to, separated by commas.
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', value_parser = GrantTemplate::parse)]
    channels: Vec<GrantTemplate>,

    /// Patterns the token may publish to, separated by commas.
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', value_parser = GrantTemplate::parse)]
    publish: Vec<GrantTemplate>,

    /// Make a token that permits a connected user to subscribe to this pattern.
    #[arg(long, value_name = "PATTERN", value_parser = ChannelPattern::parse, conflicts_with_all = ["channels", "publish"])]
    channel: Option<ChannelPattern>,

    /// How long it is valid.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = life)]
    life: Duration,

    /// A claim more: NAME=JSON, or NAME=TEXT. Can be repeated, and replaces what would be there.
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, Value)>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  rowcast token inspect --jwt-secret-file key eyJhbGciOi…
  pbpaste | rowcast token inspect --jwks-url https://id.example.org/keys --jwt-audience rowcast -")]
struct InspectArgs {
    /// The token, or - to read it from standard input.
    #[arg(value_name = "TOKEN", default_value = "-", hide_default_value = true)]
    token: String,

    #[command(flatten)]
    auth: AuthArgs,
}

pub(super) async fn run(args: TokenArgs) -> Result<(), Error> {
    match args.command {
        Command::Secret => secret(),
        Command::Mint(args) => mint(&args),
        Command::Inspect(args) => inspect(*args).await,
    }
}

fn secret() -> Result<(), Error> {
    anstream::println!("{}", new_secret()?);
    Ok(())
}

/// A secret that nobody knows.
pub(super) fn new_secret() -> Result<String, Error> {
    let mut bytes = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Io {
        doing: "make a secret".into(),
        source: std::io::Error::other("the system gives no random numbers"),
    })?;
    Ok(STANDARD.encode(bytes))
}

fn mint(args: &MintArgs) -> Result<(), Error> {
    let mut claims = Map::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    if let Some(user) = &args.user {
        claims.insert("sub".into(), user.as_str().into());
    }
    claims.insert("iat".into(), now.into());
    claims.insert("exp".into(), (now + args.life.as_secs()).into());
    if let Some(channel) = &args.channel {
        claims.insert("channel".into(), channel.as_str().into());
    }
    for (name, patterns) in [("channels", &args.channels), ("publish", &args.publish)] {
        if !patterns.is_empty() {
            let texts = patterns.iter().map(GrantTemplate::as_str);
            claims.insert(name.into(), texts.map(Value::from).collect());
        }
    }
    claims.extend(args.claim.iter().cloned());
    let failed = |error| Error::Config(format!("{}: {error}", args.flag()));
    let token = args
        .signing_key()?
        .sign(args.kid.clone(), &claims)
        .map_err(failed)?;
    anstream::println!("{token}");
    Ok(())
}

impl MintArgs {
    fn flag(&self) -> &'static str {
        if self.private_key_file.is_some() {
            "--private-key-file"
        } else if self.jwt_secret_file.is_some() {
            "--jwt-secret-file"
        } else {
            "--jwt-secret"
        }
    }

    fn signing_key(&self) -> Result<SigningKey, Error> {
        let key = if let Some(path) = &self.private_key_file {
            SigningKey::from_pem(&auth::read(self.flag(), path)?)
        } else if let Some(path) = &self.jwt_secret_file {
            SigningKey::from_secret(&auth::secret(path)?)
        } else if let Some(secret) = &self.jwt_secret {
            SigningKey::from_secret(secret)
        } else {
            return Err(Error::Config(
                "no key to sign with; give --jwt-secret-file or --private-key-file".into(),
            ));
        };
        key.map_err(|error| Error::Config(format!("{}: {error}", self.flag())))
    }
}

async fn inspect(args: InspectArgs) -> Result<(), Error> {
    let Some(options) = args.auth.authenticator_options()? else {
        return Err(Error::Config(
            "no key to check the token with; give the flags of the server, for example --jwt-secret-file".into(),
        ));
    };
    let token = if args.token == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(INPUT_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|source| Error::Io {
                doing: "read the token from standard input".into(),
                source,
            })?;
        text
    } else {
        args.token
    };
    let token = token.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let authenticator = Authenticator::start(options).await?;
    for (index, name) in ["header", "claims"].into_iter().enumerate() {
        if let Some(json) = part(token, index) {
            anstream::println!("{name}: {json:#}");
        }
    }
    match authenticator.inspect(token).await {
        Ok(Finding::Connection(identity)) => print_identity(&identity),
        Ok(Finding::Subscription(user, permit)) => {
            anstream::println!("accepted: permits one subscription");
            print_user(user.as_deref());
            print_end(permit.expires_at);
            anstream::println!("subscribe: {}", permit.pattern.as_str());
        }
        Err(refusal) => {
            let why = refusal.to_string();
            let why = why.strip_prefix("the token is not accepted: ");
            return Err(Error::Refused(
                why.map_or_else(|| refusal.to_string(), ToOwned::to_owned),
            ));
        }
    }
    Ok(())
}

/// A part of a token as JSON, if it is that. Not the third one, which is the signature.
fn part(token: &str, index: usize) -> Option<Value> {
    let text = token.split('.').nth(index)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

fn print_identity(identity: &Identity) {
    anstream::println!("accepted: connects");
    print_user(identity.user.as_deref());
    if let Some(id) = &identity.token_id {
        anstream::println!("token id: {id:?}");
    }
    print_end(identity.expires_at);
    print_grants("subscribe", &identity.grants);
    print_grants("publish", &identity.publish);
    if let Some(user) = &identity.user
        && !auth::is_part(user)
    {
        anstream::println!(
            "note: grants with {{sub}}, such as inbox:{{sub}}, give this user nothing: the id is not one part of a channel \
             name (A-Z a-z 0-9 _ . @ / -)"
        );
    }
}

fn print_user(user: Option<&str>) {
    match user {
        Some(user) => anstream::println!("user: {user:?}"),
        None => anstream::println!("user: none"),
    }
}

fn print_end(expires_at: Option<u64>) {
    match expires_at {
        Some(at) => {
            let time = UNIX_EPOCH + Duration::from_secs(at);
            anstream::println!("until: {}", humantime::format_rfc3339_seconds(time));
        }
        None => anstream::println!("until: for ever"),
    }
}

fn print_grants(name: &str, grants: &Grants) {
    let patterns = grants.patterns().iter().map(ChannelPattern::as_str);
    let patterns: Vec<_> = patterns.collect();
    if patterns.is_empty() {
        anstream::println!("{name}: nothing");
    } else {
        anstream::println!("{name}: {}", patterns.join(" "));
    }
}

fn life(text: &str) -> Result<Duration, String> {
    let duration = config::duration(text, "8h")?;
    if duration > LIFE_LONGEST {
        return Err("a token is valid for 10 years at most".into());
    }
    Ok(duration)
}

fn claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((name.to_owned(), value))
        }
        _ => Err("write NAME=VALUE, for example aud=rowcast".into()),
    }
}
