//! The frames of a batch, compressed one by one when somebody who is sent them compressed receives them, and kept with the
//! batch. An event that no such client receives is not compressed.

use std::sync::OnceLock;

use super::Shape;
use super::batch::{Encoded, Shaped};
use super::deflate::push_deflated;

/// Places for the frames of a batch.
#[derive(Debug)]
pub(super) struct Deflated {
    events: Box<[OnceLock<EventFrames>]>,
    /// Bytes of memory that all of it takes, at most: no frame gets larger.
    pub bytes_max: usize,
}

/// The frames of one event.
#[derive(Debug)]
struct EventFrames {
    frames: Box<[u8]>,
    /// Where it has one for each channel: where these end.
    ends: Box<[usize]>,
}

impl Deflated {
    pub fn of(shaped: &Shaped) -> Self {
        let events: Box<[_]> = (0..shaped.len()).map(|_| OnceLock::new()).collect();
        Self {
            bytes_max: shaped.frames.len() + size_of_val(&*events),
            events,
        }
    }
}

impl Encoded {
    /// As `copy` does it, in a shape that is compressed.
    pub(super) fn copy_deflated(
        &self,
        shape: &Shape,
        deflated: &Deflated,
        events: impl Iterator<Item = u32>,
        wants: impl Fn(&str) -> bool,
        to: &mut Vec<u8>,
    ) {
        let shaped = self.shaped(shape);
        let mut last = None;
        for n in events {
            let event = deflated.events[n as usize].get_or_init(|| self.deflate(shaped, n));
            if event.ends.is_empty() {
                to.extend(&event.frames);
            } else {
                let mut start = 0;
                let channels = self.batch.events[n as usize].channels.iter();
                for (channel, &end) in channels.zip(&event.ends) {
                    if wants(channel) {
                        to.extend(&event.frames[start..end]);
                    }
                    start = end;
                }
            }
            last = Some(n as usize + 1);
        }
        if last.is_some_and(|last| last < self.batch.events.len()) {
            to.extend(shaped.cursor_frame());
        }
    }

    fn deflate(&self, shaped: &Shaped, n: u32) -> EventFrames {
        let (plain, start) = shaped.event(n);
        let parts = shaped.parts_of(n).unwrap_or_default();
        let mut frames = Vec::with_capacity(plain.len());
        let mut ends = Vec::with_capacity(parts.len());
        push_deflated(&mut frames, plain, |before, after| {
            if parts.contains(&(start + before)) {
                ends.push(after);
            }
        });
        let counters = self.counters();
        counters.events_compressed.add(1);
        counters.bytes_before_compression.add(plain.len() as u64);
        counters.bytes_after_compression.add(frames.len() as u64);
        EventFrames {
            frames: frames.into(),
            ends: ends.into(),
        }
    }
}
