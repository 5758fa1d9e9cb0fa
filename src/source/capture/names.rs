//! Names of tables, triggers and functions: read from the command line, quoted for SQL, kept short enough.

use super::Operation;

/// Longest name in Postgres, in bytes. SQLite has no limit, and the same names.
const NAME_BYTES_MAX: usize = 63;

/// A name, with its schema where one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Name {
    pub schema: Option<String>,
    pub name: String,
}

impl Name {
    /// What a text may mean, the likeliest first: the name as it is, `schema.name`, and either with the quotes of SQL.
    pub fn readings(text: &str) -> Vec<Self> {
        let mut readings = vec![Self {
            schema: None,
            name: text.to_owned(),
        }];
        if let Some((schema, name)) = text.split_once('.')
            && !schema.is_empty()
            && !name.is_empty()
        {
            readings.push(Self {
                schema: Some(schema.to_owned()),
                name: name.to_owned(),
            });
        }
        if let Some(name) = Self::unquote(text) {
            readings.push(name);
        }
        readings
    }

    /// Reads `"a""b"."c"`, of which either part may go without quotes.
    fn unquote(text: &str) -> Option<Self> {
        if !text.contains('"') {
            return None;
        }
        let mut parts = vec![String::new()];
        let mut quoted = false;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let part = parts.last_mut()?;
            match letter {
                '"' if quoted && letters.next_if_eq(&'"').is_some() => part.push('"'),
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                _ => part.push(letter),
            }
        }
        if quoted || parts.iter().any(String::is_empty) {
            return None;
        }
        let name = parts.pop()?;
        match parts.len() {
            0 => Some(Self { schema: None, name }),
            1 => Some(Self {
                schema: parts.pop(),
                name,
            }),
            _ => None,
        }
    }

    /// As SQL writes it.
    #[cfg(any(feature = "postgres", test))]
    pub fn quoted(&self) -> String {
        let name = quote_identifier(&self.name);
        match &self.schema {
            Some(schema) => format!("{}.{name}", quote_identifier(schema)),
            None => name,
        }
    }
}

/// An identifier, whatever is in it.
pub(in crate::source) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name of a trigger or function of a table: `rowcast_tasks_insert`. A long name of a table is cut, and told from
/// others that begin so by a hash.
pub(in crate::source) fn own_name(table: &str, ending: &str) -> String {
    let name = format!("rowcast_{table}_{ending}");
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let hash = format!("{:08x}", fnv(table));
    let mut end = NAME_BYTES_MAX - "rowcast____".len() - hash.len() - ending.len();
    while !table.is_char_boundary(end) {
        end -= 1;
    }
    format!("rowcast_{}_{hash}_{ending}", &table[..end])
}

/// The name of the trigger of an operation.
pub(in crate::source) fn trigger_name(table: &str, operation: Operation) -> String {
    own_name(table, operation.word())
}

/// FNV-1a, 32 bits: the same in every version, which the hashes of std are not.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Of some names those that one may have meant, the likeliest first.
pub(in crate::source) fn similar<'a>(
    meant: &str,
    names: impl Iterator<Item = &'a str>,
) -> Vec<&'a str> {
    let meant = meant.to_lowercase();
    let mut near: Vec<_> = names
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = distance(&meant, &lower);
            // Very short names are in many others.
            let related = lower.len().min(meant.len()) >= 4
                && (lower.contains(&meant) || meant.contains(&lower));
            (distance <= 2.max(meant.len() / 3) || related).then_some((distance, name))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).take(5).collect()
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<_> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_sql_and_as_it_is() {
        let names = |text| {
            Name::readings(text)
                .iter()
                .map(Name::quoted)
                .collect::<Vec<_>>()
        };
        assert_eq!(names("tasks"), [r#""tasks""#]);
        assert_eq!(
            names("shop.tasks"),
            [r#""shop.tasks""#, r#""shop"."tasks""#]
        );
        let last = |text| names(text).pop();
        assert_eq!(
            last(r#""we""ird"."a.b""#).as_deref(),
            Some(r#""we""ird"."a.b""#)
        );
        assert_eq!(
            last(r#"shop."Order""#).as_deref(),
            Some(r#""shop"."Order""#)
        );
        // Not in order as SQL: only ever as it is.
        assert_eq!(last(r#"we"ird"#).as_deref(), Some(r#""we""ird""#));
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) = ("ä".repeat(40), format!("{}b", "ä".repeat(39)));
        for ending in ["insert", "truncate", "json"] {
            let (a, b) = (own_name(&a, ending), own_name(&b, ending));
            assert!(a.len() <= NAME_BYTES_MAX && b.len() <= NAME_BYTES_MAX);
            assert!(a.ends_with(ending) && a != b);
        }
        assert_eq!(own_name("tasks", "insert"), "rowcast_tasks_insert");
    }

    #[test]
    fn similar_names_are_found() {
        let names = ["tasks", "users", "task_labels", "x"];
        assert_eq!(similar("task", names.into_iter()), ["tasks", "task_labels"]);
        assert_eq!(similar("tsaks", names.into_iter()), ["tasks"]);
        assert!(similar("invoices", names.into_iter()).is_empty());
    }
}
