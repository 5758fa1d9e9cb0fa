//! The token of a client on the command line.

use std::path::PathBuf;

use clap::Args;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::error::Error;

/// Flags about who the client is.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct TokenArgs {
    /// Say who you are with this token. Everybody on this machine sees the command line in `ps`: prefer --token-file, or
    /// the environment.
    #[arg(long, value_name = "TOKEN", value_parser = token, env = "ROWCAST_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    token: Option<Token>,

    /// Say who you are with the token in this file. `rowcast token mint > FILE` makes one.
    #[arg(long, value_name = "FILE", env = "ROWCAST_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// A token, shown to nobody.
#[derive(Clone)]
pub(in crate::cli) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenArgs {
    /// The token, if there is one.
    pub(in crate::cli) fn token(&self) -> Result<Option<Token>, Error> {
        let Some(path) = &self.token_file else {
            return Ok(self.token.clone());
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Config(format!("--token-file {}: {error}", path.display())))?;
        let token = token(&text)
            .map_err(|error| Error::Config(format!("--token-file {}: {error}", path.display())))?;
        Ok(Some(token))
    }
}

fn token(text: &str) -> Result<Token, String> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("this is no token; one has three parts of letters, digits, - and _".into());
    }
    Ok(Token(text.to_owned()))
}

/// The handshake at this URL, with the token.
pub(super) fn request(
    url: &str,
    token: Option<&Token>,
) -> Result<Request, tokio_tungstenite::tungstenite::Error> {
    let mut request = url.into_client_request()?;
    if let Some(Token(token)) = token {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert("authorization", bearer);
    }
    Ok(request)
}
