//! Who is on which channel as the tables have it, all servers taken together, and what has become different.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Member, Told};
use crate::source::MemberRow;

/// Who is where.
pub(super) struct View {
    rooms: BTreeMap<Arc<str>, Room>,
    /// The number of the last news.
    number: u64,
    /// Members of all channels.
    count: usize,
    members_max: usize,
}

#[derive(Default)]
struct Room {
    /// By which servers each member is there.
    members: BTreeMap<Arc<str>, Vec<Stay>>,
    told: Arc<Told>,
}

/// A member is on a channel by a server.
struct Stay {
    server: Arc<str>,
    since: Box<str>,
}

/// What has become different at one go.
#[derive(Debug)]
pub(crate) struct News {
    /// Numbers ascend.
    pub number: u64,
    pub channels: Vec<ChannelNews>,
}

/// What has become different on a channel.
#[derive(Debug)]
pub(crate) struct ChannelNews {
    pub channel: Arc<str>,
    pub joined: Vec<Member>,
    pub left: Vec<Arc<str>>,
}

impl View {
    pub fn new(members_max: usize) -> Self {
        Self {
            rooms: BTreeMap::new(),
            number: 0,
            count: 0,
            members_max,
        }
    }

    pub fn told(&self, channel: &str) -> (Arc<Told>, u64) {
        let room = self.rooms.get(channel);
        let told = room.map(|room| Arc::clone(&room.told));
        (told.unwrap_or_default(), self.number)
    }

    /// Members of all channels; who is on two counts twice.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes in what has become of members of a server. Notes the channels in question.
    pub fn apply(
        &mut self,
        server: &Arc<str>,
        rows: Vec<MemberRow>,
        touched: &mut BTreeSet<Arc<str>>,
    ) {
        for MemberRow { place, since } in rows {
            if since.is_none() && !self.rooms.contains_key(&place.channel) {
                continue;
            }
            touched.insert(Arc::clone(&place.channel));
            let room = self.rooms.entry(place.channel).or_default();
            let stays = room.members.entry(Arc::clone(&place.user)).or_default();
            stays.retain(|stay| stay.server != *server);
            if let Some(since) = since {
                let server = Arc::clone(server);
                stays.push(Stay { server, since });
            } else if stays.is_empty() {
                room.members.remove(&place.user);
            }
        }
    }

    /// A server is no more, or is about to be read as a whole. O(members of all).
    pub fn remove(&mut self, server: &Arc<str>, touched: &mut BTreeSet<Arc<str>>) {
        for (channel, room) in &mut self.rooms {
            let mut is_touched = false;
            room.members.retain(|_, stays| {
                let before = stays.len();
                stays.retain(|stay| stay.server != *server);
                is_touched |= stays.len() < before;
                !stays.is_empty()
            });
            if is_touched {
                touched.insert(Arc::clone(channel));
            }
        }
    }

    /// Sums up what has become different on these channels. None: nothing that is told.
    pub fn publish(&mut self, touched: BTreeSet<Arc<str>>) -> Option<News> {
        let mut channels = Vec::new();
        for channel in touched {
            let Some(room) = self.rooms.get_mut(&channel) else {
                continue;
            };
            let told = room.sum_up(self.members_max);
            self.count = self.count + told.members.len() - room.told.members.len();
            let news = ChannelNews::between(Arc::clone(&channel), &room.told, &told);
            room.told = Arc::new(told);
            if room.members.is_empty() {
                self.rooms.remove(&channel);
            }
            if !news.joined.is_empty() || !news.left.is_empty() {
                channels.push(news);
            }
        }
        if channels.is_empty() {
            return None;
        }
        self.number += 1;
        Some(News {
            number: self.number,
            channels,
        })
    }
}

impl Room {
    fn sum_up(&self, members_max: usize) -> Told {
        let first = |stays: &[Stay]| {
            let since = stays.iter().map(|stay| &stay.since).min();
            since.cloned().unwrap_or_default()
        };
        let members = self.members.iter().map(|(user, stays)| Member {
            user: Arc::clone(user),
            since: first(stays),
        });
        let mut members: Vec<_> = members.collect();
        // Texts of times are in their order.
        members.sort_unstable_by(|a, b| (&a.since, &a.user).cmp(&(&b.since, &b.user)));
        let more = members.len() > members_max;
        members.truncate(members_max);
        members.shrink_to_fit();
        Told { members, more }
    }
}

impl ChannelNews {
    fn between(channel: Arc<str>, before: &Told, after: &Told) -> Self {
        let users = |told: &Told| -> BTreeSet<Arc<str>> {
            let users = told.members.iter().map(|member| Arc::clone(&member.user));
            users.collect()
        };
        let (were, are) = (users(before), users(after));
        let joined = after.members.iter();
        let left = before.members.iter().map(|member| &member.user);
        Self {
            channel,
            joined: joined
                .filter(|member| !were.contains(&member.user))
                .cloned()
                .collect(),
            left: left.filter(|user| !are.contains(*user)).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Place;

    fn row(channel: &str, user: &str, since: Option<&str>) -> MemberRow {
        MemberRow {
            place: Place {
                channel: channel.into(),
                user: user.into(),
            },
            since: since.map(Into::into),
        }
    }

    /// What a server wrote, as it is told.
    fn tell(view: &mut View, server: &str, rows: Vec<MemberRow>) -> Vec<String> {
        let mut touched = BTreeSet::new();
        view.apply(&server.into(), rows, &mut touched);
        texts(view.publish(touched))
    }

    fn texts(news: Option<News>) -> Vec<String> {
        let mut texts = Vec::new();
        for news in news.into_iter().flat_map(|news| news.channels) {
            let left = news.left.iter().map(|user| format!("-{user}"));
            texts.extend(left.chain(news.joined.iter().map(|member| format!("+{}", member.user))));
        }
        texts
    }

    #[test]
    fn who_is_on_two_servers_is_told_once() {
        let mut view = View::new(10);
        assert_eq!(
            tell(&mut view, "a", vec![row("r", "ann", Some("1"))]),
            ["+ann"]
        );
        assert!(tell(&mut view, "b", vec![row("r", "ann", Some("1"))]).is_empty());
        assert!(tell(&mut view, "a", vec![row("r", "ann", None)]).is_empty());
        assert_eq!(view.count(), 1);
        assert_eq!(tell(&mut view, "b", vec![row("r", "ann", None)]), ["-ann"]);
        assert_eq!(view.count(), 0);
        assert!(view.rooms.is_empty(), "nothing is kept of empty rooms");
    }

    #[test]
    fn a_server_that_is_gone_takes_its_members_along() {
        let mut view = View::new(10);
        tell(
            &mut view,
            "a",
            vec![row("r", "ann", Some("1")), row("s", "ann", Some("2"))],
        );
        tell(&mut view, "b", vec![row("r", "ben", Some("3"))]);
        let mut touched = BTreeSet::new();
        view.remove(&"a".into(), &mut touched);
        assert_eq!(texts(view.publish(touched)), ["-ann", "-ann"]);
        assert_eq!(
            view.told("r").0.members[0].user,
            std::sync::Arc::from("ben")
        );
    }

    #[test]
    fn of_more_than_are_kept_who_came_first_is_told() {
        let mut view = View::new(2);
        let all = ["4", "3", "1", "2"].map(|n| row("r", n, Some(n)));
        assert_eq!(tell(&mut view, "a", all.into()), ["+1", "+2"]);
        assert!(view.told("r").0.more);
        assert_eq!(
            tell(&mut view, "a", vec![row("r", "1", None)]),
            ["-1", "+3"]
        );
        assert_eq!(
            tell(&mut view, "a", vec![row("r", "2", None)]),
            ["-2", "+4"]
        );
        assert!(!view.told("r").0.more);
    }
}
