//! Keys that stand in a client's file beside the entry that they have moved out of. In a comment nobody needs one: a mark
//! takes its place, and an unwrap puts it back. In what the file says it stays, for something else may need it, and is named.
//!
//! Invariant: what a file says is the same before and after.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::tree::Format;
use crate::credential::store;

/// A file with a key in more comments is none that anybody wrote.
const MAX: usize = 200;
/// Nor is one in which it stands more often, in comments or not; each time costs a reading of the file.
const MAX_LOOKED: usize = 2_000;

/// A secret whose key stood in comments, and in how many places a mark stands for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masked {
    pub name: String,
    pub count: usize,
}

/// What stands in the place of a key.
fn mark(name: &str) -> String {
    format!("[secret:{name}]")
}

/// A file's text with marks where its comments had keys, and how many of each. `before` is the text before anything was
/// changed in it.
pub fn masked(
    format: Format,
    before: &str,
    text: &str,
    keys: &[(String, Zeroizing<String>)],
) -> anyhow::Result<(String, Vec<Masked>)> {
    let mut keys: Vec<_> = keys.iter().collect();
    // A key may be a part of another one.
    keys.sort_by_key(|(_, key)| std::cmp::Reverse(key.len()));
    let (mut out, mut all) = (text.to_owned(), Vec::new());
    for (name, key) in keys {
        // Where the mark stands already, nobody could tell later what was a key.
        if [before, text].iter().any(|text| text.contains(&mark(name))) {
            continue;
        }
        let (changed, count) = swapped(format, &out, key, &mark(name))?;
        if count > 0 {
            all.push(Masked { name: name.clone(), count });
            out = changed;
        }
    }
    Ok((out, all))
}

/// The text with the keys back where the marks are. Comments that are gone stay gone.
pub fn restored(format: Format, text: &str, all: &[Masked], state_dir: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut out = Zeroizing::new(text.to_owned());
    let folder = store::folder(state_dir);
    for Masked { name, count: wrote } in all {
        if !out.contains(&mark(name)) {
            continue;
        }
        let secret = store::get(&folder, name)?.with_context(|| {
            format!("its key is no longer stored: countersign secret set {name}, then unwrap again")
        })?;
        let (changed, count) = swapped(format, &out, &mark(name), secret.expose())?;
        if count != 0 && count != *wrote {
            bail!(
                "comments of the file have {} in {count} places where `wrap` wrote it in {wrote}: which of them stood for the \
                 key is not certain\nhelp: leave {wrote} of them, or none, and unwrap again",
                mark(name)
            );
        }
        out = Zeroizing::new(changed);
    }
    Ok(out)
}

/// One text for another wherever that changes nothing of what the file says, and how often that was.
fn swapped(format: Format, text: &str, from: &str, to: &str) -> anyhow::Result<(String, usize)> {
    if from.is_empty() || !text.contains(from) || !may_have_comments(format, text) {
        return Ok((text.to_owned(), 0));
    }
    let says = format.read(text)?.digest();
    let (mut out, mut at, mut count) = (text.to_owned(), 0, 0);
    for looked in 0.. {
        let Some(next) = out.get(at..).and_then(|rest| rest.find(from)) else { break };
        let (start, end) = (at + next, at + next + from.len());
        let (before, after) = (out.get(..start).unwrap_or_default(), out.get(end..).unwrap_or_default());
        let other = format!("{before}{to}{after}");
        if format.read(&other).is_ok_and(|root| root.digest() == says) {
            (out, at, count) = (other, start + to.len(), count + 1);
        } else {
            at = end;
        }
        if count > MAX || looked == MAX_LOOKED {
            bail!("its key stands in too many places of the file: take it out of the comments, and wrap again");
        }
    }
    Ok((out, count))
}

/// JSON without any is what most clients write, and long.
fn may_have_comments(format: Format, text: &str) -> bool {
    match format {
        Format::Jsonc => serde_json::from_str::<serde::de::IgnoredAny>(text).is_err(),
        Format::Toml | Format::Yaml => text.contains('#'),
    }
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
            let (masked, all) = masked(format, &text, &text, &keys()).unwrap();
            let [Masked { name, count }] = all.as_slice() else { panic!("{all:?}") };
            assert_eq!((name.as_str(), *count), ("a", text.matches(KEY).count() - kept));
            assert_eq!(masked.matches(KEY).count(), kept, "{masked}");
            assert_eq!(format.read(&masked).unwrap().digest(), format.read(&text).unwrap().digest());
            assert_eq!(swapped(format, &masked, &mark("a"), KEY).unwrap().0, text);
        }
        let clean = "{\"b\": \"tok-CANARY12345678\"}";
        assert_eq!(masked(Format::Jsonc, clean, clean, &keys()).unwrap(), (clean.to_owned(), Vec::new()));
    }

    #[test]
    fn a_mark_that_was_there_is_no_key() {
        let text = format!("// {KEY} [secret:a]\n{{}}");
        let clean = format!("// {KEY}\n{{}}");
        for (before, after) in [(&text, &text), (&text, &clean), (&clean, &text)] {
            assert_eq!(masked(Format::Jsonc, before, after, &keys()).unwrap(), (after.clone(), Vec::new()));
        }
        let masked = |text: &str| masked(Format::Jsonc, text, text, &keys());
        assert!(masked(&format!("// {}\n{{}}", format!("{KEY} ").repeat(MAX + 1))).is_err());
        let said = format!("{{ \"a\": [{}] }} // {KEY}", vec![format!("\"{KEY}\""); MAX + 1].join(","));
        assert_eq!(masked(&said).unwrap().1, [Masked { name: "a".to_owned(), count: 1 }]);
    }
}
