//! What is generated, before it is text: types as TypeScript knows them, payloads of events, and what is on a channel.

use std::collections::BTreeSet;

use super::channel::Pattern;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// `string`, `number`, `boolean`, `null`, `unknown`, `true`, `false`, or a number.
    Word(String),
    /// A text that is its own type.
    Text(String),
    /// One of the named types.
    Named(String),
    Array(Box<Type>),
    /// An object with any members, all of one type.
    Record(Box<Type>),
    Object(Vec<Member>),
    /// At least two, none of them a union.
    Union(Vec<Type>),
}

impl Type {
    pub fn word(word: &str) -> Self {
        Self::Word(word.to_owned())
    }

    /// What is one of these; each counts once.
    pub fn union(types: Vec<Self>) -> Self {
        let mut distinct = Vec::new();
        for member in types {
            let inner = match member {
                Self::Union(inner) => inner,
                single => vec![single],
            };
            for member in inner {
                if !distinct.contains(&member) {
                    distinct.push(member);
                }
            }
        }
        match distinct.pop() {
            Some(only) if distinct.is_empty() => only,
            Some(last) => {
                distinct.push(last);
                Self::Union(distinct)
            }
            None => Self::word("unknown"),
        }
    }
}

/// A member of an object, a payload of an event, or a named type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub name: String,
    pub is_optional: bool,
    /// Lines of its comment.
    pub about: Vec<String>,
    pub r#type: Type,
}

/// A channel, or a kind of channels, and the types of the events that are inserted on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChannelKind {
    pub pattern: Pattern,
    pub about: Vec<String>,
    pub events: BTreeSet<String>,
}

/// All there is to say of a feed.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// Where it was learnt, in words.
    pub origin: String,
    /// What may be different the next time though nothing has changed, as how many rows there are.
    pub evidence: Option<String>,
    pub types: Vec<Member>,
    pub events: Vec<Member>,
    pub channels: Vec<ChannelKind>,
}
