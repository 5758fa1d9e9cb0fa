//! Headless Chromium with one page, gone with all its processes when it is dropped.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::temp_dir;

/// What it is called: by Debian, by Ubuntu, and where it is Google's.
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Works as root and in a container, shows nothing, and looks for nobody outside.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

pub struct Chromium {
    child: Child,
    /// Its profile, new, and what it complains about.
    folder: TempDir,
}

impl Chromium {
    /// Starts it with a page. What the page does, the page tells.
    pub fn open(url: &str) -> Self {
        let folder = temp_dir();
        let log = File::create(folder.path().join("log")).expect("an empty folder");
        let profile = folder.path().join("profile");
        let started = NAMES.iter().find_map(|name| {
            Command::new(name)
                .args(FLAGS)
                .arg(format!("--user-data-dir={}", profile.display()))
                .arg(url)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log.try_clone().expect("a file"))
                // So that all its processes are ended as one.
                .process_group(0)
                .spawn()
                .ok()
        });
        let child = started.unwrap_or_else(|| {
            panic!(
                "there is no Chromium here ({}): scripts/test installs it where there is apt-get; else install it yourself",
                NAMES.join(", ")
            )
        });
        Self { child, folder }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // std knows no signals to groups.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("sh")
            .args(["-c", r#"kill -s KILL -- "$0""#, &group])
            .status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log"));
            eprintln!("Chromium said:\n{}", log.unwrap_or_default());
        }
    }
}
