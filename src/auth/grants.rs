//! `Grants`: patterns a client may subscribe to; and the templates that make them from claims.
//!
//! What patterns match are subtrees of names, so that two of them are either one within the other or have nothing in
//! common: what a client gets of a pattern it asks for is again a list of patterns, and costs nothing at delivery.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::event::{ChannelPattern, for_each_pattern};

/// What may be subscribed to, or published to: patterns in the order of their text, none within another. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants(Arc<[ChannelPattern]>);

impl Grants {
    /// Those who have this may all.
    #[must_use]
    pub fn everything() -> Self {
        Self::new([ChannelPattern::everything()])
    }

    /// Those who have this may nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self::new([])
    }

    /// What any of these patterns matches.
    pub fn new(patterns: impl IntoIterator<Item = ChannelPattern>) -> Self {
        let mut all: Vec<_> = patterns.into_iter().collect();
        all.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        all.dedup();
        // O(n log n): whoever has a token with a thousand grants may show it again and again.
        let mut kept = all.clone();
        kept.retain(|pattern| !is_within_another(&all, pattern));
        // Without an allocation where there are none.
        Self(if kept.is_empty() {
            Arc::default()
        } else {
            kept.into()
        })
    }

    /// The patterns, in the order of their text.
    #[must_use]
    pub fn patterns(&self) -> &[ChannelPattern] {
        &self.0
    }

    /// Whether events on this channel may be received.
    #[must_use]
    pub fn cover(&self, channel: &str) -> bool {
        visits(channel, |pattern| has(&self.0, pattern))
    }

    /// What of a pattern is granted: itself, or what of it is, or nothing. O(log n) and what it gives.
    #[must_use]
    pub fn narrow(&self, asked: &ChannelPattern) -> Vec<ChannelPattern> {
        if self.hold(asked) {
            return vec![asked.clone()];
        }
        if asked.as_str() == "*" {
            return self.0.to_vec();
        }
        // Their texts begin alike, so that they stand together.
        let above = format!("{}:", below(asked));
        let first = self
            .0
            .partition_point(|pattern| pattern.as_str() < above.as_str());
        let within = self.0[first..].iter();
        within
            .take_while(|pattern| pattern.as_str().starts_with(&above))
            .cloned()
            .collect()
    }

    /// Whether all that a pattern matches is granted.
    #[must_use]
    pub fn hold(&self, pattern: &ChannelPattern) -> bool {
        has(&self.0, pattern.as_str()) || is_within_another(&self.0, pattern)
    }
}

/// Whether a pattern is among these, which are in order.
fn has(sorted: &[ChannelPattern], pattern: &str) -> bool {
    sorted
        .binary_search_by(|known| known.as_str().cmp(pattern))
        .is_ok()
}

/// Whether one of these, which are in order, is wider.
fn is_within_another(sorted: &[ChannelPattern], pattern: &ChannelPattern) -> bool {
    let own = pattern.as_str();
    own != "*" && visits(below(pattern), |wider| wider != own && has(sorted, wider))
}

/// The name that a pattern is about.
fn below(pattern: &ChannelPattern) -> &str {
    let text = pattern.as_str();
    text.strip_suffix(":*").unwrap_or(text)
}

/// Whether it is so for any of the patterns that match a name.
fn visits(name: &str, mut is_so: impl FnMut(&str) -> bool) -> bool {
    let mut any = false;
    for_each_pattern(name, &mut String::new(), |pattern| {
        any = any || is_so(pattern);
    });
    any
}

/// A grant with claims in it: `inbox:{sub}`, `project:{projects}:tasks`.
///
/// A claim is put in as one part of a name and nothing else: never a pattern, never two parts. Of a list each entry
/// makes a grant of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTemplate {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Claim(String),
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// Stands for a claim while a template is checked.
const SAMPLE: &str = "x";

/// Most grants a template makes of the lists in a token.
const EXPANSIONS_MAX: usize = 1000;

impl GrantTemplate {
    /// Reads a pattern with claims in braces.
    ///
    /// # Errors
    /// When braces do not match, or what is around them makes no pattern.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let Some((claim, after)) = rest[open..]
                .strip_prefix('{')
                .and_then(|rest| rest.split_once('}'))
            else {
                return Err(TemplateError(format!(
                    "{text:?}: each {{ needs its }}, as in inbox:{{sub}}"
                )));
            };
            if claim.is_empty() || claim.contains('{') {
                return Err(TemplateError(format!(
                    "{text:?}: name one claim between braces, as in inbox:{{sub}}"
                )));
            }
            if open > 0 {
                pieces.push(Piece::Text(rest[..open].to_owned()));
            }
            pieces.push(Piece::Claim(claim.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let template = Self {
            text: text.to_owned(),
            pieces,
        };
        let sample = template.fill(&mut |_| SAMPLE.to_owned());
        match ChannelPattern::parse(&sample) {
            Ok(_) => Ok(template),
            Err(error) => Err(TemplateError(format!("{text:?}: {error}"))),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The claims in it.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Claim(claim) => Some(&**claim),
        })
    }

    /// What it grants to whoever has these claims: nothing where a claim is missing, or is not a single part of a name.
    #[must_use]
    pub fn expand(&self, claims: &Map<String, Value>) -> Vec<ChannelPattern> {
        let mut filled = vec![String::new()];
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.iter_mut().for_each(|name| name.push_str(text)),
                Piece::Claim(claim) => {
                    let values = parts_of(claims, claim);
                    filled = filled
                        .iter()
                        .flat_map(|name| values.iter().map(move |value| format!("{name}{value}")))
                        .take(EXPANSIONS_MAX)
                        .collect();
                }
            }
        }
        filled
            .iter()
            .filter_map(|name| ChannelPattern::parse(name).ok())
            .collect()
    }

    fn fill(&self, value: &mut impl FnMut(&str) -> String) -> String {
        let fill = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Claim(claim) => value(claim),
        };
        self.pieces.iter().map(fill).collect()
    }
}

/// The parts of names that a claim has: of a text or a number one, of a list one for each entry.
fn parts_of(claims: &Map<String, Value>, claim: &str) -> Vec<String> {
    let Some(value) = find(claims, claim) else {
        return Vec::new();
    };
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_i64().map(|number| number.to_string()),
        _ => None,
    };
    let values = match value {
        Value::Array(values) => values.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect::<Vec<_>>(),
    };
    values.into_iter().filter(|value| is_part(value)).collect()
}

/// The claim of this name, or, if there is none, what the name says as a path: `org.id`.
pub(super) fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// Whether a text is one part of a name. With a colon it would lie below the channel of somebody else, and `*` is everybody.
pub(crate) fn is_part(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.@/-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(text: &str) -> ChannelPattern {
        ChannelPattern::parse(text).expect("valid")
    }

    fn grants(patterns: &[&str]) -> Grants {
        Grants::new(patterns.iter().map(|text| pattern(text)))
    }

    fn texts(patterns: &[ChannelPattern]) -> Vec<&str> {
        patterns.iter().map(ChannelPattern::as_str).collect()
    }

    #[test]
    fn what_is_asked_for_is_narrowed_to_what_is_granted() {
        let own = grants(&["tasks", "inbox:ann", "project:7:*", "inbox:ann:old"]);
        assert_eq!(texts(own.patterns()), ["inbox:ann", "project:7:*", "tasks"]);
        for (asked, got) in [
            ("tasks", vec!["tasks"]),
            ("tasks:1", vec!["tasks:1"]),
            ("*", vec!["inbox:ann", "project:7:*", "tasks"]),
            ("inbox", vec!["inbox:ann"]),
            ("inbox:*", vec!["inbox:ann"]),
            ("inbox:bob", vec![]),
            ("inbox:annabel", vec![]),
            ("project:7", vec!["project:7:*"]),
            ("project:7:*", vec!["project:7:*"]),
            ("project:7:tasks", vec!["project:7:tasks"]),
            ("project:8", vec![]),
            ("task", vec![]),
        ] {
            assert_eq!(texts(&own.narrow(&pattern(asked))), got, "{asked}");
        }
        assert_eq!(texts(&Grants::everything().narrow(&pattern("*"))), ["*"]);
        assert!(Grants::nothing().narrow(&pattern("*")).is_empty());
    }

    /// The rule itself, for random grants, requests and channels: what is received is what was asked for and is granted.
    #[test]
    fn nothing_is_received_that_is_not_granted_and_nothing_granted_is_withheld() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let names = |random: &mut fastrand::Rng| {
            let parts = ["a", "b", "ab"];
            let depth = random.usize(1..=3);
            let name: Vec<_> = (0..depth).map(|_| parts[random.usize(..3)]).collect();
            name.join(":")
        };
        let patterns = |random: &mut fastrand::Rng| match random.u8(..10) {
            0 => pattern("*"),
            1..4 => pattern(&format!("{}:*", names(random))),
            _ => pattern(&names(random)),
        };
        for _ in 0..20_000 {
            let given: Vec<_> = (0..random.usize(..4))
                .map(|_| patterns(&mut random))
                .collect();
            let granted = Grants::new(given.clone());
            let asked = patterns(&mut random);
            let got = granted.narrow(&asked);
            let channel = names(&mut random);
            let may = given.iter().any(|grant| grant.matches(&channel));
            assert_eq!(
                granted.cover(&channel),
                may,
                "seed {seed}: {given:?} {channel}"
            );
            assert_eq!(
                got.iter().any(|pattern| pattern.matches(&channel)),
                may && asked.matches(&channel),
                "seed {seed}: {given:?}, asked {asked:?}, channel {channel}"
            );
        }
    }

    /// As they would be without the order: each pattern against each.
    #[test]
    fn of_many_patterns_the_widest_are_kept_and_found() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..300 {
            let some = |random: &mut fastrand::Rng| {
                // '-' and '.' come before ':' in the order of texts, letters after it.
                let parts = ["a", "a-", "a.b", "ab", "B"];
                let depth = random.usize(1..=3);
                let name: Vec<_> = (0..depth).map(|_| parts[random.usize(..5)]).collect();
                match random.u8(..40) {
                    0 => pattern("*"),
                    1..15 => pattern(&format!("{}:*", name.join(":"))),
                    _ => pattern(&name.join(":")),
                }
            };
            let given: Vec<_> = (0..random.usize(..40)).map(|_| some(&mut random)).collect();
            let granted = Grants::new(given.clone());
            let mut widest: Vec<_> = given
                .iter()
                .filter(|one| !given.iter().any(|other| other.is_wider_than(one)))
                .cloned()
                .collect();
            widest.sort();
            widest.dedup();
            assert_eq!(granted.patterns(), widest, "seed {seed}");
            for _ in 0..20 {
                let asked = some(&mut random);
                let whole = widest
                    .iter()
                    .any(|own| *own == asked || own.is_wider_than(&asked));
                let within = widest.iter().filter(|own| asked.is_wider_than(own));
                let expected = if whole {
                    vec![asked.clone()]
                } else {
                    within.cloned().collect()
                };
                assert_eq!(granted.hold(&asked), whole, "seed {seed}: {asked:?}");
                assert_eq!(granted.narrow(&asked), expected, "seed {seed}: {asked:?}");
            }
        }
    }

    #[test]
    fn a_claim_fills_one_part_and_no_more() {
        let template = |text| GrantTemplate::parse(text).expect("valid");
        let claims = |value: Value| {
            json!({ "sub": value })
                .as_object()
                .cloned()
                .expect("an object")
        };
        let expand = |value| {
            let patterns = template("inbox:{sub}").expand(&claims(value));
            texts(&patterns).join(" ")
        };
        assert_eq!(expand(json!("ann")), "inbox:ann");
        assert_eq!(expand(json!(42)), "inbox:42");
        assert_eq!(expand(json!("ann@example.org")), "inbox:ann@example.org");
        assert_eq!(expand(json!(["a", "*", "b"])), "inbox:a inbox:b");
        for bad in [
            "*", "", "a:b", "a b", ":", "a:*", "ä", "a\0", "{sub}", "a\n",
        ] {
            assert_eq!(expand(json!(bad)), "", "{bad:?}");
        }
        for bad in [
            json!(null),
            json!(true),
            json!({"a": 1}),
            json!(1.5),
            json!([["a"]]),
        ] {
            assert_eq!(expand(bad.clone()), "", "{bad}");
        }
        assert!(
            template("inbox:{user}")
                .expand(&claims(json!("ann")))
                .is_empty()
        );
        let nested = json!({"org": {"id": 7}, "teams": ["x", "y"]});
        let nested = nested.as_object().expect("an object");
        assert_eq!(
            texts(&template("org:{org.id}:team:{teams}:*").expand(nested)),
            ["org:7:team:x:*", "org:7:team:y:*"]
        );
        assert_eq!(texts(&template("tasks").expand(nested)), ["tasks"]);
    }

    #[test]
    fn a_template_out_of_rule_says_why() {
        for bad in [
            "",
            "inbox:{sub",
            "inbox:sub}",
            "inbox:{}",
            "inbox:{{sub}}",
            "in box:{sub}",
            "*{sub}",
            "{sub}*",
        ] {
            let error = GrantTemplate::parse(bad).expect_err(bad);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }
}
