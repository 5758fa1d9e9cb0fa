//! The types of a schema as they are written: `string`, `Task[]`, `'open' | 'done' | null`. Read, and not just passed on:
//! what comes out is a type, and nothing else that TypeScript might run.

use super::model::Type;

/// Words that are types by themselves.
const WORDS: [&str; 7] = [
    "string", "number", "boolean", "null", "unknown", "true", "false",
];

/// What others call them.
const ALIASES: [(&[&str], &str); 4] = [
    (
        &[
            "int", "integer", "float", "double", "i32", "i64", "u32", "u64", "f64", "bigint",
        ],
        "write number",
    ),
    (&["bool"], "write boolean"),
    (
        &["text", "str", "uuid", "date", "datetime", "timestamp"],
        "write string; a payload is JSON, and that is a text there",
    ),
    (
        &["any", "object", "json", "mixed"],
        "write unknown, or say what is in it",
    ),
];

/// Parentheses and brackets within each other.
const DEPTH_MAX: usize = 32;

/// A type, and the names of other types in it, or why it is none, in a sentence.
pub(super) fn parse(text: &str) -> Result<Type, String> {
    let mut parser = Parser {
        rest: text.trim_start(),
        depth: 0,
    };
    if parser.rest.is_empty() {
        return Err("a type is missing; write for example string".into());
    }
    let parsed = parser.union()?;
    match parser.rest.chars().next() {
        None => Ok(parsed),
        Some(',') => Err("several types are joined by |, as in string | null".into()),
        Some(')' | ']' | '>') => Err(format!("there is one {:?} too much", &parser.rest[..1])),
        Some(_) => Err(format!(
            "{:?} does not belong behind a type; types are joined by |",
            parser.rest
        )),
    }
}

/// The names a type mentions. With `deferred`, those in arrays and records, too, of which TypeScript need not know yet what
/// they are.
pub(super) fn names(of: &Type, deferred: bool, visit: &mut dyn FnMut(&str)) {
    match of {
        Type::Named(name) => visit(name),
        Type::Array(inner) | Type::Record(inner) if deferred => names(inner, deferred, visit),
        Type::Union(all) => all.iter().for_each(|one| names(one, deferred, visit)),
        Type::Object(members) if deferred => {
            for member in members {
                names(&member.r#type, deferred, visit);
            }
        }
        _ => {}
    }
}

/// What to write for a word that is no type, where that is known.
pub(super) fn advice(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    if word == "undefined" {
        return Some("what may be missing has a ? behind its name, as in \"done?\"");
    }
    let known = ALIASES
        .iter()
        .find(|(words, _)| words.contains(&word.as_str()));
    known.map(|(_, advice)| *advice)
}

/// The words, for suggestions.
pub(super) fn words<'a>() -> impl Iterator<Item = &'a str> {
    WORDS.into_iter()
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn union(&mut self) -> Result<Type, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!(
                "a type may be {DEPTH_MAX} deep; give a part of it a name in [types]"
            ));
        }
        self.take("|");
        let mut all = vec![self.array()?];
        while self.take("|") {
            all.push(self.array()?);
        }
        self.depth -= 1;
        Ok(Type::union(all))
    }

    fn array(&mut self) -> Result<Type, String> {
        let mut inner = self.single()?;
        let mut dimensions = 0;
        while self.take("[") {
            dimensions += 1;
            if dimensions > DEPTH_MAX {
                return Err(format!("a type may be {DEPTH_MAX} deep"));
            }
            self.expect("]", "[ needs its ] at once: string[]")?;
            inner = Type::Array(Box::new(inner));
        }
        Ok(inner)
    }

    fn single(&mut self) -> Result<Type, String> {
        if self.take("(") {
            let inner = self.union()?;
            self.expect(")", "a ( without its )")?;
            return Ok(inner);
        }
        match self.rest.chars().next() {
            None => Err("the type ends too early".into()),
            Some(quote @ ('\'' | '"')) => self.text(quote),
            Some('{') => {
                Err("members are written as a table: author = { name = \"string\" }".into())
            }
            Some('-' | '0'..='9') => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name(),
            Some(c) => Err(format!("{c:?} begins no type")),
        }
    }

    fn text(&mut self, quote: char) -> Result<Type, String> {
        let Some((text, behind)) = self.rest[1..].split_once(quote) else {
            return Err(format!("a {quote} without the second one"));
        };
        self.go_on(behind);
        Ok(Type::Text(text.to_owned()))
    }

    fn number(&mut self) -> Result<Type, String> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !"-.+".contains(c))
            .unwrap_or(self.rest.len());
        let (text, behind) = self.rest.split_at(end);
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || whole.len() > 1 && whole.starts_with('0')
        {
            return Err(format!("{text:?} is no number; write it as 42 or -0.5"));
        }
        self.go_on(behind);
        Ok(Type::word(text))
    }

    fn name(&mut self) -> Result<Type, String> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (name, behind) = self.rest.split_at(end);
        self.go_on(behind);
        match name {
            "Record" if self.take("<") => {
                let how = "a record is written Record<string, number>";
                self.expect("string", how)?;
                self.expect(",", how)?;
                let inner = self.union()?;
                self.expect(">", how)?;
                Ok(Type::Record(Box::new(inner)))
            }
            "Array" if self.rest.starts_with('<') => Err("an array is written string[]".into()),
            word if WORDS.contains(&word) => Ok(Type::word(word)),
            name => Ok(Type::Named(name.to_owned())),
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let Some(behind) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.go_on(behind);
        true
    }

    fn expect(&mut self, token: &str, how: &str) -> Result<(), String> {
        if self.take(token) {
            Ok(())
        } else {
            Err(how.to_owned())
        }
    }

    fn go_on(&mut self, behind: &'a str) {
        self.rest = behind.trim_start();
    }
}
