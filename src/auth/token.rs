//! `Token`: the three parts of a signed token, taken apart strictly. Nothing of what they say is believed here.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// A token in compact form (RFC 7515, 7.1).
pub(super) struct Token<'a> {
    header: Header,
    message: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// What matters of the header (RFC 7515, 4.1). Members that name a key or where to fetch it (`jwk`, `jku`, `x5u`) are
/// not looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::invalid(
                "it does not have the three parts, with a dot between them, of a signed JWT",
            ));
        };
        let header: Header = serde_json::from_slice(&decode("header", header)?).map_err(|_| {
            Refusal::invalid("its header is not a JSON object with alg, each member once")
        })?;
        if header.crit.is_some() {
            return Err(Refusal::invalid(
                "its header has crit, which nothing here understands",
            ));
        }
        let message = &text[..text.len() - signature.len() - 1];
        Ok(Self {
            header,
            message,
            payload,
            signature: decode("signature", signature)?,
        })
    }

    /// The algorithm it says it is signed with: which of a key's own is tried, and nothing more.
    pub(super) fn algorithm(&self) -> Result<Algorithm, Refusal> {
        // `none` is no algorithm, however it is written.
        self.header.alg.parse().map_err(|_| {
            Refusal::invalid("its alg is none of those that are accepted")
                .with(format!("alg is {:?}", self.header.alg))
        })
    }

    /// The id of the key it says it is signed with.
    pub(super) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// What is signed.
    pub(super) fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// The signature.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What it claims. To be believed once the signature is found good.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        let json = decode("payload", self.payload)?;
        let claims: Claims = serde_json::from_slice(&json).map_err(|error| {
            Refusal::invalid("its payload is not a JSON object with each claim once")
                .with(error.to_string())
        })?;
        Ok(claims.0)
    }
}

fn decode(part: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Refusal::invalid(&format!("its {part} is not base64url without padding")))
}

/// The claims of a token. One that is there twice means two things to two readers, and is refused.
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if claims.contains_key(&name) {
                        return Err(A::Error::custom("a claim is there twice"));
                    }
                    claims.insert(name, value);
                }
                Ok(Claims(claims))
            }
        }

        deserializer.deserialize_map(Each)
    }
}
