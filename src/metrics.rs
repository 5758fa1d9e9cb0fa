//! `Metrics`: everything that is counted, in the text format of Prometheus. What is counted is declared in `stats.rs`.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::stats::{Counters, Kind};

/// What the text is, for the header `content-type`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a server. Their names begin with `rowcast_`, or are those that every process has.
#[derive(Debug)]
pub(crate) struct Metrics {
    all: Registry,
    ready: Gauge,
}

impl Metrics {
    pub fn new(counters: &Arc<Counters>) -> Self {
        let mut all = Registry::default();
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        all.register_with_unit(
            "process_start_time",
            "When the server was started, since 1970",
            Unit::Seconds,
            ConstGauge::new(started.unwrap_or_default().as_secs_f64()),
        );
        all.register_collector(Box::new(OpenFiles));
        let ours = all.sub_registry_with_prefix("rowcast");
        ours.register(
            "build",
            "Which rowcast this is",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let histograms = &counters.histograms;
        ours.register_with_unit(
            "delivery_lag",
            "From when the oldest event of a batch was created until a shard had written the batch; one observation a batch and shard",
            Unit::Seconds,
            histograms.delivery_lag.clone(),
        );
        ours.register_with_unit(
            "poll",
            "From a question for the present position of the database to its answer",
            Unit::Seconds,
            histograms.poll.clone(),
        );
        ours.register(
            "window_events",
            "Events that were read at one go",
            histograms.window.clone(),
        );
        let ready = Gauge::default();
        ours.register(
            "ready",
            "Whether the table is read and a probe passes the pipeline: 1, else 0",
            ready.clone(),
        );
        ours.register_collector(Box::new(Figures(Arc::clone(counters))));
        Self { all, ready }
    }

    /// The text, as it is now.
    pub fn text(&self, is_ready: bool) -> String {
        self.ready.set(is_ready.into());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &self.all);
        text
    }
}

/// The plain counters, read when they are asked for.
#[derive(Debug)]
struct Figures(Arc<Counters>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for figure in self.0.figures() {
            let (name, help) = (figure.name, &figure.help);
            match figure.kind {
                Kind::Counter => {
                    let metric =
                        encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                    ConstCounter::new(figure.value).encode(metric)?;
                }
                Kind::Gauge => {
                    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                    ConstGauge::new(figure.value as i64).encode(metric)?;
                }
            }
        }
        let age = self.0.looked.age();
        let metric = encoder.encode_descriptor(
            "look_age",
            "How long ago the events table was looked at, or read on.",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        ConstGauge::new(age.as_secs_f64()).encode(metric)
    }
}

/// The limit of open files, which is that of connections. It may be changed while the server runs.
#[derive(Debug)]
struct OpenFiles;

impl Collector for OpenFiles {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Ok((soft, _hard)) = rlimit::Resource::NOFILE.get() else {
            return Ok(());
        };
        let metric = encoder.encode_descriptor(
            "process_max_fds",
            "Most files that the server may have open; each connection is one.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(soft as f64).encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_exported_with_its_kind_and_what_it_means() {
        let counters = Arc::<Counters>::default();
        counters.polls.add(3);
        counters.connections.add(2);
        counters.histograms.window.observe(5.0);
        let text = Metrics::new(&counters).text(true);
        for line in [
            "# HELP rowcast_polls Looks at the table.",
            "# TYPE rowcast_polls counter",
            "rowcast_polls_total 3",
            "# TYPE rowcast_connections gauge",
            "rowcast_connections 2",
            "# UNIT rowcast_poll_seconds seconds",
            "rowcast_window_events_bucket{le=\"4.0\"} 0",
            "rowcast_window_events_bucket{le=\"16.0\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}:\n{text}");
        }
        for figure in counters.figures() {
            let kind = match figure.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let line = format!("# TYPE rowcast_{} {kind}", figure.name);
            assert!(text.contains(&line), "{line}");
            assert!(figure.help.ends_with('.'), "{}", figure.help);
        }
    }
}
