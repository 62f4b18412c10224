//! Keys that stand in a client's file beside the entry that they have moved out of. In a comment nobody needs one: a mark
//! takes its place, and an unwrap puts it back. In what the file says it stays, for something else may need it, and is named.
//!
//! Invariant: what a file says is the same before and after.

use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::tree::Format;
use crate::credential::store;

/// A file in which a key stands more often is none that anybody wrote.
const MAX: usize = 200;

/// What stands in the place of a key.
fn mark(name: &str) -> String {
    format!("[secret:{name}]")
}

/// A file's text with marks where its comments had keys, and the names of those.
pub fn masked(
    format: Format,
    text: &str,
    keys: &[(String, Zeroizing<String>)],
) -> anyhow::Result<(String, Vec<String>)> {
    let mut keys: Vec<_> = keys.iter().collect();
    // A key may be a part of another one.
    keys.sort_by_key(|(_, key)| std::cmp::Reverse(key.len()));
    let (mut out, mut names) = (text.to_owned(), Vec::new());
    for (name, key) in keys {
        // Where the mark stands already, nobody could tell later what was a key.
        if text.contains(&mark(name)) {
            continue;
        }
        let (changed, count) = swapped(format, &out, key, &mark(name))?;
        if count > 0 {
            names.push(name.clone());
            out = changed;
        }
    }
    Ok((out, names))
}

/// The text with the keys back where the marks are.
pub fn restored(format: Format, text: &str, names: &[String], state_dir: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut out = Zeroizing::new(text.to_owned());
    let folder = store::folder(state_dir);
    for name in names {
        let secret = store::get(&folder, name)?.with_context(|| {
            format!("its key is no longer stored: countersign secret set {name}, then unwrap again")
        })?;
        out = Zeroizing::new(swapped(format, &out, &mark(name), secret.expose())?.0);
    }
    Ok(out)
}

/// One text for another wherever that changes nothing of what the file says, and how often that was.
fn swapped(format: Format, text: &str, from: &str, to: &str) -> anyhow::Result<(String, usize)> {
    if from.is_empty() || !text.contains(from) {
        return Ok((text.to_owned(), 0));
    }
    let says = format.read(text)?.digest();
    let (mut out, mut at, mut count) = (text.to_owned(), 0, 0);
    for tried in 0.. {
        let Some(next) = out.get(at..).and_then(|rest| rest.find(from)) else { break };
        if tried == MAX {
            bail!("its key stands in the file more than {MAX} times: take it out of the comments, and wrap again");
        }
        let (start, end) = (at + next, at + next + from.len());
        let (before, after) = (out.get(..start).unwrap_or_default(), out.get(end..).unwrap_or_default());
        let other = format!("{before}{to}{after}");
        if format.read(&other).is_ok_and(|root| root.digest() == says) {
            (out, at, count) = (other, start + to.len(), count + 1);
        } else {
            at = end;
        }
    }
    Ok((out, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "tok-CANARY12345678";

    fn keys() -> Vec<(String, Zeroizing<String>)> {
        vec![("a".to_owned(), Zeroizing::new(KEY.to_owned()))]
    }

    #[test]
    fn a_key_goes_out_of_comments_alone_and_comes_back() {
        for (format, text, kept) in [
            (Format::Jsonc, "{ // KEY, or KEY\n \"a\": 1 /* KEY*/, \"b\": \"KEY\", \"KEY\": 2 }\n", 2),
            (Format::Toml, "# KEY\n[a]\nb = \"x\" # KEY\nc = \"# KEY\"\n", 1),
            (Format::Yaml, "# KEY\na: x # KEY\nb: \"x # KEY\"\n", 1),
        ] {
            let text = text.replace("KEY", KEY);
            let (masked, names) = masked(format, &text, &keys()).unwrap();
            assert_eq!(names, ["a"]);
            assert_eq!(masked.matches(KEY).count(), kept, "{masked}");
            assert_eq!(format.read(&masked).unwrap().digest(), format.read(&text).unwrap().digest());
            assert_eq!(swapped(format, &masked, &mark("a"), KEY).unwrap().0, text);
        }
        let clean = "{\"b\": \"tok-CANARY12345678\"}";
        assert_eq!(masked(Format::Jsonc, clean, &keys()).unwrap(), (clean.to_owned(), Vec::new()));
    }

    #[test]
    fn a_mark_that_was_there_is_no_key() {
        let text = format!("// {KEY} [secret:a]\n{{}}");
        assert_eq!(masked(Format::Jsonc, &text, &keys()).unwrap(), (text.clone(), Vec::new()));
        let many = format!("// {}\n{{}}", format!("{KEY} ").repeat(MAX + 1));
        assert!(masked(Format::Jsonc, &many, &keys()).is_err());
    }
}
