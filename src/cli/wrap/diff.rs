//! What would change in a file, as a unified diff in which no key can be read.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use similar::{Algorithm, DiffTag, capture_diff_slices, group_diff_ops};
use zeroize::Zeroizing;

use super::keys::has_random_part;
use super::tree::{Data, Format, Node};
use crate::config;
use crate::console::visible;
use crate::credential::shape;

/// Lines that are shown around a change.
const AROUND: usize = 3;
/// Members whose values are not shown, whatever they are called.
const CLOSED: &[&str] = &[
    "env",
    "envs",
    "environment",
    "headers",
    "http_headers",
    "oauth",
    "auth",
    "oauthAccount",
    "primaryApiKey",
    "inputs",
];

/// Whose a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// A client's: whatever may be a key is overwritten.
    Client(Format),
    /// Ours, where keys stand by the names of secrets. What may be one all the same stands in `env` and `headers`, and
    /// in addresses.
    Configuration,
}

/// The difference of two texts of a file. Equal texts are nothing. `keys` are shown nowhere.
pub fn unified(path: &Path, of: Of, before: &str, after: &str, keys: &[Zeroizing<String>]) -> String {
    let closed = |text: &str| match of {
        Of::Client(format) => closed(format, text, keys, |root, out| hide(root, false, out)),
        Of::Configuration => closed(Format::Yaml, text, keys, hide_plain),
    };
    let (before, after) = (closed(before), closed(after));
    let lines = |text: &str| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<String>>();
    let (old, new) = (lines(&before), lines(&after));
    let ops = capture_diff_slices(Algorithm::Myers, &old, &new);
    let mut out = String::new();
    for (n, group) in group_diff_ops(ops, AROUND).into_iter().enumerate() {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        if n == 0 {
            let path = visible::line(&path.display().to_string());
            let from = if before.is_empty() { "/dev/null" } else { &path };
            let to = if after.is_empty() { "/dev/null" } else { &path };
            _ = write!(out, "--- {from}\n+++ {to}\n");
        }
        let range = |from: Range<usize>, to: Range<usize>| {
            let count = to.end - from.start;
            format!("{},{count}", if count == 0 { from.start } else { from.start + 1 })
        };
        let (old_at, new_at) = (range(first.old_range(), last.old_range()), range(first.new_range(), last.new_range()));
        _ = writeln!(out, "@@ -{old_at} +{new_at} @@");
        for op in group {
            let (gone, come) =
                (old.get(op.old_range()).unwrap_or_default(), new.get(op.new_range()).unwrap_or_default());
            let (kept, gone, come): (&[String], &[String], &[String]) = match op.tag() {
                DiffTag::Equal => (gone, &[], &[]),
                DiffTag::Delete | DiffTag::Insert | DiffTag::Replace => (&[], gone, come),
            };
            for (mark, lines) in [(' ', kept), ('-', gone), ('+', come)] {
                for line in lines {
                    let said = line.strip_suffix('\n').unwrap_or(line);
                    let said = said.strip_suffix('\r').unwrap_or(said);
                    _ = writeln!(out, "{mark}{}", shown(said));
                    if !line.ends_with('\n') {
                        out.push_str("\\ No newline at end of file\n");
                    }
                }
            }
        }
    }
    out
}

/// Spaces and tabs are what indentation is made of, and stay.
pub fn shown(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if c == '\t' || visible::is_visible(c) {
            out.push(c);
        } else {
            out.push_str(&visible::line(c.encode_utf8(&mut [0; 4])));
        }
    }
    out
}

/// The text with every value overwritten that is or may be a key; its length stays the same.
fn closed(
    format: Format,
    text: &str,
    keys: &[Zeroizing<String>],
    hide: impl Fn(&Node, &mut Vec<Range<usize>>),
) -> String {
    let mut spans = Vec::new();
    if let Ok(root) = format.read(text) {
        hide(&root, &mut spans);
    }
    let mut out = text.as_bytes().to_vec();
    for key in keys.iter().filter(|key| !key.is_empty()) {
        spans.extend(text.match_indices(key.as_str()).map(|(at, key)| at..at + key.len()));
    }
    for span in spans {
        let Some(value) = out.get_mut(span) else { continue };
        // The quotes stay, and so do line ends.
        let quoted = value.first().is_some_and(|byte| matches!(byte, b'"' | b'\''));
        let length = value.len();
        for (at, byte) in value.iter_mut().enumerate() {
            if !(matches!(*byte, b'\n' | b'\r') || (quoted && (at == 0 || at + 1 == length))) {
                *byte = b'*';
            }
        }
    }
    // Whole values are overwritten, so no character is cut.
    shape::mask(&String::from_utf8_lossy(&out)).into_owned()
}

/// Of our configuration.
fn hide_plain(node: &Node, out: &mut Vec<Range<usize>>) {
    out.extend(node.text().is_some_and(is_open).then(|| node.span.clone()));
    node.items().iter().for_each(|item| hide_plain(item, out));
    for member in node.members() {
        if matches!(member.name.as_str(), "env" | "headers") {
            let plain = member.value.members().iter().filter(|inner| inner.value.members().is_empty());
            out.extend(plain.map(|inner| inner.value.span.clone()));
        }
        hide_plain(&member.value, out);
    }
}

/// An address that may have a key in it: anywhere behind these marks, or as a part of its path.
fn is_open(text: &str) -> bool {
    text.contains("://") && (text.contains(['?', '@']) || has_random_part(text))
}

fn hide(node: &Node, hidden: bool, out: &mut Vec<Range<usize>>) {
    match &node.data {
        Data::Text(text) | Data::Other(text) => {
            out.extend((hidden || is_open(text)).then(|| node.span.clone()));
        }
        Data::List(items) => {
            let mut after_option = false;
            for item in items {
                let option = item.text().filter(|text| text.starts_with('-')).unwrap_or_default();
                let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
                let names = !name.is_empty()
                    && (config::names_a_key(name.trim_start_matches('-')) || matches!(name, "--header" | "-H"));
                let text = item.text().unwrap_or_default();
                let assigned = text.split_once(['=', ':']).is_some_and(|(name, _)| config::header_names_a_key(name));
                let whole = (names && value.is_some()) || (after_option && option.is_empty()) || assigned;
                hide(item, hidden || whole, out);
                after_option = names && value.is_none();
            }
        }
        Data::Map(members) => {
            for member in members {
                // What only names a secret of ours is for everybody to see.
                let named = member.value.get("secret").is_some() || member.name == "secret";
                let inside = CLOSED.contains(&member.name.as_str()) && member.value.text().is_none();
                let key = config::header_names_a_key(&member.name);
                hide(&member.value, (hidden || key || inside) && !named, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_changes_and_no_key() {
        let before = "{\n  // sk_live_CANARY7Q\n  \"a\": {\n    \"command\": \"npx\",\n    \"args\": [\"--token\", \"hunter2hunter2\"],\n    \"env\": {\"MY\": \"caf\\u00e9 hunter2\"}\n  }\n}";
        let after = before.replace("npx", "countersign");
        let diff = unified(Path::new("/x/a.json"), Of::Client(Format::Jsonc), before, &after, &[]);
        assert!(diff.starts_with("--- /x/a.json\n+++ /x/a.json\n@@ -1,7 +1,7 @@\n"), "{diff}");
        assert!(diff.contains("-    \"command\": \"npx\",\n+    \"command\": \"countersign\",\n"), "{diff}");
        assert!(!diff.contains("CANARY") && !diff.contains("hunter2"), "{diff}");
        assert_eq!(unified(Path::new("a"), Of::Client(Format::Jsonc), before, before, &[]), "");
    }

    #[test]
    fn an_address_that_may_have_a_key_in_it_is_not_shown() {
        let part = "zN9mQ4tXcV7bH2kL1pRw";
        for address in ["https://a/mcp/K", "https://a/K/mcp", "https://a/x?k=K", "https://a/x#/K", "sse+https://u:K@a"]
        {
            let address = address.replace('K', part);
            let client = format!("{{\"url\": \"{address}\", \"args\": [\"{address}\"]}}");
            let diff = unified(Path::new("/a.json"), Of::Client(Format::Jsonc), &client, "{}", &[]);
            assert!(diff.contains("*****") && !diff.contains(part), "{diff}");
            let config = format!("a: {{ url: \"{address}\", args: [\"{address}\"] }}\n");
            let diff = unified(Path::new("/c.yaml"), Of::Configuration, "", &config, &[]);
            assert!(diff.contains("*****") && !diff.contains(part), "{diff}");
        }
        let plain = "a: { url: \"https://a.example/v1/mcp\" }\n";
        assert!(
            unified(Path::new("/c.yaml"), Of::Configuration, "", plain, &[])
                .contains("+a: { url: \"https://a.example/v1/mcp\" }")
        );
    }

    /// A password that looks like nothing is not taken for a key, and is shown all the same to nobody.
    #[test]
    fn plain_values_of_the_configuration_are_not_shown() {
        let after = "version: 1\nservers:\n  a:\n    upstream:\n      stdio:\n        command: npx\n        env: { A: { secret: \
                     a_key }, PGPASS: hunter2 }\n  b:\n    upstream:\n      http:\n        headers:\n          X-Tenant: \
                     \"hunter2\"\n          Authorization: { secret: b_key, prefix: \"Bearer \" }\nsecrets:\n  a_key: { env: \
                     A_KEY }\n";
        let diff = unified(Path::new("/c.yaml"), Of::Configuration, "version: 1\n", after, &[]);
        assert!(!diff.contains("hunter2"), "{diff}");
        for line in [
            "+        env: { A: { secret: a_key }, PGPASS: ******* }\n",
            "+          X-Tenant: \"*******\"\n",
            "+          Authorization: { secret: b_key, prefix: \"Bearer \" }\n",
            "+  a_key: { env: A_KEY }\n",
        ] {
            assert!(diff.contains(line), "{line}{diff}");
        }
    }
}
