//! What it costs to find out what of a request is granted.

use std::hint::black_box;

use super::Grants;
use crate::event::ChannelPattern;

/// Asks for one channel of each kind there is: granted by its name, granted by a pattern, and refused.
pub(crate) fn narrow(grants: usize) -> impl FnMut() {
    let own = sample(grants);
    let asked = ["inbox:7", "project:7:tasks", "secrets:7"].map(pattern);
    move || {
        for asked in &asked {
            drop(black_box(own.narrow(black_box(asked))));
        }
    }
}

/// Asks whether events of such channels may be received.
pub(crate) fn cover(grants: usize) -> impl FnMut() {
    let own = sample(grants);
    move || {
        for asked in ["inbox:7", "project:7:tasks", "secrets:7"] {
            black_box(own.cover(black_box(asked)));
        }
    }
}

fn sample(grants: usize) -> Grants {
    let one = |n: usize| match n % 2 {
        0 => pattern(&format!("inbox:{}", n + 7)),
        _ => pattern(&format!("project:{}:*", n + 6)),
    };
    Grants::new((0..grants).map(one))
}

fn pattern(text: &str) -> ChannelPattern {
    ChannelPattern::parse(text).expect("it is a good name")
}
