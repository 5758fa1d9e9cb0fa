//! Which seats of a shard subscribe to which pattern: found by name, joined and left in constant time.

use std::collections::HashMap;

/// Number of a pattern in use.
pub(super) type TopicId = u32;

/// Number of a connection within its shard.
pub(super) type SlotId = u32;

/// Patterns and their subscribers. A subscription costs 16 bytes: 8 here, 8 with its owner.
#[derive(Default)]
pub(super) struct Index {
    by_name: HashMap<Box<str>, TopicId>,
    topics: Vec<Topic>,
    free: Vec<TopicId>,
}

#[derive(Default)]
pub(super) struct Topic {
    name: Box<str>,
    members: Vec<Member>,
    /// The batch in which it was met last, and its number among the topics met there.
    pub batch: u64,
    pub met: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Member {
    pub slot: SlotId,
    /// Which of its owner's subscriptions this is.
    nth: u32,
}

/// A connection's subscriptions.
#[derive(Default)]
pub(super) struct Subscriptions(Vec<Subscription>);

#[derive(Clone, Copy)]
struct Subscription {
    topic: TopicId,
    /// Which of the topic's members this is.
    position: u32,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Index {
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    pub fn topic_mut(&mut self, id: TopicId) -> &mut Topic {
        &mut self.topics[id as usize]
    }

    /// The patterns there are, each with the number of its subscribers.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.by_name
            .iter()
            .map(|(name, &id)| (&**name, self.topics[id as usize].members.len()))
    }

    pub fn members(&self, id: TopicId) -> &[Member] {
        &self.topics[id as usize].members
    }

    /// The patterns that somebody subscribes to.
    pub fn names<'a>(&'a self, subscriptions: &'a Subscriptions) -> impl Iterator<Item = &'a str> {
        subscriptions
            .0
            .iter()
            .map(|subscription| &*self.topics[subscription.topic as usize].name)
    }

    pub fn contains(&self, subscriptions: &Subscriptions, name: &str) -> bool {
        self.find(name).is_some_and(|id| {
            subscriptions
                .0
                .iter()
                .any(|subscription| subscription.topic == id)
        })
    }

    /// Adds a subscription that is not there yet.
    pub fn join(&mut self, name: &str, slot: SlotId, subscriptions: &mut Subscriptions) {
        let id = self.find(name).unwrap_or_else(|| self.add(name));
        if subscriptions.0.capacity() == 0 {
            // Most have one.
            subscriptions.0.reserve_exact(1);
        }
        let members = &mut self.topics[id as usize].members;
        members.push(Member {
            slot,
            nth: subscriptions.0.len() as u32,
        });
        subscriptions.0.push(Subscription {
            topic: id,
            position: members.len() as u32 - 1,
        });
    }

    /// Ends a subscription. `owner` gives the subscriptions of any slot, as the last member takes the place of the one
    /// that leaves. Gives whether it was there.
    pub fn leave<O: SubscriptionsOf>(&mut self, name: &str, slot: SlotId, owners: &mut O) -> bool {
        let Some(id) = self.find(name) else {
            return false;
        };
        let Some(nth) = owners
            .of(slot)
            .0
            .iter()
            .position(|subscription| subscription.topic == id)
        else {
            return false;
        };
        self.leave_nth(nth, slot, owners);
        true
    }

    /// Ends all subscriptions of a slot.
    pub fn leave_all<O: SubscriptionsOf>(&mut self, slot: SlotId, owners: &mut O) {
        while let Some(last) = owners.of(slot).len().checked_sub(1) {
            self.leave_nth(last, slot, owners);
        }
    }

    fn leave_nth<O: SubscriptionsOf>(&mut self, nth: usize, slot: SlotId, owners: &mut O) {
        let own = &mut owners.of(slot).0;
        let Subscription { topic, position } = own.swap_remove(nth);
        if let Some(moved) = own.get(nth) {
            self.topics[moved.topic as usize].members[moved.position as usize].nth = nth as u32;
        }
        let members = &mut self.topics[topic as usize].members;
        members.swap_remove(position as usize);
        if let Some(moved) = members.get(position as usize) {
            owners.of(moved.slot).0[moved.nth as usize].position = position;
        }
        if members.is_empty() {
            self.remove(topic);
        }
    }

    fn add(&mut self, name: &str) -> TopicId {
        let topic = Topic {
            name: name.into(),
            ..Topic::default()
        };
        let id = if let Some(id) = self.free.pop() {
            self.topics[id as usize] = topic;
            id
        } else {
            self.topics.push(topic);
            self.topics.len() as u32 - 1
        };
        self.by_name.insert(name.into(), id);
        id
    }

    fn remove(&mut self, id: TopicId) {
        let topic = std::mem::take(&mut self.topics[id as usize]);
        self.by_name.remove(&topic.name);
        self.free.push(id);
    }
}

/// Gives the subscriptions of a slot that has some.
pub(super) trait SubscriptionsOf {
    fn of(&mut self, slot: SlotId) -> &mut Subscriptions;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    impl SubscriptionsOf for Vec<Subscriptions> {
        fn of(&mut self, slot: SlotId) -> &mut Subscriptions {
            &mut self[slot as usize]
        }
    }

    #[test]
    fn joins_and_leaves_at_random_agree_with_a_set() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut index = Index::default();
        let mut owners: Vec<_> = (0..20).map(|_| Subscriptions::default()).collect();
        let mut model = BTreeSet::new();
        for _ in 0..20_000 {
            let slot = random.u32(..20);
            let name = format!("topic:{}", random.u8(..12));
            match random.u8(..20) {
                0 => {
                    index.leave_all(slot, &mut owners);
                    model.retain(|(owner, _)| *owner != slot);
                }
                1..11 => {
                    assert_eq!(
                        index.contains(&owners[slot as usize], &name),
                        model.contains(&(slot, name.clone())),
                        "seed {seed}"
                    );
                    if model.insert((slot, name.clone())) {
                        index.join(&name, slot, &mut owners[slot as usize]);
                    }
                }
                _ => assert_eq!(
                    index.leave(&name, slot, &mut owners),
                    model.remove(&(slot, name)),
                    "seed {seed}"
                ),
            }
        }
        let found: BTreeSet<_> = index
            .by_name
            .iter()
            .flat_map(|(name, &id)| {
                index
                    .members(id)
                    .iter()
                    .map(move |member| (member.slot, name.to_string()))
            })
            .collect();
        assert_eq!(found, model, "seed {seed}");
    }
}
