//! Connections that wait for a request: those whose head is not there yet, and those that are idle between two. Their
//! number is bounded: each one more costs the place of the one that has waited longest, once that has had its time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Most connections that wait. Each takes 20 KB with half a head in it, 84 MB together.
pub(super) const WAITING_MAX: usize = 4096;

/// Nobody is cut off before: a good client needs some milliseconds, and some hundred where it is far away or thousands
/// come at once. Meanwhile further ones wait in the system's queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often to look whether there is room.
const LOOK: Duration = Duration::from_millis(5);

/// So many may wait however few files are left: without them nobody would get in.
const WAITING_MIN: usize = 16;

/// Those who wait. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Lobby(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// In the order in which they began to wait.
    visits: BTreeMap<u64, Visit>,
    next: u64,
}

struct Visit {
    began: Instant,
    task: Arc<OnceLock<AbortHandle>>,
}

/// One connection. It waits, serves, waits again, until it is dropped.
pub(super) struct Visitor {
    lobby: Lobby,
    /// Its number while it waits, and how many of its requests are under way.
    state: Mutex<(Option<u64>, usize)>,
    task: Arc<OnceLock<AbortHandle>>,
}

impl Lobby {
    /// A connection, which waits for its first request.
    pub fn enter(&self) -> Visitor {
        let task = Arc::new(OnceLock::new());
        let number = self.lock().insert(&task);
        Visitor {
            lobby: self.clone(),
            state: Mutex::new((Some(number), 0)),
            task,
        }
    }

    /// Waits until no more wait than `room` has place for, and cuts off those who have waited longest for that. Gives how
    /// many were cut.
    pub async fn make_room(&self, room: usize) -> u64 {
        let mut cut = 0;
        loop {
            cut += self.cut(room);
            if self.lock().visits.len() <= most(room) {
                return cut;
            }
            sleep_until(Instant::now() + LOOK).await;
        }
    }

    /// Cuts off who has waited long enough, as long as more wait than `room` has place for. Gives how many were cut.
    pub fn cut(&self, room: usize) -> u64 {
        let mut cut = 0;
        loop {
            let mut waiting = self.lock();
            if waiting.visits.len() <= most(room) {
                return cut;
            }
            let oldest = waiting.visits.first_entry();
            let Some(oldest) = oldest.filter(|oldest| oldest.get().began.elapsed() >= PATIENCE)
            else {
                return cut;
            };
            let visit = oldest.remove();
            drop(waiting);
            if let Some(task) = visit.task.get() {
                task.abort();
            }
            cut += 1;
        }
    }

    /// How many wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().visits.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many may wait.
fn most(room: usize) -> usize {
    room.clamp(WAITING_MIN, WAITING_MAX)
}

impl Waiting {
    fn insert(&mut self, task: &Arc<OnceLock<AbortHandle>>) -> u64 {
        let number = self.next;
        self.next += 1;
        let visit = Visit {
            began: Instant::now(),
            task: Arc::clone(task),
        };
        self.visits.insert(number, visit);
        number
    }
}

impl Visitor {
    /// Where to leave the handle of the task that serves it.
    pub fn task(&self) -> Arc<OnceLock<AbortHandle>> {
        Arc::clone(&self.task)
    }

    /// A request is under way until what this gives is dropped.
    pub fn serve(self: &Arc<Self>) -> Serving {
        let mut state = self.lock();
        state.1 += 1;
        if let Some(number) = state.0.take() {
            self.lobby.lock().visits.remove(&number);
        }
        drop(state);
        Serving(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, (Option<u64>, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Some(number) = self.lock().0.take() {
            self.lobby.lock().visits.remove(&number);
        }
    }
}

/// A request under way.
pub(super) struct Serving(Arc<Visitor>);

impl Drop for Serving {
    fn drop(&mut self) {
        let visitor = &self.0;
        let mut state = visitor.lock();
        state.1 -= 1;
        if state.1 == 0 {
            state.0 = Some(visitor.lobby.lock().insert(&visitor.task));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_goes_first_and_who_is_served_stays() {
        let lobby = Lobby::default();
        let mut visitors = Vec::new();
        for _ in 0..WAITING_MIN + 2 {
            let visitor = Arc::new(lobby.enter());
            let task = tokio::spawn(std::future::pending::<()>());
            assert!(visitor.task().set(task.abort_handle()).is_ok());
            visitors.push((visitor, task));
        }
        let serving = visitors[0].0.serve();
        assert_eq!(lobby.cut(0), 0, "they have just come");
        let came = Instant::now();
        assert_eq!(lobby.make_room(0).await, 1);
        assert!(came.elapsed() >= PATIENCE);
        let (_, cut) = visitors.remove(1);
        assert!(cut.await.expect_err("cut off").is_cancelled());
        assert!(!visitors[0].1.is_finished());
        // It begins to wait anew, at the end.
        drop(serving);
        assert_eq!(lobby.cut(0), 1);
        let (_, cut) = visitors.remove(1);
        assert!(cut.await.expect_err("cut off").is_cancelled());
        drop(visitors);
        assert_eq!(lobby.len(), 0);
    }
}
