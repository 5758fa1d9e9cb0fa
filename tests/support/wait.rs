//! Waiting for what other tasks, processes and servers do: for as long as it takes, but not for ever.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Nothing here takes a second on an idle machine; one with every core busy may need many times that.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks at something that cannot be waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What `future` gives, which must come before the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// Looks until there is something to see, which must be before the deadline.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(LOOK_INTERVAL).await;
        }
    })
    .await
}
