//! What values have in common: JSON goes in, one value after the other, and a type comes out that all of them are of.

use std::collections::BTreeMap;

use serde_json::Value;

use super::channel::is_id;
use super::model::{Member, Type};

/// Objects with more members than these are dictionaries. It bounds what is kept, too.
const MEMBERS_MAX: usize = 100;

/// Values that lie deeper are taken as they come.
const DEPTH_MAX: usize = 16;

/// The values seen at one place.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own: a value of that kind was seen"
)]
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// There was something that cannot be told.
    unknown: bool,
    boolean: bool,
    number: bool,
    text: bool,
    null: bool,
    object: Option<Objects>,
    /// What was in the arrays.
    array: Option<Box<Shape>>,
}

/// The objects seen at one place.
#[derive(Debug)]
enum Objects {
    Known {
        count: u64,
        /// Each with the number of objects that have it.
        members: BTreeMap<String, (u64, Shape)>,
    },
    /// Names of members are data. What the members are.
    Dictionary(Box<Shape>),
}

impl Shape {
    /// Takes in a value.
    pub fn add(&mut self, value: Value) {
        self.add_at(0, value);
    }

    /// Takes in what cannot be told.
    pub fn add_unknown(&mut self) {
        self.unknown = true;
    }

    fn add_at(&mut self, depth: usize, value: Value) {
        match value {
            _ if depth > DEPTH_MAX => self.unknown = true,
            Value::Null => self.null = true,
            Value::Bool(_) => self.boolean = true,
            Value::Number(_) => self.number = true,
            Value::String(_) => self.text = true,
            Value::Array(items) => {
                let shape = self.array.get_or_insert_default();
                for item in items {
                    shape.add_at(depth + 1, item);
                }
            }
            Value::Object(object) => {
                let objects = self.object.get_or_insert_with(Objects::none);
                objects.count();
                for (name, value) in object {
                    objects.member(name).add_at(depth + 1, value);
                }
            }
        }
    }

    /// Takes in what another has seen.
    fn merge(&mut self, other: Self) {
        self.unknown |= other.unknown;
        self.boolean |= other.boolean;
        self.number |= other.number;
        self.text |= other.text;
        self.null |= other.null;
        if let Some(array) = other.array {
            self.array.get_or_insert_default().merge(*array);
        }
        if let Some(object) = other.object {
            self.object.get_or_insert_with(Objects::none).merge(object);
        }
    }

    /// A type that all values seen are of.
    pub fn into_type(self) -> Type {
        if self.unknown {
            return Type::word("unknown");
        }
        let words = [
            (self.boolean, "boolean"),
            (self.number, "number"),
            (self.text, "string"),
        ];
        let mut types: Vec<_> = words
            .into_iter()
            .filter(|(seen, _)| *seen)
            .map(|(_, word)| Type::word(word))
            .collect();
        types.extend(self.object.map(Objects::into_type));
        types.extend(
            self.array
                .map(|items| Type::Array(Box::new(items.into_type()))),
        );
        if self.null {
            types.push(Type::word("null"));
        }
        Type::union(types)
    }
}

impl Objects {
    fn none() -> Self {
        Self::Known {
            count: 0,
            members: BTreeMap::new(),
        }
    }

    fn count(&mut self) {
        if let Self::Known { count, .. } = self {
            *count += 1;
        }
    }

    /// What was seen at a member, of which there is one more now.
    fn member(&mut self, name: String) -> &mut Shape {
        if let Self::Known { members, .. } = self
            && members.len() >= MEMBERS_MAX
            && !members.contains_key(&name)
        {
            let members = std::mem::take(members);
            *self = Self::Dictionary(Box::new(merged(members)));
        }
        match self {
            Self::Known { members, .. } => {
                let (count, shape) = members.entry(name).or_default();
                *count += 1;
                shape
            }
            Self::Dictionary(shape) => shape,
        }
    }

    fn merge(&mut self, other: Self) {
        match other {
            Self::Dictionary(shape) => {
                if let Self::Known { members, .. } = self {
                    let members = std::mem::take(members);
                    *self = Self::Dictionary(Box::new(merged(members)));
                }
                if let Self::Dictionary(own) = self {
                    own.merge(*shape);
                }
            }
            Self::Known { count, members } => {
                if let Self::Known { count: own, .. } = self {
                    *own += count;
                }
                for (name, (times, shape)) in members {
                    self.member(name.clone()).merge(shape);
                    if let Self::Known { members, .. } = self
                        && let Some((own, _)) = members.get_mut(&name)
                    {
                        *own += times - 1;
                    }
                }
            }
        }
    }

    fn into_type(self) -> Type {
        match self {
            Self::Dictionary(shape) => Type::Record(Box::new(shape.into_type())),
            Self::Known { members, .. } if members.keys().all(|name| is_id(name)) => {
                Type::Record(Box::new(merged(members).into_type()))
            }
            Self::Known { count, members } => {
                let member = |(name, (times, shape)): (String, (u64, Shape))| Member {
                    name,
                    is_optional: times < count,
                    about: Vec::new(),
                    r#type: shape.into_type(),
                };
                Type::Object(members.into_iter().map(member).collect())
            }
        }
    }
}

fn merged(members: BTreeMap<String, (u64, Shape)>) -> Shape {
    let mut all = Shape::default();
    for (_, shape) in members.into_values() {
        all.merge(shape);
    }
    all
}
