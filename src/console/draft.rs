//! A rule drafted from a hold, with its test: text, and a folder that no daemon loads.
//!
//! Invariants: what counts in a draft is a hold or a denial of calls like this one, and never an allow, so that a draft that
//! is loaded unread lets nothing through. Whatever comes from outside stands in it as a string of plain ASCII, or not at
//! all: a text ends neither its string nor its comment.

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::console::outside::ascii;
use crate::control::wire::HoldView;
use crate::json::{Json, Kind};

/// Longest text that a condition compares with, in bytes of the call.
const TEXT: usize = 200;
/// Digits of a number that is compared as it is spelled.
const DIGITS: usize = 15;
/// Where they stand.
const ARGUMENTS: &str = "input.arguments";
/// Conditions about arguments, and how deep they go.
const CONDITIONS: usize = 40;
const DEPTH: usize = 4;

/// Longest line of a draft, in columns. The loader takes 1024.
const COLUMNS: usize = 900;
/// Longest name of a place in the arguments, or of a rule, that is written down.
const NAME: usize = 300;

/// What the drafted rule makes of calls like this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Makes {
    Hold,
    Deny,
}

impl Makes {
    pub fn word(self) -> &'static str {
        match self {
            Makes::Hold => "hold",
            Makes::Deny => "deny",
        }
    }
}

/// A policy and its test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// Of the policy; the files are called after it.
    pub name: String,
    pub rego: String,
    pub test: String,
    /// The line of the policy where its conditions begin.
    pub line: usize,
    /// Arguments that the rule does not look at.
    pub left_out: usize,
}

/// What a call has to be, as the text of a rule, and the arguments that make it so.
#[derive(Default)]
struct Terms {
    conditions: Vec<String>,
    /// The first of those that are not looked at, and how many there are.
    left_out: Vec<String>,
    others: usize,
}

/// The draft for a hold.
///
/// # Errors
/// In words: a name in the call is too long for a rule.
pub fn draft(hold: &HoldView, makes: Makes) -> Result<Draft, String> {
    let name = format!("draft_{}_{}", makes.word(), hold.id.as_str().to_lowercase());
    let mut terms = Terms::default();
    let used = terms.of(hold.arguments.view(), ARGUMENTS, DEPTH).unwrap_or_else(|| "{}".to_owned());
    let call = [
        ("phase", "call"),
        ("method", hold.method.as_str()),
        ("server.name", hold.server.as_str()),
        ("tool.name", hold.tool.as_str()),
        ("operation.name", hold.operation.as_str()),
        ("principal.name", hold.principal.as_str()),
    ];
    if let Some((member, _)) = call.iter().find(|(_, value)| literal(value).len() > COLUMNS) {
        return Err(format!("no rule is drafted: `{member}` of this call is too long for a line of one"));
    }
    let entry = |makes: Makes| {
        let tier = match makes {
            Makes::Hold => {
                format!("\n\t\"tier\": \"{}\",", crate::console::describe::tier_word(hold.tier).to_lowercase())
            }
            Makes::Deny => String::new(),
        };
        let reason = format!("drafted from hold {}: say here what the agent should read", hold.id);
        format!(
            "{} contains {{\n\t\"rule\": \"{name}.{}\",\n\t\"reason\": \"{reason}\",{tier}\n}} if {{\n\tdrafted\n}}\n",
            makes.word(),
            makes.word()
        )
    };
    let other = if makes == Makes::Hold { Makes::Deny } else { Makes::Hold };
    let mut rego = format!(
        "# Drafted from hold {}. Nothing loads this file where it is: read it, edit it, and copy it with\n",
        hold.id
    );
    rego += "# its test into a folder of `policy.paths`. It can only tighten: what another rule holds stays held, and nothing\n";
    rego += "# here allows anything. To be asked less often, narrow the rule that held the call:\n";
    for hit in &hold.rules {
        let _ = writeln!(rego, "#   {} in {}, line {}", named(&hit.rule), named(&hit.file), hit.line);
    }
    let _ = writeln!(rego, "package countersign.policy.{name}\n\n{}", entry(makes));
    let _ = writeln!(rego, "# In its place, or beside it:\n#");
    entry(other).lines().for_each(|line| rego += &format!("# {line}\n"));
    rego += "\n# Calls like the one that was held. Every line narrows the rule: take out what should not matter.\ndrafted if {\n";
    let line = rego.lines().count();
    for (member, value) in call {
        let _ = writeln!(rego, "\tinput.{member} == {}", literal(value));
    }
    let has_terms = !terms.conditions.is_empty();
    rego += if has_terms { "\tthese_arguments\n}\n" } else { "}\n" };
    if has_terms {
        // By another name: `policy check` finds arguments that a catalog does not list, and these were in a call.
        rego += "\n# A number above zero stands for itself and for everything that is more.\nthese_arguments if {\n";
        rego += "\tgiven := object.get(input, \"arguments\", {})\n";
        for condition in &terms.conditions {
            let _ = writeln!(rego, "\t{}", condition.replacen(ARGUMENTS, "given", 1));
        }
        rego += "}\n";
    }
    if !terms.left_out.is_empty() {
        rego += "\n# Not looked at, because it is long, a list, a number that rules would read in another way, or one too many:\n";
        terms.left_out.iter().for_each(|left| rego += &format!("#   {left}\n"));
        if terms.others > terms.left_out.len() {
            let _ = writeln!(rego, "#   and {} more", terms.others - terms.left_out.len());
        }
    }
    let test = test(&name, makes, &call, &used, has_terms);
    Ok(Draft { name, rego, test, line, left_out: terms.others })
}

fn test(name: &str, makes: Makes, call: &[(&str, &str)], used: &str, has_terms: bool) -> String {
    let mut text = format!("package countersign.policy.{name}_test\n\nimport data.countersign.policy.{name}\n\n");
    text += "# The call that was held, as far as the rule looks at it.\ncall := {\n";
    for (member, value) in call {
        let _ = match member.split_once('.') {
            Some((outer, inner)) => writeln!(text, "\t\"{outer}\": {{\"{inner}\": {}}},", literal(value)),
            None => writeln!(text, "\t\"{member}\": {},", literal(value)),
        };
    }
    let word = makes.word();
    let _ = writeln!(text, "\t\"arguments\": {used},\n}}\n");
    let mut says = |what: &str, count: u8, change: &str| {
        let _ = writeln!(text, "test_{what} if {{\n\tcount({name}.{word}) == {count} with input as {change}\n}}\n");
    };
    says("the_call_that_it_was_drafted_from", 1, "call");
    for (what, member) in [("no_other_tool", "tool"), ("no_other_server", "server"), ("nobody_else", "principal")] {
        says(what, 0, &format!("object.union(call, {{\"{member}\": {{\"name\": \"none of these\"}}}})"));
    }
    if has_terms {
        says("no_other_arguments", 0, "object.union(object.remove(call, [\"arguments\"]), {\"arguments\": {}})");
    }
    text.trim_end().to_owned() + "\n"
}

impl Terms {
    /// Conditions for a value; its text where the rule looks at any of it.
    fn of(&mut self, value: Json<'_>, path: &str, depth: usize) -> Option<String> {
        if value.kind() == Kind::Object && depth > 0 && value.members().next().is_some() {
            let mut kept = Vec::new();
            for (key, value) in value.members() {
                let key = literal(&key.as_str().unwrap_or_default());
                if let Some(text) = self.of(value, &format!("{path}[{key}]"), depth - 1) {
                    kept.push(format!("{key}: {text}"));
                }
            }
            return (!kept.is_empty()).then(|| format!("{{\n{}\n}}", kept.join(",\n")));
        }
        let (sign, text) = match scalar(value) {
            Some((sign, text))
                if self.conditions.len() < CONDITIONS && path.len() <= NAME && path.len() + text.len() <= COLUMNS =>
            {
                (sign, text)
            }
            Some(_) | None => {
                self.others += 1;
                if self.left_out.len() < CONDITIONS {
                    let short = path.len() <= NAME;
                    self.left_out.push(if short { path.to_owned() } else { "a place with a long name".to_owned() });
                }
                return None;
            }
        };
        self.conditions.push(format!("{path} {sign} {text}"));
        Some(text)
    }
}

/// How a scalar is compared, and its text in a rule; nothing where it is too long or too odd for one.
fn scalar(value: Json<'_>) -> Option<(&'static str, String)> {
    let text = value.text();
    match value.kind() {
        Kind::Bool | Kind::Null => Some(("==", text.to_owned())),
        Kind::String if text.len() <= TEXT => Some(("==", literal(&value.as_str()?))),
        Kind::Number => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let more = plain && digits.len() == text.len() && digits.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
            (plain && digits.len() <= DIGITS).then(|| (if more { ">=" } else { "==" }, text.to_owned()))
        }
        Kind::String | Kind::Object | Kind::Array => None,
    }
}

/// The same for a comment; nothing but that it is long where it is.
fn named(text: &str) -> String {
    let literal = literal(text);
    if literal.len() <= NAME { literal } else { "something with a long name".to_owned() }
}

/// A string of Rego in plain ASCII. Editors take words with a colon for settings of theirs (`vim: ...`, `Local
/// Variables:`); they stand after blanks.
fn literal(text: &str) -> String {
    let literal = ascii(&text).unwrap_or_else(|| "\"\"".to_owned());
    if text.contains(' ') { literal.replace(':', "\\u003a") } else { literal }
}

/// Where drafts go that nobody has named a place for.
///
/// # Errors
/// Where the environment names none.
pub fn folder(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf, String> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .map(|state| state.join("countersign/drafts"))
        .ok_or_else(|| "there is no place for drafts: neither XDG_STATE_HOME nor HOME is set".to_owned())
}

/// Files that policies are loaded from, as far as a hold says.
pub fn loaded(hold: &HoldView) -> Vec<PathBuf> {
    hold.rules.iter().map(|hit| PathBuf::from(&hit.file)).filter(|file| file.is_absolute()).collect()
}

/// Writes a draft into a folder, which is made where it is not there. `loaded`: files and folders that policies are loaded
/// from. What is there already stays as it is, because somebody may have edited it. The files, and which are new.
///
/// # Errors
/// In words: the folder is one that is loaded, or others can write to it, or there is no writing.
pub fn write(draft: &Draft, into: &Path, loaded: &[PathBuf]) -> Result<[(PathBuf, bool); 2], String> {
    let shown = into.display();
    DirBuilder::new().recursive(true).mode(0o700).create(into).map_err(|error| format!("{shown}: {error}"))?;
    let folder = into.canonicalize().map_err(|error| format!("{shown}: {error}"))?;
    let facts = folder.metadata().map_err(|error| format!("{shown}: {error}"))?;
    if facts.uid() != rustix::process::geteuid().as_raw() || facts.mode() & 0o022 != 0 {
        return Err(format!("{shown} is another account's, or others can write to it: a draft there could be changed"));
    }
    let real = |path: &PathBuf| path.canonicalize().ok();
    // Beside a file that is loaded, and below: its folder may be what is loaded.
    let is_loaded = |path: PathBuf| match path.parent().filter(|_| path.is_file()) {
        Some(parent) => folder.starts_with(parent),
        None => folder.starts_with(&path),
    };
    if loaded.iter().filter_map(real).any(is_loaded) {
        return Err(format!("policies are loaded from {shown}: a draft is not put there, name another folder"));
    }
    let files = [format!("{}.rego", draft.name), format!("{}_test.rego", draft.name)].map(|name| folder.join(name));
    let [rule, test] = files;
    let made = (create(&rule, &draft.rego)?, create(&test, &draft.test)?);
    Ok([(rule, made.0), (test, made.1)])
}

/// False where there is such a file.
fn create(file: &Path, text: &str) -> Result<bool, String> {
    let failed = |error: std::io::Error| format!("{} was not written: {error}", file.display());
    let mut made = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(made) => made,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    if let Err(error) = made.write_all(text.as_bytes()) {
        // Half of a draft would be taken for one that somebody has edited.
        let _ = std::fs::remove_file(file);
        return Err(failed(error));
    }
    Ok(true)
}
