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
struct Header {
    alg: String,
    kid: Option<String>,
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
        let header = Header::parse(&decode("header", header)?)?;
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
        let claims: Members = serde_json::from_slice(&json).map_err(|error| {
            Refusal::invalid("its payload is not a JSON object with each claim once")
                .with(error.to_string())
        })?;
        Ok(claims.0)
    }
}

impl Header {
    /// Reads all of it, so that what is not looked at is JSON as well, and in UTF-8.
    fn parse(json: &[u8]) -> Result<Self, Refusal> {
        let wrong =
            || Refusal::invalid("its header is not a JSON object with alg, each member once");
        let Members(mut members) = serde_json::from_slice(json).map_err(|_| wrong())?;
        if members.contains_key("crit") {
            return Err(Refusal::invalid(
                "its header has crit, which nothing here understands",
            ));
        }
        let Some(Value::String(alg)) = members.remove("alg") else {
            return Err(wrong());
        };
        let kid = match members.remove("kid") {
            Some(Value::String(kid)) => Some(kid),
            None | Some(Value::Null) => None,
            Some(_) => return Err(wrong()),
        };
        Ok(Self { alg, kid })
    }
}

fn decode(part: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Refusal::invalid(&format!("its {part} is not base64url without padding")))
}

/// The members of a header or a payload. One that is there twice means two things to two readers, and is refused.
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members, A::Error> {
                let mut found = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if found.contains_key(&name) {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                    found.insert(name, value);
                }
                Ok(Members(found))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_whole() {
        let parse = |header: &[u8]| {
            let text = format!("{}.e30.", URL_SAFE_NO_PAD.encode(header));
            Token::parse(&text).map(|token| token.kid().map(ToOwned::to_owned))
        };
        assert_eq!(parse(br#"{"alg":"HS256"}"#), Ok(None));
        assert_eq!(parse(br#"{"alg":"HS256","kid":null,"x":[1]}"#), Ok(None));
        assert_eq!(parse(br#"{"alg":"x","kid":"a"}"#), Ok(Some("a".to_owned())));
        for bad in [
            &b"{\"alg\":\"HS256\",\"t\":\"\xd9\"}"[..],
            br#"{"alg":"HS256","t":"\ud800"}"#,
            br#"{"alg":"HS256","t":1e999}"#,
            br#"{"alg":"HS256","t":1,"t":2}"#,
            br#"{"alg":"HS256","kid":1}"#,
            br#"{"alg":"HS256","crit":null}"#,
            br#"{"alg":"HS256","crit":["b64"]}"#,
            br#"{"alg":null}"#,
            br#"{"kid":"a"}"#,
            br#"["HS256"]"#,
            b"",
        ] {
            let refusal = parse(bad).expect_err(&String::from_utf8_lossy(bad));
            assert!(refusal.to_string().contains("header"), "{refusal}");
        }
    }
}
