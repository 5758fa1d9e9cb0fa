//! What the newest rows of the table show of a feed.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::HumanCount;
use serde_json::Value;

use super::channel::kinds_of;
use super::model::{ChannelKind, Feed, Member};
use super::shape::Shape;
use crate::error::Error;
use crate::source::{self, DatabaseConfig, Sample};

/// Reads up to so many rows.
pub(super) async fn read(config: &DatabaseConfig, rows_max: u32) -> Result<Feed, Error> {
    let mut seen = Seen::default();
    source::read_samples(config, rows_max, &mut |sample| seen.add(sample)).await?;
    if seen.rows == 0 {
        return Err(Error::Unusable(format!(
            "{} has no events to learn from; insert some, or write the types down: `rowcast gen types --help` shows how",
            config.url
        )));
    }
    Ok(seen.into_feed(rows_max))
}

#[derive(Default)]
struct Seen {
    rows: u64,
    payloads: BTreeMap<String, Shape>,
    /// Types of events by the names of channels.
    channels: BTreeMap<String, BTreeSet<String>>,
}

impl Seen {
    fn add(&mut self, sample: Sample) {
        self.rows += 1;
        for name in sample.channels.iter() {
            let kinds = self.channels.entry(name.to_owned()).or_default();
            if !kinds.contains(&sample.kind) {
                kinds.insert(sample.kind.clone());
            }
        }
        let shape = self.payloads.entry(sample.kind).or_default();
        // Databases know JSON that is read by few others: numbers beyond all bounds, halves of characters.
        match serde_json::from_str::<Value>(&sample.payload) {
            Ok(value) => shape.add(value),
            Err(_) => shape.add_unknown(),
        }
    }

    fn into_feed(self, rows_max: u32) -> Feed {
        let channels = kinds_of(&self.channels);
        let all = if self.rows < u64::from(rows_max) {
            "all"
        } else {
            "the newest"
        };
        let evidence = format!(
            "{all} {} rows: what none of them has is not in here. A schema file can say it.",
            HumanCount(self.rows)
        );
        Feed {
            origin: "the events of a database. Do not change it here.".into(),
            evidence: Some(evidence),
            types: Vec::new(),
            events: self
                .payloads
                .into_iter()
                .map(|(name, shape)| Member {
                    name,
                    is_optional: false,
                    about: Vec::new(),
                    r#type: shape.into_type(),
                })
                .collect(),
            channels: channels
                .into_iter()
                .map(|(pattern, events)| ChannelKind {
                    pattern,
                    about: Vec::new(),
                    events,
                })
                .collect(),
        }
    }
}
