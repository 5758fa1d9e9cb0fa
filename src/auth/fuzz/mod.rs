//! Laws of tokens, keys, channels and grants, for fuzzing.

mod channels;
mod keys;
mod tokens;

pub(crate) use channels::channels;
pub(crate) use keys::keys;
pub(crate) use tokens::token;

/// Whether a pattern can come of a template: the same parts, with something in place of the braces, which is never a
/// wildcard.
fn is_of(template: &str, pattern: &str) -> bool {
    /// Stands for what was in braces; no name has it.
    const HOLE: char = '\u{1}';
    let mut shape = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else {
            return false;
        };
        shape.push_str(before);
        shape.push(HOLE);
        rest = after;
    }
    shape.push_str(rest);
    let (shape, pattern): (Vec<_>, Vec<_>) =
        (shape.split(':').collect(), pattern.split(':').collect());
    let fits = |(shape, part): (&&str, &&str)| match (shape.find(HOLE), shape.rfind(HOLE)) {
        (Some(first), Some(last)) => {
            let (head, tail) = (&shape[..first], &shape[last + 1..]);
            part.len() > head.len() + tail.len()
                && part.starts_with(head)
                && part.ends_with(tail)
                && !part.contains('*')
        }
        _ => shape == part,
    };
    shape.len() == pattern.len() && shape.iter().zip(&pattern).all(fits)
}
