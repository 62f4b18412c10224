//! The plan of the house, checked against the source: who may import whom, where outside crates live, and where the
//! values are made that stand for a decision. A module without a row in [`ROWS`] fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// A module and the modules of ours that it may name besides itself. The longest row that fits a file counts.
const ROWS: &[(&str, &str)] = &[
    ("json", ""),
    ("call", "json"),
    ("mcp", "call json"),
    ("catalog", "call json"),
    ("policy", "call json"),
    ("audit", "call json"),
    ("signing", "call json"),
    ("credential", "call json"),
    ("pins", "call json audit"),
    ("sandbox", ""),
    ("config", "call json credential sandbox"),
    ("transport", "call json mcp credential sandbox"),
    ("notify", "call json control::wire credential::secret"),
    ("gate", "call json policy audit signing"),
    ("control", "call json"),
    ("control::server", "call json gate pins transport::runtime_dir"),
    (
        "proxy",
        "call json mcp catalog policy audit signing gate pins credential sandbox config transport control notify",
    ),
    ("console", "call json signing control::wire control::client"),
    ("shim", "call json mcp transport"),
    ("demo", "call json credential::secret config audit policy transport proxy control console shim"),
    (
        "cli",
        "call json mcp catalog policy audit signing gate pins credential sandbox config transport proxy control console shim demo",
    ),
];

/// Outside crates and the only places that may name them.
const ADDRESSES: &[(&str, &str)] = &[
    ("regorus", "policy"),
    ("rmcp", "demo transport credential"),
    ("hyper hyper_util hyper_rustls http_body_util", "transport demo"),
    ("rustls", "transport credential::oauth::signer"),
    ("ratatui crossterm unicode_security unicode_normalization idna", "console"),
    ("serde_yaml", "catalog policy::data"),
    ("saphyr_parser chrono_tz", "config"),
    ("rusqlite", "audit::store pins::store"),
    ("ssh_key", "signing"),
    ("landlock seccompiler libc", "sandbox"),
    ("ring", "notify credential::oauth::seal credential::oauth::dpop credential::oauth::signer credential::token"),
    ("oauth2", "credential::oauth"),
    ("tower_service", "transport"),
    ("keyring_core zbus_secret_service_keyring_store", "credential::keyring"),
    ("clap clap_complete clap_mangen anyhow similar", "cli"),
    ("jsonc_parser toml_edit", "cli::wrap"),
    ("mimalloc", "main"),
];

/// What stands for a check that was made, and the only places that make it.
const MADE: &[(&str, &str)] = &[
    ("ToolCall::new(", "mcp"),
    ("Passage(", "mcp"),
    ("Decision {", "policy::combine"),
    ("PermittedCall {", "gate"),
    ("PermittedCall::new(", "gate"),
    ("Receipt {", "audit"),
    ("Verified {", "signing"),
    // The demo makes up a key and then looks for it where it must not be.
    ("Secret::new(", "credential demo::stage"),
];

/// A file of `src/`: the module that it is, and its text without tests and comments.
struct Source {
    path: PathBuf,
    module: String,
    /// How many modules deep: `src/gate/hold.rs` is 2.
    depth: usize,
    head: String,
    code: String,
    /// Files of modules that are compiled for tests only.
    test_files: Vec<PathBuf>,
}

impl Source {
    fn new(path: &Path, text: &str) -> Source {
        let inside: Vec<_> = path.strip_prefix("src").unwrap().with_extension("").iter().map(text_of).collect();
        let names = match inside.split_last() {
            Some((last, folders)) if last == "mod" => folders.to_vec(),
            _ => inside,
        };
        let folder = match path.file_stem().is_some_and(|stem| stem == "mod" || stem == "lib") {
            true => path.parent().unwrap().to_owned(),
            false => path.with_extension(""),
        };
        let (code, tests) = without_tests(text);
        let named = |test: TestModule| match test.path {
            Some(file) => path.with_file_name(file),
            None => folder.join(test.name).with_extension("rs"),
        };
        Source {
            path: path.to_owned(),
            module: names.join("::"),
            depth: names.len(),
            head: text.lines().next().unwrap_or_default().to_owned(),
            code: code.lines().map(without_comment).collect::<Vec<_>>().join("\n"),
            test_files: tests.into_iter().map(named).collect(),
        }
    }

    fn is_in(&self, places: &str) -> bool {
        places.split_whitespace().any(|place| within(&self.module, place))
    }
}

/// `#[cfg(test)] #[path = "..."] mod name;`
struct TestModule {
    name: String,
    path: Option<String>,
}

/// A text without the items that `#[cfg(test)]` stands before: what tests import is their business. An item ends with
/// its first line where that ends in `;` or `,`, and else with the brace that closes it, in the column where it began.
fn without_tests(text: &str) -> (String, Vec<TestModule>) {
    let (mut code, mut modules) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut path = None;
        let first = loop {
            let line = lines.next().expect("an item after #[cfg(test)]").trim();
            if !line.starts_with("#[") {
                break line;
            }
            path =
                line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")).map(str::to_owned).or(path);
        };
        let plain = first.strip_prefix("pub(super) ").unwrap_or(first);
        if let Some(name) = plain.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            modules.push(TestModule { name: name.to_owned(), path });
        }
        if !first.ends_with([';', ',', '}']) {
            let closes = |line: &str| line.strip_prefix(indent).is_some_and(|rest| rest.starts_with('}'));
            lines.by_ref().find(|line| closes(line)).expect("the end of an item for tests");
        }
    }
    (code, modules)
}

fn text_of(part: &std::ffi::OsStr) -> String {
    part.to_str().unwrap().to_owned()
}

fn within(module: &str, place: &str) -> bool {
    module == place || module.starts_with(&format!("{place}::"))
}

/// A comment begins at `//`; in an address such as `http://` it does not.
fn without_comment(line: &str) -> &str {
    let begins = |at: &usize| !line[..*at].ends_with(':');
    line.match_indices("//").map(|(at, _)| at).find(begins).map_or(line, |at| &line[..at])
}

/// Where a word stands in a text as a whole.
fn whole_words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (text[..*at].chars().next_back(), text[at + word.len()..].chars().next());
        let open_end = word.ends_with(is_part) && after.is_some_and(is_part);
        !before.is_some_and(is_part) && !open_end
    })
}

static ROOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new("crate::([a-z_]+(?:::[a-z_]+)*)").unwrap());
static GROUPED: LazyLock<Regex> = LazyLock::new(|| Regex::new("crate::[{]([^;]*)[}];").unwrap());
static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[ \n]*([a-z_]+(?:::[a-z_]+)*)").unwrap());
static CLIMBING: LazyLock<Regex> = LazyLock::new(|| Regex::new("((?:super::)+)([a-z_]+)").unwrap());

/// The modules of ours that a file names, as paths from the crate's root.
fn imports(source: &Source, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for one in ROOTED.captures_iter(&source.code) {
        found.insert(one[1].to_owned());
    }
    for group in GROUPED.captures_iter(&source.code) {
        // Only the first level of braces holds modules of the root.
        let mut level = 0;
        let parts = group[1].split(|c: char| {
            level += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && level == 0
        });
        found.extend(parts.filter_map(|part| Some(NAME.captures(part)?[1].to_owned())));
    }
    // `super` from a module of the root, or far enough from a deeper one, is the root as well.
    for one in CLIMBING.captures_iter(&source.code) {
        if one[1].matches("super").count() >= source.depth && modules.contains(&one[2]) {
            found.insert(one[2].to_owned());
        }
    }
    found.retain(|path| modules.contains(path.split("::").next().unwrap()));
    found
}

fn violations(sources: &[Source]) -> Vec<String> {
    let modules: BTreeSet<String> = sources
        .iter()
        .filter_map(|source| source.module.split("::").next().map(str::to_owned))
        .filter(|module| module != "lib" && module != "main")
        .collect();
    let tests: BTreeSet<&PathBuf> = sources.iter().flat_map(|source| &source.test_files).collect();
    // What stands below a module for tests is for tests as well.
    let is_test = |path: &Path| tests.iter().any(|test| path == *test || path.starts_with(test.with_extension("")));
    let mut found = Vec::new();
    for source in sources {
        let at = source.path.display();
        if !source.head.starts_with("//! ") {
            found.push(format!("{at}: does not open with //! (what lives here)"));
        }
        if is_test(&source.path) {
            continue;
        }
        for (crates, places) in ADDRESSES {
            for name in crates.split_whitespace() {
                let (path, import) = (format!("{name}::"), format!("use {name}"));
                // A module of ours may have a crate's name: only the crate itself counts.
                let named = whole_words(&source.code, &path).any(|at| !source.code[..at].ends_with("::"))
                    || whole_words(&source.code, &import).next().is_some();
                if named && !source.is_in(places) {
                    found.push(format!("{at}: names {name}, which lives in {places}"));
                }
            }
        }
        for (pattern, places) in MADE {
            // The type's own declaration, its `impl` and a function that returns it look alike.
            let other = ["struct ", "impl ", "for ", "-> ", "-> &", "let "];
            let mut made = whole_words(&source.code, pattern);
            if !source.is_in(places) && made.any(|hit| !other.iter().any(|word| source.code[..hit].ends_with(word))) {
                found.push(format!(
                    "{at}: makes {}, which only {places} may",
                    pattern.trim_end_matches([' ', '{', '('])
                ));
            }
        }
        if source.module == "lib" || source.module == "main" {
            continue;
        }
        let row = ROWS.iter().filter(|(module, _)| source.is_in(module)).max_by_key(|(module, _)| module.len());
        let Some((row, allowed)) = row else {
            found.push(format!("{at}: has no row in the table"));
            continue;
        };
        let own = source.module.split("::").next().unwrap();
        for import in imports(source, &modules) {
            let ours = within(&import, own);
            if !ours && !allowed.split_whitespace().any(|place| within(&import, place)) {
                found.push(format!("{at}: {row} may not import {import}"));
            }
        }
    }
    for (row, _) in ROWS {
        if !sources.iter().any(|source| source.is_in(row)) {
            found.push(format!("the table's row {row} has no module"));
        }
    }
    found
}

fn read(folder: &Path, into: &mut Vec<Source>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut entries: Vec<_> = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            read(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(Source::new(&path, &std::fs::read_to_string(root.join(&path)).unwrap()));
        }
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read(Path::new("src"), &mut sources);
    sources
}

#[test]
fn the_source_follows_the_plan() {
    let found = violations(&sources());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// The house with one more file, or with a file replaced, must break exactly the rule that is named.
#[track_caller]
fn breaks(path: &str, text: &str, rule: &str) {
    let mut house = sources();
    house.retain(|source| source.path != Path::new(path));
    house.push(Source::new(Path::new(path), text));
    let found = violations(&house);
    assert!(found.iter().any(|line| line.starts_with(path) && line.contains(rule)), "{text:?} passed: {found:?}");
}

#[test]
fn a_forbidden_import_is_found_in_every_spelling() {
    let rule = "audit may not import gate";
    breaks("src/audit/extra.rs", "//! x\nuse crate::gate::Gate;\n", rule);
    breaks("src/audit/extra.rs", "//! x\nfn f() -> crate::gate::Gate { todo() }\n", rule);
    breaks("src/audit/extra.rs", "//! x\nuse crate::{call::{CallId, Digest}, gate};\n", rule);
    breaks("src/audit/extra.rs", "//! x\nuse super::super::gate::Gate;\n", rule);
    breaks("src/audit/mod.rs", "//! x\nuse super::gate::Gate;\n", rule);
    breaks(
        "src/console/extra.rs",
        "//! x\nuse crate::control::server::Server;\n",
        "console may not import control::server",
    );
    breaks("src/control/wire.rs", "//! x\nuse crate::gate::Gate;\n", "control may not import gate");
    breaks("src/proxy/extra.rs", "//! x\nuse crate::cli::Exit;\n", "proxy may not import cli");
}

#[test]
fn a_module_without_a_row_and_a_file_without_a_head_are_found() {
    breaks("src/attic.rs", "//! x\n", "has no row");
    breaks("src/attic/deep.rs", "//! x\n", "has no row");
    breaks("src/gate/extra.rs", "use std::fmt;\n", "does not open with //!");
}

#[test]
fn an_outside_crate_away_from_its_address_is_found() {
    breaks("src/gate/extra.rs", "//! x\nuse regorus::Engine;\n", "names regorus");
    breaks("src/audit/extra.rs", "//! x\nfn f(c: rusqlite::Connection) {}\n", "names rusqlite");
    breaks("src/proxy/extra.rs", "//! x\nuse hyper;\n", "names hyper");
    breaks(
        "src/lib.rs",
        "//! x\n#[global_allocator]\nstatic A: mimalloc::MiMalloc = mimalloc::MiMalloc;\n",
        "names mimalloc",
    );
}

#[test]
fn a_proof_made_elsewhere_is_found() {
    breaks("src/proxy/extra.rs", "//! x\nfn f() { ToolCall::new(a, b); }\n", "makes ToolCall::new");
    breaks("src/gate/extra.rs", "//! x\nfn f() { let d = Decision { effect }; }\n", "makes Decision");
    breaks("src/proxy/extra.rs", "//! x\nfn f() { send(PermittedCall { call }) }\n", "makes PermittedCall");
    breaks("src/gate/extra.rs", "//! x\nfn f() { use_it(Receipt { seq: 1 }) }\n", "makes Receipt");
}

#[test]
fn tests_and_comments_are_not_imports() {
    let text = "//! x\n// crate::gate is not named\n#[cfg(test)]\nmod tests { use crate::gate::Gate; }\n";
    let mut house = sources();
    house.push(Source::new(Path::new("src/audit/extra.rs"), text));
    let parent = "//! x\n#[cfg(test)]\n#[path = \"odd.rs\"]\nmod odd_tests;\n#[cfg(test)]\nmod deep;\n";
    house.push(Source::new(Path::new("src/audit/parent.rs"), parent));
    for file in ["src/audit/odd.rs", "src/audit/parent/deep.rs", "src/audit/parent/deep/below.rs"] {
        house.push(Source::new(Path::new(file), "//! x\nuse crate::gate::Gate;\n"));
    }
    assert!(!violations(&house).iter().any(|line| line.contains("gate")));
}

/// Only the item itself is for tests, not what follows it.
#[test]
fn code_after_tests_is_looked_at() {
    let rule = "audit may not import gate";
    breaks(
        "src/audit/extra.rs",
        "//! x\n#[cfg(test)]\nmod tests {\n    fn a() {\n    }\n}\nuse crate::gate::Gate;\n",
        rule,
    );
    breaks("src/audit/extra.rs", "//! x\n#[cfg(test)]\nmod tests;\nuse crate::gate::Gate;\n", rule);
    let inside = "//! x\nimpl X {\n    #[cfg(test)]\n    fn t() {\n    }\n    fn f(g: crate::gate::Gate) {}\n}\n";
    breaks("src/audit/extra.rs", inside, rule);
    // A folder is for tests only where its module is.
    let mut house = sources();
    house.push(Source::new(Path::new("src/audit/tests_of.rs"), "//! x\nuse crate::gate::Gate;\n"));
    assert!(violations(&house).iter().any(|line| line.contains(rule)));
}

/// The page of attacks is only worth something while the tests that it names are there.
#[test]
fn the_page_of_attacks_names_tests_that_exist() {
    fn gather(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let path = entry.path();
            if path.is_dir() {
                gather(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "rego") {
                into.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests", "policies"] {
        gather(&root.join(folder), &mut code);
    }
    let page = std::fs::read_to_string(root.join("docs/attacks.md")).unwrap();
    let name = Regex::new("`([a-z]+_[a-z0-9_]+)`").unwrap();
    let named: BTreeSet<&str> = name.captures_iter(&page).map(|found| found.get(1).unwrap().as_str()).collect();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !code.contains(&format!("fn {name}(")) && !code.contains(&format!("\n{name} if")))
        .collect();
    assert!(named.len() > 40 && missing.is_empty(), "{missing:?}");
}
