//! `AuthOptions`: whose tokens are accepted, what they must say, and what they grant.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::{Host, Url};

use super::GrantTemplate;

/// Longest token by default, in bytes. Tokens with the groups of a large organisation have about 4,000.
const TOKEN_BYTES_MAX: usize = 8192;

/// How far the clocks of those who sign may be off, by default.
const LEEWAY: Duration = Duration::from_secs(30);

/// What a client whose token names a user may always subscribe to: what is sent to that user.
const DEFAULT_GRANTS: [&str; 2] = ["inbox:{sub}", "user:{sub}"];

/// How tokens are checked, and what they grant.
#[derive(Debug, Clone)]
pub struct AuthOptions {
    /// The keys, of which there may be several: while one takes the place of another, tokens of both are accepted.
    pub keys: Vec<KeySource>,
    /// Where more keys are published.
    pub jwks_url: Option<JwksUrl>,
    /// Values of `aud`, one of which a token must have. With none, a token that is for somebody is refused.
    pub audiences: Vec<String>,
    /// Values of `iss`, one of which a token must have. With none, anybody with a key may have issued it.
    pub issuers: Vec<String>,
    /// The claim with the id of the user; with dots, one within another.
    pub user_claim: String,
    /// How far the clocks of those who sign may be off.
    pub leeway: Duration,
    /// Whether a token without `exp` is accepted. It is valid for ever.
    pub allow_no_exp: bool,
    /// Longest token, in bytes.
    pub token_bytes_max: usize,
    /// What every token grants, beside its own claim `channels`. `{sub}` is the user, whatever the claim is called.
    pub grants: Vec<GrantTemplate>,
    /// Files with more grants, one a line.
    pub grant_files: Vec<PathBuf>,
}

impl AuthOptions {
    /// `inbox:{sub}` and `user:{sub}`: what is sent to a user, that user may receive.
    ///
    /// # Panics
    /// Never: the two are constants.
    #[must_use]
    pub fn default_grants() -> Vec<GrantTemplate> {
        let parse = |text| GrantTemplate::parse(text).expect("a constant");
        DEFAULT_GRANTS.map(parse).into()
    }
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            jwks_url: None,
            audiences: Vec::new(),
            issuers: Vec::new(),
            user_claim: "sub".to_owned(),
            leeway: LEEWAY,
            allow_no_exp: false,
            token_bytes_max: TOKEN_BYTES_MAX,
            grants: Self::default_grants(),
            grant_files: Vec::new(),
        }
    }
}

/// Where a key is.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Here it is.
    Secret(Secret),
    /// A file with a secret. A line break at its end is not part of it.
    SecretFile(PathBuf),
    /// A PEM file with a public key.
    PublicKeyFile(PathBuf),
    /// A file with a JSON Web Key Set.
    JwksFile(PathBuf),
}

/// A secret that signs and verifies. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a key set is published: `https`, or `http` on this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl(Url);

impl JwksUrl {
    /// The URL as it is fetched.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it is on this machine, where no proxy helps.
    pub(super) fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }
}

impl FromStr for JwksUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| {
            format!("{error}; it looks like https://id.example.org/.well-known/jwks.json")
        })?;
        let url = Self(url);
        match url.0.scheme() {
            "https" if url.0.has_host() => Ok(url),
            "http" if url.is_loopback() => Ok(url),
            "http" => Err(
                "whoever can change what comes over http can sign tokens; use https, or fetch the keys yourself and \
                 give the file with --jwks-file"
                    .into(),
            ),
            _ => Err("keys are fetched over https".into()),
        }
    }
}

/// Without user, password and query, which may be secrets.
impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // They fail only where there is no host.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.fmt(f)
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwksUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for good in [
            "https://id.example.org/keys",
            "http://127.0.0.1:8080/keys",
            "http://[::1]/keys",
            "http://localhost/keys",
        ] {
            assert!(good.parse::<JwksUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "keys.json",
            "http://id.example.org/keys",
            "http://127.0.0.1.example.org/",
            "http://localhost.example.org/",
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
        ] {
            assert!(bad.parse::<JwksUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let url: JwksUrl = "https://ann:hunter2@id.example.org/keys?key=hunter2"
            .parse()
            .expect("valid");
        let options = AuthOptions {
            keys: vec![KeySource::Secret(Secret::from("hunter2"))],
            jwks_url: Some(url.clone()),
            ..AuthOptions::default()
        };
        for shown in [format!("{options:?}"), url.to_string()] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
