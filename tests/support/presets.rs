//! Endpoints of all presets, as docs/protocol/rowcast.toml has them.

use std::fs;
use std::path::{Path, PathBuf};

use rowcast::{EndpointSpec, Endpoints, Presets};
use serde::Deserialize;

/// Where exchanges and endpoints are written down.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol")
}

/// The endpoints, for a server that asks for tokens.
pub fn endpoints(presets: &Presets) -> Endpoints {
    #[derive(Deserialize)]
    struct File {
        endpoint: Vec<EndpointSpec>,
    }
    let text = fs::read_to_string(folder().join("rowcast.toml")).expect("docs/protocol");
    let file: File = toml::from_str(&text).expect("TOML");
    Endpoints::new(&file.endpoint, presets, true).expect("endpoints")
}
