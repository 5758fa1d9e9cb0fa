//! How often to look: seldom when quiet, or when writers wake us; often while events flow.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::BATCH_EVENTS_MAX;

/// How long the table is still looked at often after an event: transactions under way commit within it.
const HOT: Duration = Duration::from_millis(250);

/// How long writers may leave it to us to look. Extended at half of it while events flow.
const LEASE: Duration = Duration::from_secs(1);

/// Events flow where look after look finds some within this time, or one look so many. A wake-up, with what follows from
/// it, costs as much as some eight looks: up to there it is cheaper to be woken for each event, and quicker.
const FLOW_GAP: Duration = Duration::from_millis(25);
const FLOW_LOOKS: u32 = 4;
const FLOW_EVENTS: usize = 16;

/// Between two marks in the database, while there are events.
const MARK: Duration = Duration::from_millis(500);

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollInterval {
    /// When nothing happens: the longest an event can go unseen.
    pub max: Duration,
    /// While events flow.
    pub min: Duration,
}

impl Default for PollInterval {
    fn default() -> Self {
        Self {
            max: Duration::from_millis(500),
            min: Duration::from_millis(5),
        }
    }
}

/// What writers are to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lease {
    /// To leave it to us to look, for this long.
    Begin(Duration),
    /// To wake us.
    End,
}

/// Decides when to look again.
pub(super) struct Pace {
    interval: PollInterval,
    /// Whether writers can be told not to wake us.
    has_leases: bool,
    wait: Duration,
    /// When events were last found.
    found: Option<Instant>,
    /// How many looks in a row have found some.
    flow: u32,
    /// Whether we were woken for what was found last. Writers of a database may be kept from it.
    is_woken: bool,
    lease_until: Option<Instant>,
    /// Whether what was found is to be followed by the end of a lease: whoever woke us has begun one.
    lease_to_end: bool,
    marked: Option<Instant>,
}

impl Pace {
    pub(super) fn new(interval: PollInterval, has_leases: bool) -> Self {
        Self {
            interval,
            has_leases,
            wait: interval.max,
            found: None,
            flow: 0,
            is_woken: false,
            lease_until: None,
            lease_to_end: false,
            marked: None,
        }
    }

    /// How long to wait after a look that found this many events: not at all after a full batch, the minimum after others,
    /// while events flow and where they would not wake us, twice as long as before when quiet, up to the maximum.
    pub(super) fn after(&mut self, found: usize, was_woken: bool, now: Instant) -> Duration {
        let PollInterval { min, max } = self.interval;
        if found > 0 {
            let goes_on = self.found.is_some_and(|before| now - before < FLOW_GAP);
            self.flow = if found >= FLOW_EVENTS {
                FLOW_LOOKS
            } else if goes_on {
                self.flow.saturating_add(1)
            } else {
                1
            };
            self.found = Some(now);
            self.is_woken = was_woken;
            self.lease_to_end = true;
        }
        self.wait = if found >= BATCH_EVENTS_MAX {
            Duration::ZERO
        } else if found > 0 || was_woken || self.flows(now) || (self.is_hot(now) && !self.is_woken)
        {
            // Where we were woken for nothing there may be something that cannot be seen yet.
            min
        } else {
            (self.wait * 2).clamp(min, max)
        };
        self.wait
    }

    fn is_hot(&self, now: Instant) -> bool {
        self.found.is_some_and(|found| now < found + HOT)
    }

    /// Whether there are so many events that it is better to look than to be woken.
    fn flows(&self, now: Instant) -> bool {
        self.has_leases && self.flow >= FLOW_LOOKS && self.is_hot(now)
    }

    /// What to tell writers now, if anything.
    pub(super) fn lease(&mut self, now: Instant) -> Option<Lease> {
        if !self.has_leases {
            return None;
        }
        if self.flows(now) {
            let is_due = self
                .lease_until
                .is_none_or(|until| now + LEASE / 2 >= until);
            return is_due.then(|| {
                self.lease_until = Some(now + LEASE);
                Lease::Begin(LEASE)
            });
        }
        let ends = self.lease_to_end || self.lease_until.is_some();
        (self.lease_to_end, self.lease_until) = (false, None);
        ends.then_some(Lease::End)
    }

    /// Whether to leave a mark now. While hot only, or we would never sleep.
    pub(super) fn mark_is_due(&mut self, now: Instant) -> bool {
        let due = self.is_hot(now) && self.marked.is_none_or(|marked| now >= marked + MARK);
        if due {
            self.marked = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace() -> Pace {
        Pace::new(PollInterval::default(), true)
    }

    #[tokio::test(start_paused = true)]
    async fn pace_hurries_where_nobody_wakes_us_and_slows_down_when_quiet() {
        let interval = PollInterval::default();
        let mut pace = pace();
        let start = Instant::now();
        assert_eq!(
            pace.after(0, false, start),
            interval.max,
            "an idle feed waits the whole interval"
        );
        assert_eq!(
            pace.after(BATCH_EVENTS_MAX, false, start),
            Duration::ZERO,
            "there may be more"
        );
        assert_eq!(pace.after(1, false, start), interval.min);
        assert_eq!(
            pace.after(0, false, start + HOT / 2),
            interval.min,
            "still hot"
        );
        let quiet: Vec<_> = (0..8)
            .map(|_| pace.after(0, false, start + HOT).as_millis())
            .collect();
        assert_eq!(quiet, [10, 20, 40, 80, 160, 320, 500, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn single_events_that_wake_us_are_waited_for() {
        let mut pace = pace();
        for second in 1..4 {
            let now = Instant::now() + second * 1000 * MS;
            // What committed before its writer could be told has woken nobody.
            assert_eq!(pace.after(1, true, now), PollInterval::default().min);
            assert_eq!(pace.lease(now), Some(Lease::End), "the writer's own");
            assert_eq!(pace.lease(now), None, "once");
            let quiet = [5, 15, 35].map(|ms| pace.after(0, false, now + ms * MS).as_millis());
            assert_eq!(quiet, [10, 20, 40]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_cannot_postpone_wakes_is_not_looked_at_often() {
        let mut pace = Pace::new(PollInterval::default(), false);
        let start = Instant::now();
        for n in 0..10 {
            pace.after(1, true, start + n * 5 * MS);
            assert_eq!(pace.lease(start + n * 5 * MS), None);
        }
        assert_eq!(pace.after(0, false, start + 55 * MS), 10 * MS);
        assert_eq!(
            pace.after(0, true, start + 58 * MS),
            PollInterval::default().min,
            "a commit is announced before it can be seen"
        );
        // Its wakes are lost.
        pace.after(1, false, start + 60 * MS);
        assert_eq!(
            pace.after(0, false, start + 65 * MS),
            PollInterval::default().min
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_is_extended_while_events_flow_and_ended_then() {
        let mut pace = pace();
        let start = Instant::now();
        pace.after(0, false, start);
        assert_eq!(pace.lease(start), None, "never while idle");
        let mut told = Vec::new();
        let mut now = start;
        for _ in 0..240 {
            now += 5 * MS;
            assert_eq!(pace.after(1, true, now), PollInterval::default().min);
            told.extend(pace.lease(now));
        }
        let begin = Lease::Begin(LEASE);
        assert_eq!(
            told,
            [Lease::End, Lease::End, Lease::End, begin, begin, begin],
            "until it is known that they flow, then every half second"
        );
        assert_eq!(
            pace.after(0, false, now + HOT / 2),
            PollInterval::default().min,
            "the lease still keeps writers from waking us"
        );
        assert_eq!(pace.lease(now + HOT / 2), None);
        assert!(pace.after(0, false, now + HOT) > PollInterval::default().min);
        assert_eq!(pace.lease(now + HOT), Some(Lease::End));
        assert_eq!(pace.lease(now + HOT * 2), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_events_at_once_flow() {
        let mut pace = pace();
        let now = Instant::now();
        pace.after(FLOW_EVENTS, true, now);
        assert_eq!(pace.lease(now), Some(Lease::Begin(LEASE)));
    }

    #[tokio::test(start_paused = true)]
    async fn marks_are_left_now_and_then_while_there_are_events() {
        let mut pace = pace();
        let start = Instant::now();
        pace.after(0, false, start);
        assert!(!pace.mark_is_due(start), "never while idle");
        pace.after(1, true, start);
        assert!(pace.mark_is_due(start));
        assert!(!pace.mark_is_due(start + MARK / 2));
        pace.after(1, true, start + MARK);
        assert!(pace.mark_is_due(start + MARK));
        assert!(!pace.mark_is_due(start + MARK * 2 + HOT), "quiet again");
    }
}
