//! Flags about tokens: whose are accepted, and what they grant.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration::leeway;
use crate::auth::{AuthOptions, GrantTemplate, JwksUrl, KeySource, Secret};
use crate::error::Error;

/// Flags about who may connect. Lists are separated by commas in the environment.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Who may connect")]
pub struct AuthArgs {
    /// Accept tokens signed with this secret (HS256, HS384, HS512). Everybody on this machine sees the command line in
    /// `ps`: prefer --jwt-secret-file, or the environment.
    #[arg(long, value_name = "SECRET", value_parser = secret, env = "ROWCAST_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<Secret>,

    /// Accept tokens signed with the secret in this file. `rowcast token secret > FILE` makes one. Can be repeated.
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        env = "ROWCAST_JWT_SECRET_FILE"
    )]
    pub jwt_secret_file: Vec<PathBuf>,

    /// Accept tokens whose signature this public key verifies: a PEM file with an RSA (RS256, PS256…), P-256 (ES256),
    /// P-384 (ES384) or Ed25519 (EdDSA) key. Can be repeated.
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        env = "ROWCAST_JWT_PUBLIC_KEY_FILE"
    )]
    pub jwt_public_key_file: Vec<PathBuf>,

    /// Accept tokens of the keys in this JSON Web Key Set. Can be repeated.
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        env = "ROWCAST_JWKS_FILE"
    )]
    pub jwks_file: Vec<PathBuf>,

    /// Accept tokens of the keys published there. Fetched at start, every 10 minutes, and when a token names a key that
    /// is not known; while it cannot be fetched, the last set stays good.
    #[arg(
        long,
        value_name = "URL",
        env = "ROWCAST_JWKS_URL",
        hide_env_values = true
    )]
    pub jwks_url: Option<JwksUrl>,

    /// Accept only tokens for this audience (`aud`). Needed when tokens have an audience. Can be repeated.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        env = "ROWCAST_JWT_AUDIENCE"
    )]
    pub jwt_audience: Vec<String>,

    /// Accept only tokens of this issuer (`iss`). Can be repeated.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        env = "ROWCAST_JWT_ISSUER"
    )]
    pub jwt_issuer: Vec<String>,

    /// The claim with the id of the user; dots lead into objects, as in profile.id.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "sub",
        env = "ROWCAST_JWT_USER_CLAIM"
    )]
    pub jwt_user_claim: String,

    /// How far the clocks of those who sign may be off.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = leeway, env = "ROWCAST_JWT_LEEWAY")]
    pub jwt_leeway: Duration,

    /// Accept tokens without `exp`. They are valid until the key is gone.
    #[arg(long, env = "ROWCAST_JWT_ALLOW_NO_EXP")]
    pub jwt_allow_no_exp: bool,

    /// Let every token subscribe to this pattern, beside what its claim `channels` says: tasks, or with claims in
    /// braces, team:{team}. {sub} is the user. Can be repeated.
    #[arg(
        long,
        value_name = "PATTERN",
        value_delimiter = ',',
        value_parser = GrantTemplate::parse,
        env = "ROWCAST_GRANT"
    )]
    pub grant: Vec<GrantTemplate>,

    /// More such patterns: a file with one on each line. # begins a comment. Can be repeated.
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        env = "ROWCAST_GRANT_FILE"
    )]
    pub grant_file: Vec<PathBuf>,

    /// Do not let users subscribe to inbox:{sub} and user:{sub} unless their token says so.
    #[arg(long, env = "ROWCAST_NO_DEFAULT_GRANTS")]
    pub no_default_grants: bool,

    /// Longest token that is looked at.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 8192,
        value_parser = clap::value_parser!(u32).range(256..=65_536),
        env = "ROWCAST_MAX_TOKEN_BYTES",
        help_heading = "Limits"
    )]
    pub max_token_bytes: u32,
}

impl AuthArgs {
    /// How tokens are to be checked; None where no key is given, and nobody is asked.
    ///
    /// # Errors
    /// [`Error::Config`] when there are rules for tokens, but no key.
    pub fn authenticator_options(&self) -> Result<Option<AuthOptions>, Error> {
        let mut keys: Vec<_> = self
            .jwt_secret
            .clone()
            .map(KeySource::Secret)
            .into_iter()
            .collect();
        let files = |paths: &[PathBuf], source: fn(PathBuf) -> KeySource| {
            paths.iter().cloned().map(source).collect::<Vec<_>>()
        };
        keys.extend(files(&self.jwt_secret_file, KeySource::SecretFile));
        keys.extend(files(&self.jwt_public_key_file, KeySource::PublicKeyFile));
        keys.extend(files(&self.jwks_file, KeySource::JwksFile));
        if keys.is_empty() && self.jwks_url.is_none() {
            return match self.rule() {
                Some(flag) => Err(Error::Config(format!(
                    "{flag} is about tokens, and without a key none is asked for; add the key, for example with \
                     --jwt-secret-file, or leave {flag} out"
                ))),
                None => Ok(None),
            };
        }
        if self.jwt_user_claim.is_empty() {
            return Err(Error::Config(
                "--jwt-user-claim is empty; leave it out for sub".into(),
            ));
        }
        let mut grants = if self.no_default_grants {
            Vec::new()
        } else {
            AuthOptions::default_grants()
        };
        grants.extend(self.grant.iter().cloned());
        Ok(Some(AuthOptions {
            keys,
            jwks_url: self.jwks_url.clone(),
            audiences: self.jwt_audience.clone(),
            issuers: self.jwt_issuer.clone(),
            user_claim: self.jwt_user_claim.clone(),
            leeway: self.jwt_leeway,
            allow_no_exp: self.jwt_allow_no_exp,
            token_bytes_max: self.max_token_bytes as usize,
            grants,
            grant_files: self.grant_file.clone(),
        }))
    }

    /// A flag that means something only where tokens are asked for.
    fn rule(&self) -> Option<&'static str> {
        let rules = [
            (!self.jwt_audience.is_empty(), "--jwt-audience"),
            (!self.jwt_issuer.is_empty(), "--jwt-issuer"),
            (self.jwt_allow_no_exp, "--jwt-allow-no-exp"),
            (!self.grant.is_empty(), "--grant"),
            (!self.grant_file.is_empty(), "--grant-file"),
            (self.no_default_grants, "--no-default-grants"),
        ];
        let found = rules.into_iter().find(|(given, _)| *given);
        found.map(|(_, flag)| flag)
    }
}

/// Whether it is long enough is looked at later: clap would repeat it in the error.
#[expect(clippy::unnecessary_wraps, reason = "what clap wants")]
pub(crate) fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::from(text))
}
