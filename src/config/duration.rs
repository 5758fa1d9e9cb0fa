//! Durations as flags have them: a number and a unit, within the limits of what they are for.

use std::time::Duration;

/// Shorter intervals only burn the processor: a look takes a tenth of a millisecond.
const POLL_INTERVAL_SHORTEST: Duration = Duration::from_millis(1);

/// Longer ones are a mistake in the unit.
const POLL_INTERVAL_LONGEST: Duration = Duration::from_hours(1);

/// More pings than these only cost.
const PING_INTERVAL_SHORTEST: Duration = Duration::from_secs(1);

/// Fewer find nothing.
const PING_INTERVAL_LONGEST: Duration = Duration::from_hours(1);

/// Shorter ages are a mistake in the unit: every client that loses its connection for a moment would have to refetch.
const RETAIN_SHORTEST: Duration = Duration::from_mins(1);

/// Longer ages overflow dates.
const AGE_LONGEST: Duration = Duration::from_hours(24 * 36_500);

/// More would be no difference of clocks but a longer life of every token.
const LEEWAY_LONGEST: Duration = Duration::from_mins(10);

/// Shorter ones make a server that is busy for a moment one that is gone.
const PRESENCE_TTL_SHORTEST: Duration = Duration::from_secs(1);

/// Times beyond it are a mistake in the unit.
const TIME_LONGEST: Duration = Duration::from_hours(1);

/// Any duration. The examples are for whoever has written none.
pub(crate) fn duration(text: &str, examples: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, for example {examples}"))
}

/// The age of an event.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    match duration(text, "7d or 12h")? {
        age if age > AGE_LONGEST => Err("no event is older than 100 years".into()),
        age => Ok(age),
    }
}

/// How long events are kept.
pub(super) fn retain(text: &str) -> Result<Duration, String> {
    match age(text)? {
        age if age < RETAIN_SHORTEST => Err(
            "events are kept for 1m at least; clients whose connection is cut for a moment would have to refetch".into(),
        ),
        age => Ok(age),
    }
}

/// Between two pings; none at all is allowed.
pub(super) fn ping_interval(text: &str) -> Result<Duration, String> {
    match duration(text, "30s")? {
        Duration::ZERO => Ok(Duration::ZERO),
        interval if (PING_INTERVAL_SHORTEST..=PING_INTERVAL_LONGEST).contains(&interval) => {
            Ok(interval)
        }
        _ => Err("pings are between 1s and 1h apart, or 0s for none".into()),
    }
}

/// Between two looks at the table.
pub(super) fn poll_interval(text: &str) -> Result<Duration, String> {
    match duration(text, "500ms or 2s")? {
        interval if (POLL_INTERVAL_SHORTEST..=POLL_INTERVAL_LONGEST).contains(&interval) => {
            Ok(interval)
        }
        _ => Err("the interval is between 1ms and 1h".into()),
    }
}

/// The difference of two clocks.
pub(super) fn leeway(text: &str) -> Result<Duration, String> {
    match duration(text, "30s")? {
        leeway if leeway > LEEWAY_LONGEST => Err("clocks are not off by more than 10m".into()),
        leeway => Ok(leeway),
    }
}

/// How long something may take.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    match duration(text, "10s or 500ms")? {
        time if time > TIME_LONGEST => Err("it is 1h at most".into()),
        time => Ok(time),
    }
}

/// How long users stay whose server is not heard of.
pub(super) fn presence_ttl(text: &str) -> Result<Duration, String> {
    match time(text)? {
        ttl if ttl < PRESENCE_TTL_SHORTEST => Err(
            "servers are waited for 1s at least; one that is busy for a moment is not gone".into(),
        ),
        ttl => Ok(ttl),
    }
}

/// How long a handshake may take.
pub(super) fn time_above_zero(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("without time for a handshake nobody gets in; 1ms at least".into()),
        time => Ok(time),
    }
}
