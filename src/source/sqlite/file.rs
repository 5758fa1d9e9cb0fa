//! The file behind a SQLite database: which one a path means, and when its log is written to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// A write to the log comes before its commit can be seen, half of the time by less than this. Timers of tokio are no finer
/// than a millisecond.
const VISIBLE_AFTER: Duration = Duration::from_micros(300);

/// A commit of many rows is hundreds of writes, and can be seen after the last of them. So where writes follow each other,
/// twice as long as before is waited for more, up to this.
const ANNOUNCED_AFTER_MAX: Duration = Duration::from_millis(2);
const FOLLOWS_WITHIN: Duration = Duration::from_millis(5);

/// Notifies whenever somebody writes to the database's write-ahead log. The log may come and go, so its folder is
/// watched.
pub(super) fn watch_log(
    database: &Path,
    written: Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    // The folder's real path: events name files by it.
    let folder = fs::canonicalize(parent(database))?;
    let name = database.file_name().unwrap_or_default();
    let mut log_name = name.to_owned();
    log_name.push("-wal");
    let log = folder.join(log_name);
    let (mut wait, mut announced) = (VISIBLE_AFTER, None::<Instant>);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error may stand for events that were dropped.
        let concerns_log = event.map_or(true, |event| {
            !event.kind.is_access() && event.paths.contains(&log)
        });
        if concerns_log {
            wait = match announced {
                Some(before) if before.elapsed() < FOLLOWS_WITHIN => {
                    (wait * 2).min(ANNOUNCED_AFTER_MAX)
                }
                _ => VISIBLE_AFTER,
            };
            // This thread has nothing else to do, and what is written meanwhile is announced together.
            std::thread::sleep(wait);
            announced = Some(Instant::now());
            written.notify_one();
        }
    })?;
    watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Which file a path means. Where the system cannot tell, all are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity(u64, u64);

impl FileIdentity {
    #[cfg(unix)]
    pub(super) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path)
            .ok()
            .map(|file| Self(file.dev(), file.ino()))
    }

    #[cfg(not(unix))]
    pub(super) fn of(_path: &Path) -> Option<Self> {
        None
    }
}

/// The folder that has it.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
