//! The tests of the policies that come with the program, of its cookbook and of its examples, run by OPA: what authors
//! learn from them holds there as well.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::peer::{Answer, Opa};

/// Folders below `policies`; the built-in families are there for all of them.
const FOLDERS: [&str; 7] = [".", "cookbook", "examples", "init/custom", "init/statsig", "init/stigg", "init/stripe"];

/// How many tests were run, and those that do not hold.
pub fn run() -> (usize, Vec<String>) {
    let (mut opa, mut count, mut wrong) = (Opa::start(), 0, Vec::new());
    for folder in FOLDERS {
        let (mut modules, mut data) = (policies("."), data("."));
        if folder != "." {
            modules.extend(policies(folder));
            merge(&mut data, self::data(folder));
        }
        let mut asks = Vec::new();
        for text in texts(folder, "_test.rego") {
            asks.extend(tests(&text));
            modules.push(text);
        }
        // One question is compiled once.
        let holds = asks.iter().map(|test| format!("holds contains \"{test}\" if {test} == true\n"));
        modules.push(format!("package asked\n\n{}", holds.collect::<String>()));
        let ask = ("data.asked.holds", "{}".to_owned());
        let answers = opa.ask(&modules, &Value::Object(data).to_string(), &[ask]);
        let Answer::Is(holds) = &answers.unwrap_or_else(|error| panic!("{folder}: {error}"))[0] else {
            panic!("{folder}: a test ends in an error")
        };
        let holds: Vec<String> = serde_json::from_str(holds).unwrap();
        count += asks.len();
        let failed = asks.iter().filter(|test| !holds.contains(test));
        wrong.extend(failed.map(|test| format!("{folder}: {test} does not hold")));
    }
    (count, wrong)
}

/// The paths of the rules of a file that are tests.
fn tests(text: &str) -> Vec<String> {
    let package = text.lines().find_map(|line| line.strip_prefix("package ")).unwrap();
    let names = text.lines().filter(|line| line.starts_with("test_"));
    names.map(|line| format!("data.{package}.{}", line.split([' ', '(']).next().unwrap())).collect()
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    files.sort();
    files
}

fn texts(folder: &str, ending: &str) -> Vec<String> {
    files(folder, ending).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

fn policies(folder: &str) -> Vec<String> {
    let policies = files(folder, ".rego").into_iter().filter(|path| !path.to_str().unwrap().ends_with("_test.rego"));
    policies.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

fn data(folder: &str) -> Map<String, Value> {
    let mut all = Map::new();
    for text in texts(folder, ".yaml") {
        merge(&mut all, serde_yaml::from_str(&text).unwrap());
    }
    all
}

fn merge(all: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (all.get_mut(&name), value) {
            (Some(Value::Object(there)), Value::Object(value)) => merge(there, value),
            (_, value) => {
                all.insert(name, value);
            }
        }
    }
}
