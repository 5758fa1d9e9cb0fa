//! Laws of database URLs, for fuzzing.

use super::DatabaseUrl;

/// Stands for a password.
const CANARY: &str = "canary0password";

/// A URL is refused, or shown without its password.
pub(crate) fn url(text: &str) {
    for line in text.split('\n') {
        if let Ok(url) = DatabaseUrl::parse(line) {
            assert_eq!(url.expose(), line);
            let _ = format!("{url} {url:?}");
        }
        // What was written into a password, and what follows it.
        let secret = format!("postgres://ann:{line}{CANARY}@host/db");
        let behind = format!("postgres://ann:{CANARY}@{line}");
        for text in [&secret, &behind] {
            let shown = match DatabaseUrl::parse(text) {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => error.to_string(),
            };
            assert!(
                !shown.contains(CANARY) || line.contains(CANARY),
                "{text}: {shown}"
            );
        }
    }
}
