//! The files of the page, as they are in the program, and what browsers are told about them.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use warp::http::StatusCode;
use warp::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH,
};
use warp::reply::{Reply as _, Response};

use super::harden;

/// What the page may do: run its own script, and speak to its own server. `'self'` is the server's WebSocket too.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// Bytes of a digest that tell two builds of a file apart.
const TAG_BYTES: usize = 16;

/// All files of the page.
pub(super) struct Files {
    page: File,
    /// By their names below `/console/`.
    others: [(&'static str, File); 3],
}

/// A file in the program.
pub(super) struct File {
    content_type: &'static str,
    bytes: &'static [u8],
    tag: HeaderValue,
}

impl Files {
    pub fn new() -> Self {
        macro_rules! file {
            ($path:literal, $content_type:literal) => {
                File::new(
                    $content_type,
                    include_bytes!(concat!("../../../clients/console/dist/", $path)),
                )
            };
        }
        Self {
            page: file!("index.html", "text/html; charset=utf-8"),
            others: [
                (
                    "console.js",
                    file!("console/console.js", "text/javascript; charset=utf-8"),
                ),
                (
                    "console.css",
                    file!("console/console.css", "text/css; charset=utf-8"),
                ),
                ("icon.svg", file!("console/icon.svg", "image/svg+xml")),
            ],
        }
    }

    /// The file of this name.
    pub fn find(&self, name: &str) -> Option<&File> {
        let mut all = self.others.iter();
        all.find_map(|(own, file)| (*own == name).then_some(file))
    }

    /// The page, as an answer to a request with these headers.
    pub fn page(&self, asked: &HeaderMap) -> Response {
        const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
        let mut response = self.page.respond(asked);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
        response
    }
}

impl File {
    fn new(content_type: &'static str, bytes: &'static [u8]) -> Self {
        let digest = digest(&SHA256, bytes);
        let tag = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..TAG_BYTES]);
        Self {
            content_type,
            bytes,
            tag: HeaderValue::try_from(format!("\"{tag}\"")).expect("base64 is ASCII"),
        }
    }

    /// The file, or that it is still what the browser has.
    pub fn respond(&self, asked: &HeaderMap) -> Response {
        let mut response = if is_known(asked, &self.tag) {
            warp::reply::with_status("", StatusCode::NOT_MODIFIED).into_response()
        } else {
            self.bytes.into_response()
        };
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static(self.content_type);
        headers.insert(CONTENT_TYPE, content_type);
        // Names stay the same from one version to the next, so that it has to be asked whether this is still the one.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(ETAG, self.tag.clone());
        harden(headers);
        response
    }
}

/// Whether a browser has this already: `If-None-Match` is a list of tags, or `*`.
fn is_known(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = asked.get_all(IF_NONE_MATCH).iter();
    let mut tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Whether it is a person who asks. Programs are told which paths there are.
pub(super) fn wants_a_page(asked: &HeaderMap) -> bool {
    let mut lists = asked
        .get_all(ACCEPT)
        .iter()
        .filter_map(|list| list.to_str().ok());
    lists.any(|list| list.contains("text/html"))
}
