//! Extensions that a client offers in its handshake (RFC 6455, section 9.1), and what we make of them: permessage-deflate
//! without context takeover (RFC 7692), or none.

use std::borrow::Cow;
use std::fmt::Write as _;

use warp::http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use crate::protocol::WINDOW_BITS;

const NAME: &str = "permessage-deflate";

/// Windows there are, as powers of two (section 7.1.2).
const WINDOW_BITS_MIN: u8 = 8;
const WINDOW_BITS_MAX: u8 = 15;

/// The header is no list of extensions, which ends a handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

const WINDOW: &str = "server_max_window_bits";

/// The parameters of an offer that we take, each of which is there once.
type Offer<'a> = Vec<&'a str>;

/// The answer to what is offered: the first offer that can be taken. None: nothing is compressed.
///
/// # Errors
/// When the header is no list of extensions.
pub(super) fn accept(headers: &HeaderMap) -> Result<Option<HeaderValue>, Malformed> {
    let mut taken = None;
    for header in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut rest = Rest(header.to_str().map_err(|_| Malformed)?);
        while rest.has_more() {
            let offer = rest.extension()?;
            taken = taken.or(offer);
        }
    }
    Ok(taken.map(|offer: Offer<'_>| {
        // Neither side keeps anything from message to message: an event is compressed once for all, and costs no memory.
        let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
        // Whoever limits it is told how far back we refer.
        if offer.contains(&WINDOW) {
            let _ = write!(answer, "; server_max_window_bits={WINDOW_BITS}");
        }
        HeaderValue::try_from(answer).expect("it has names and numbers only")
    }))
}

/// Whether it is a parameter of permessage-deflate that we can keep to.
fn fits(name: &str, value: Option<&str>) -> bool {
    let bits = value.map(window_bits);
    match name {
        "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
        WINDOW => bits.flatten().is_some_and(|bits| bits >= WINDOW_BITS),
        // What we inflate may refer as far back as it likes.
        "client_max_window_bits" => bits != Some(None),
        _ => false,
    }
}

/// A number without a zero before it.
fn window_bits(text: &str) -> Option<u8> {
    let bits = text
        .parse()
        .ok()
        .filter(|_| !text.starts_with(['0', '+']))?;
    (WINDOW_BITS_MIN..=WINDOW_BITS_MAX)
        .contains(&bits)
        .then_some(bits)
}

/// What is left of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Whether there is another extension. A list may have nothing between two commas (RFC 7230, section 7).
    fn has_more(&mut self) -> bool {
        while self.skip(',') {}
        !self.0.is_empty()
    }

    /// The next extension, if it is an offer that we take.
    fn extension(&mut self) -> Result<Option<Offer<'a>>, Malformed> {
        let mut is_taken = self.token()? == NAME;
        let mut parameters = Vec::new();
        while self.skip(';') {
            let name = self.token()?;
            let value = if self.skip('=') {
                Some(self.value()?)
            } else {
                None
            };
            is_taken = is_taken && fits(name, value.as_deref()) && !parameters.contains(&name);
            if is_taken {
                parameters.push(name);
            }
        }
        if !self.skip(',') && !self.0.is_empty() {
            return Err(Malformed);
        }
        Ok(is_taken.then_some(parameters))
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Goes on behind a sign, and the spaces around it, if it is the next.
    fn skip(&mut self, sign: char) -> bool {
        self.spaces();
        let Some(rest) = self.0.strip_prefix(sign) else {
            return false;
        };
        self.0 = rest;
        self.spaces();
        true
    }

    fn token(&mut self) -> Result<&'a str, Malformed> {
        let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() {
            Err(Malformed)
        } else {
            Ok(token)
        }
    }

    /// A token, which may be in quotes.
    fn value(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return self.token().map(Cow::Borrowed);
        };
        let mut value = String::new();
        let mut letters = quoted.chars();
        loop {
            match letters.next() {
                Some('"') => break,
                Some('\\') => value.extend(letters.next()),
                Some(letter) => value.push(letter),
                None => return Err(Malformed),
            }
        }
        self.0 = letters.as_str();
        if value.is_empty() || !value.chars().all(is_token) {
            return Err(Malformed);
        }
        Ok(Cow::Owned(value))
    }
}

/// RFC 7230, section 3.2.6.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    const WITH_WINDOW: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                               server_max_window_bits=12";

    fn answer(offers: &[&str]) -> Result<Option<String>, Malformed> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            let offer = HeaderValue::from_bytes(offer.as_bytes()).expect("a header");
            headers.append(SEC_WEBSOCKET_EXTENSIONS, offer);
        }
        let answer = accept(&headers)?;
        Ok(answer.map(|answer| answer.to_str().expect("text").to_owned()))
    }

    #[test]
    fn offers_are_taken_that_can_be_met() {
        let taken = [
            // RFC 7692, sections 5.1, 7.1 and 7.2.3.
            ("permessage-deflate", TAKEN),
            ("permessage-deflate; client_max_window_bits", TAKEN),
            ("permessage-deflate; client_max_window_bits=10", TAKEN),
            (
                "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; \
                 client_max_window_bits",
                TAKEN,
            ),
            ("permessage-deflate; server_no_context_takeover", TAKEN),
            ("permessage-deflate; client_no_context_takeover", TAKEN),
            ("permessage-deflate; server_max_window_bits=15", WITH_WINDOW),
            ("permessage-deflate; server_max_window_bits=12", WITH_WINDOW),
            // Chromium, Firefox and Safari, and the library `websockets` of Python.
            ("permessage-deflate; client_max_window_bits", TAKEN),
            (
                "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
                WITH_WINDOW,
            ),
            // Written otherwise.
            (
                "permessage-deflate;server_max_window_bits=\"1\\5\"",
                WITH_WINDOW,
            ),
            (
                " , ,permessage-deflate\t;\tclient_max_window_bits = 8,",
                TAKEN,
            ),
            ("x-webkit-deflate-frame, permessage-deflate", TAKEN),
            ("foo; bar=\"b,a;z\"", ""),
            ("permessage-foo; x=\"a\", permessage-deflate", TAKEN),
        ];
        for (offer, expected) in taken {
            let expected = if offer.starts_with("foo") {
                // What is in quotes has to be a token as well.
                Err(Malformed)
            } else {
                Ok(Some(expected.to_owned()))
            };
            assert_eq!(answer(&[offer]), expected, "{offer}");
        }
        let lines = [
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits=9",
            "permessage-deflate",
        ];
        assert_eq!(answer(&lines), Ok(Some(TAKEN.to_owned())));
    }

    #[test]
    fn offers_that_cannot_be_met_are_passed_over() {
        let declined = [
            "",
            " , ",
            "permessage-bzip2",
            "Permessage-Deflate",
            "permessage-deflate; server_max_window_bits=11",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=015",
            "permessage-deflate; server_max_window_bits=+15",
            "permessage-deflate; server_max_window_bits=1e1",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=99999999999999999999",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=12; server_max_window_bits=15",
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
        ];
        for offer in declined {
            assert_eq!(answer(&[offer]), Ok(None), "{offer}");
        }
        assert_eq!(answer(&[]), Ok(None));
        assert_eq!(answer(&declined), Ok(None));
    }

    #[test]
    fn what_is_no_list_of_extensions_is_refused() {
        let malformed = [
            ";",
            "permessage-deflate;",
            "permessage-deflate;;client_max_window_bits",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=\"10\\",
            "permessage-deflate; =10",
            "permessage-deflate; client_max_window_bits=1=0",
            "permessage/deflate",
            "\"permessage-deflate\"",
            "permessage-d\u{e9}flate",
        ];
        for header in malformed {
            assert_eq!(answer(&[header]), Err(Malformed), "{header}");
            assert_eq!(
                answer(&["permessage-deflate", header]),
                Err(Malformed),
                "{header}"
            );
        }
    }
}
