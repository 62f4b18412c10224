//! Whatever is around an entry and however it is written: a change touches the entry alone, and the text of the entry
//! put back is the file as it was.

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

/// How a generated file looks.
#[derive(Clone, Debug)]
struct Look {
    newline: &'static str,
    indent: &'static str,
    comments: bool,
    commas: bool,
    ended: bool,
    blank: bool,
}

fn looks() -> impl Strategy<Value = Look> {
    let newline = prop_oneof![Just("\n"), Just("\r\n")];
    let indent = prop_oneof![Just("  "), Just("    "), Just("\t")];
    (newline, indent, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(newline, indent, comments, commas, ended, blank)| Look { newline, indent, comments, commas, ended, blank },
    )
}

/// Members of an entry, some of which change; others before and after it.
fn members() -> impl Strategy<Value = Vec<&'static str>> {
    let all = vec!["command", "args", "env", "cwd", "timeout", "trust", "note"];
    subsequence(all, 1..=7).prop_shuffle()
}

fn changes(http: bool) -> Vec<Change> {
    let text = |text: &str| Value::Text(text.to_owned());
    if http {
        let headers = Value::Map(vec![("Authorization".to_owned(), "Bearer \"x\" é".to_owned())]);
        return vec![
            Change::Set("url", text("http://127.0.0.1:8377/mcp/x")),
            Change::Set("headers", headers),
            Change::Remove("command"),
            Change::Remove("args"),
            Change::Remove("env"),
        ];
    }
    vec![
        Change::Set("command", text("/usr/bin/counter sign")),
        Change::Set("args", Value::List(vec!["connect".to_owned(), "größe".to_owned()])),
        Change::Remove("env"),
        Change::Remove("cwd"),
    ]
}

fn path(format: Format) -> Vec<String> {
    let section = if format == Format::Toml { "mcp_servers" } else { "mcpServers" };
    vec![section.to_owned(), "the one".to_owned()]
}

fn json(look: &Look, entry: &[&str], before: usize, after: usize) -> String {
    let (newline, pad) = (look.newline, look.indent);
    let value = |member: &str| match member {
        "args" => format!("[{newline}{pad}\"-y\", \"[]{{}}\"{newline}]"),
        "env" => "{ \"KEY\": \"a } b // c\" }".to_owned(),
        "timeout" => "15.50".to_owned(),
        "trust" => "true".to_owned(),
        _ => "\"caf\\u00e9 ß /* no */\"".to_owned(),
    };
    let comment = |n: usize| {
        if look.comments && n.is_multiple_of(2) { format!("{pad}// number {n}{newline}") } else { String::new() }
    };
    let join = |lines: Vec<String>| {
        let last = if look.commas { "," } else { "" };
        lines.join(&format!(",{newline}")) + last + newline
    };
    let inner =
        entry.iter().enumerate().map(|(n, name)| format!("{}{pad}{pad}\"{name}\": {}", comment(n), value(name)));
    let entry = format!("{pad}\"the one\": {{{newline}{}{pad}}}", join(inner.collect()));
    let other = |n: usize| format!("{}{pad}\"other {n}\": {{\"command\":\"x\"}}", comment(n));
    let all = (0..before).map(other).chain([entry]).chain((before..before + after).map(other));
    let end = if look.ended { newline } else { "" };
    let all: Vec<String> = all.collect();
    format!("{{{newline}\"a\": 1,{newline}\"mcpServers\": {{{newline}{}}}{newline}}}{end}", join(all))
}

fn toml(look: &Look, entry: &[&str], before: usize, after: usize) -> String {
    let newline = look.newline;
    let comment =
        |n: usize| if look.comments && n.is_multiple_of(2) { format!("# number {n}{newline}") } else { String::new() };
    let blank = if look.blank { newline } else { "" };
    let other =
        |n: usize| format!("{}[mcp_servers.\"other {n}\"]{newline}command = 'x' # x{newline}{blank}", comment(n));
    let (mut lines, mut tables) = (String::new(), String::new());
    for (n, name) in entry.iter().enumerate() {
        match *name {
            "env" if n.is_multiple_of(2) => {
                tables =
                    format!("{blank}{}[mcp_servers.\"the one\".env]{newline}KEY = \"a ] b # c\"{newline}", comment(n));
            }
            "env" => lines += &format!("{}env = {{ KEY = \"a ] b\" }}{newline}", comment(n)),
            "args" => {
                lines += &format!("{}args = [{newline}  \"-y\", # yes{newline}  \"[]\",{newline}]{newline}", comment(n))
            }
            "timeout" => lines += &format!("timeout = 15_000{newline}"),
            "trust" => lines += &format!("trust = true  # why not{newline}"),
            name => lines += &format!("{}{name} = \"caf\\u00e9 ß # no\"{newline}", comment(n)),
        }
    }
    let entry = format!("[mcp_servers.\"the one\"] # it{newline}{lines}{tables}{blank}");
    let all: String = (0..before).map(other).chain([entry]).chain((before..before + after).map(other)).collect();
    let text = format!("model = \"x\"{newline}{blank}{all}");
    if look.ended { text } else { text.trim_end().to_owned() }
}

fn yaml(look: &Look, entry: &[&str], before: usize, after: usize) -> String {
    let newline = look.newline;
    let comment = |n: usize| {
        if look.comments && n.is_multiple_of(2) { format!("    # number {n}{newline}") } else { String::new() }
    };
    let other = |n: usize| format!("  other {n}:{newline}    cmd: x # x{newline}    args: [a, 'b']{newline}");
    let mut lines = String::new();
    for (n, name) in entry.iter().enumerate() {
        lines += &comment(n);
        lines += &match *name {
            "env" => {
                format!("    env:{newline}      KEY: a }} b{newline}      # inside{newline}      OTHER: 'c'{newline}")
            }
            "args" if n.is_multiple_of(2) => format!("    args:{newline}    - -y{newline}    - \"é: #\"{newline}"),
            "args" => format!("    args: [\"-y\", 'x']{newline}"),
            "timeout" => format!("    timeout: 300{newline}"),
            "trust" => format!("    trust: true   # why not{newline}"),
            name => format!("    {name}: \"caf\\u00e9 ß # no\"{newline}"),
        };
    }
    let entry = format!("  the one:{newline}{lines}");
    let all: String = (0..before).map(other).chain([entry]).chain((before..before + after).map(other)).collect();
    let text = format!("A: b{newline}mcpServers:{newline}{all}Z: größe{newline}");
    let text = if look.blank { text } else { text.replace(&format!("Z: größe{newline}"), "") };
    if look.ended { text } else { text.trim_end().to_owned() }
}

proptest! {
    #[test]
    fn a_changed_entry_goes_back_byte_for_byte(
        look in looks(),
        entry in members(),
        before in 0..3_usize,
        after in 0..3_usize,
        http in any::<bool>(),
    ) {
        for (format, text) in [
            (Format::Jsonc, json(&look, &entry, before, after)),
            (Format::Toml, toml(&look, &entry, before, after)),
            (Format::Yaml, yaml(&look, &entry, before, after)),
        ] {
            let path = path(format);
            let region = format.region(&text, &path).map_err(|error| TestCaseError::fail(format!("{error:#}\n{text}")))?;
            let changed = format.change(&text, &path, &changes(http));
            let changed = changed.map_err(|error| TestCaseError::fail(format!("{error:#}\n{text}")))?;
            let now = format.read(&changed).unwrap();
            let now = now.at(&path).unwrap();
            for change in changes(http) {
                prop_assert_eq!(now.get(change.key()).is_some(), matches!(change, Change::Set(..)), "{}", changed);
            }
            for kept in ["timeout", "trust", "note"] {
                prop_assert_eq!(now.get(kept).is_some(), entry.contains(&kept), "{}", changed);
            }
            let command = if http { now.get("url") } else { now.get("command") };
            prop_assert!(command.and_then(Node::text).is_some_and(|text| !text.is_empty()), "{}", changed);
            if look.newline == "\r\n" {
                prop_assert_eq!(changed.matches('\n').count(), changed.matches("\r\n").count(), "{:?}", changed);
            }
            let back = format.replace(&changed, &path, &text[region]).unwrap();
            prop_assert_eq!(back, text);
        }
    }
}

#[test]
fn what_is_ambiguous_or_spread_is_refused() {
    let one = |path: &[&str]| path.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (format, text, path) in [
        (Format::Jsonc, "{\"a\": {\"b\": {}, \"b\": {}}}", one(&["a", "b"])),
        (Format::Jsonc, "{a: {b: {}}}", one(&["a", "b"])),
        (Format::Jsonc, "{\"a\": {\"b\": []}}", one(&["a", "b"])),
        (Format::Toml, "[a.b]\nx = 1\n[c]\n[a.b.env]\nk = 'v'\n", one(&["a", "b"])),
        (Format::Toml, "[a]\nb.command = 'x'\n", one(&["a", "b"])),
        (Format::Toml, "[a.b.env]\nk = 'v'\n", one(&["a", "b"])),
        (Format::Toml, "[a.b]\ncommand.x = 'v'\n", one(&["a", "b"])),
        (Format::Yaml, "a:\n  b: &x\n    command: y\n", one(&["a", "b"])),
        (Format::Yaml, "a:\n  b: text\n", one(&["a", "b"])),
    ] {
        assert!(format.change(text, &path, &changes(false)).is_err(), "{text}");
    }
}

#[test]
fn an_inline_entry_keeps_its_other_members() {
    let path = ["a".to_owned(), "b".to_owned()];
    let toml = "[a]\nb = { command = 'x', env = { K = 'v' }, timeout = 1_0 } # c\n";
    let changed = Format::Toml.change(toml, &path, &changes(false)).unwrap();
    assert!(changed.ends_with("timeout = 1_0 } # c\n") && !changed.contains("env"), "{changed}");
    let yaml = "a: { b: { command: x, env: { K: v }, timeout: 1_0 } } # c\n";
    let changed = Format::Yaml.change(yaml, &path, &changes(false)).unwrap();
    assert!(changed.ends_with("timeout: 1_0 } } # c\n") && !changed.contains("env"), "{changed}");
}
