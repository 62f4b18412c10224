//! Where policies come from: the built-in families, which are part of the binary, and the operator's files and
//! folders. Reads text; judges nothing but names, sizes and who may write.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::problem::{PolicyErrors, Problem};

const MAX_FILES: usize = 1000;
const MAX_DEPTH: usize = 8;
const MAX_BYTES: u64 = 1 << 20;
const OTHERS_WRITE: u32 = 0o002;

/// A file and its text.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// Everything that one policy set is made of.
#[derive(Clone, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Sources {
    pub policies: Vec<Source>,
    /// `*_test.rego`: never part of a set that decides.
    pub tests: Vec<Source>,
    pub data: Vec<Source>,
    /// Defaults that the operator's data may override.
    pub defaults: Vec<Source>,
    /// Names of environments in use, for which data may have rows; none where they are not known.
    pub environments: BTreeSet<String>,
}

impl Sources {
    /// Adds others behind these.
    pub fn add(&mut self, others: Sources) {
        self.policies.extend(others.policies);
        self.tests.extend(others.tests);
        self.data.extend(others.data);
        self.defaults.extend(others.defaults);
        self.environments.extend(others.environments);
    }
}

/// One built-in family.
struct Family {
    name: &'static str,
    policy: &'static str,
    test: &'static str,
    data: Option<&'static str>,
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "environment",
        policy: include_str!("../../policies/environment.rego"),
        test: include_str!("../../policies/environment_test.rego"),
        data: Some(include_str!("../../policies/environment.yaml")),
    },
    Family {
        name: "destructive",
        policy: include_str!("../../policies/destructive.rego"),
        test: include_str!("../../policies/destructive_test.rego"),
        data: Some(include_str!("../../policies/destructive.yaml")),
    },
    Family {
        name: "scopes",
        policy: include_str!("../../policies/scopes.rego"),
        test: include_str!("../../policies/scopes_test.rego"),
        data: Some(include_str!("../../policies/scopes.yaml")),
    },
    Family {
        name: "pins",
        policy: include_str!("../../policies/pins.rego"),
        test: include_str!("../../policies/pins_test.rego"),
        data: Some(include_str!("../../policies/pins.yaml")),
    },
];

/// The names that `policy.builtin` may list.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.name)
}

/// Whether this is the text of a built-in family, letter by letter.
pub fn is_shipped(source: &Source) -> bool {
    FAMILIES.iter().any(|family| family.policy == source.text)
}

/// The built-in families by name.
///
/// # Errors
/// A name that is not a family's.
pub fn builtin(names: &[String]) -> Result<Sources, PolicyErrors> {
    let mut sources = Sources::default();
    for name in names {
        let family = FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| {
            let known = builtin_names().collect::<Vec<_>>().join(", ");
            Problem::of_file(
                "policy.builtin",
                "builtin",
                format!("no built-in policy is named {name}"),
                format!("use {known}"),
            )
        })?;
        let source =
            |suffix: &str, text: &str| Source { name: format!("builtin/{name}{suffix}"), text: text.to_owned() };
        if sources.policies.iter().any(|seen| seen.name == format!("builtin/{name}.rego")) {
            let help = "name each family once";
            return Err(Problem::of_file("policy.builtin", "builtin", format!("{name} is listed twice"), help).into());
        }
        sources.policies.push(source(".rego", family.policy));
        sources.tests.push(source("_test.rego", family.test));
        sources.defaults.extend(family.data.map(|text| source(".yaml", text)));
    }
    Ok(sources)
}

/// The operator's files: each path is a file or a folder. Of a folder the `*.rego` files are read, at any depth, and
/// data files named `data.yaml`, `data.yml` or `data.json`; hidden entries are left alone.
///
/// # Errors
/// A path that is not there or cannot be read, a file that is too large or not text or that everybody may write.
pub fn read(paths: &[PathBuf]) -> Result<Sources, PolicyErrors> {
    let mut sources = Sources::default();
    for path in files(paths)? {
        let name = path.display().to_string();
        let source = Source { text: read_text(&path, &name)?, name };
        if source.name.ends_with("_test.rego") {
            sources.tests.push(source);
        } else if source.name.ends_with(".rego") {
            sources.policies.push(source);
        } else {
            sources.data.push(source);
        }
    }
    Ok(sources)
}

/// Changes when a file of these paths appears, goes, or is written. Cheap: reads no content.
pub fn fingerprint(paths: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    match files(paths) {
        Ok(files) => {
            for path in files {
                path.hash(&mut hasher);
                if let Ok(meta) = path.metadata() {
                    (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino(), meta.mode()).hash(&mut hasher);
                }
            }
        }
        Err(errors) => errors.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

/// Every file to read, in a stable order, each once.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PolicyErrors> {
    let mut found = Vec::new();
    for path in paths {
        let meta = path.metadata().map_err(|error| unreadable(path, &error))?;
        if meta.is_dir() {
            folder(path, 0, &mut found)?;
        } else if kind_is_known(path) {
            found.push(path.clone());
        } else {
            let help = "a path is a folder, or a file that ends with .rego, .yaml, .yml or .json";
            return Err(Problem::of_file(&path.display().to_string(), "path", "not a policy or data file", help).into());
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    Ok(found)
}

fn folder(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), PolicyErrors> {
    let too_many =
        |message: &str| Problem::of_file(&path.display().to_string(), "path", message, "name a smaller folder");
    if depth == MAX_DEPTH {
        return Err(too_many("folders are nested too deeply").into());
    }
    check_writers(path)?;
    let mut entries = Vec::new();
    for entry in path.read_dir().map_err(|error| unreadable(path, &error))? {
        entries.push(entry.map_err(|error| unreadable(path, &error))?.path());
    }
    entries.sort();
    for entry in entries {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if name.starts_with('.') {
            continue;
        }
        if entry.metadata().map_err(|error| unreadable(&entry, &error))?.is_dir() {
            folder(&entry, depth + 1, found)?;
        } else if name.ends_with(".rego") || ["data.yaml", "data.yml", "data.json"].contains(&name) {
            if found.len() == MAX_FILES {
                return Err(too_many("more than 1000 policy and data files").into());
            }
            found.push(entry);
        }
    }
    Ok(())
}

fn kind_is_known(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("rego" | "yaml" | "yml" | "json"))
}

fn read_text(path: &Path, name: &str) -> Result<String, PolicyErrors> {
    check_writers(path)?;
    let size = path.metadata().map_err(|error| unreadable(path, &error))?.len();
    if size > MAX_BYTES {
        return Err(Problem::of_file(name, "size", "larger than 1 MiB", "split the file").into());
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error).into())
}

/// Whoever can write a policy can allow every call.
fn check_writers(path: &Path) -> Result<(), PolicyErrors> {
    let mode = path.metadata().map_err(|error| unreadable(path, &error))?.mode();
    if mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let name = path.display().to_string();
    let help = format!("chmod o-w {name}");
    Err(Problem::of_file(&name, "mode", "every user of this machine may write it", help).into())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let help = "give a path that exists and that this user may read";
    Problem::of_file(&path.display().to_string(), "read", format!("cannot be read: {error}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_folder_gives_policies_tests_and_data_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["b.rego", "a.rego", "a_test.rego", "data.yaml", "other.yaml", ".hidden.rego", "sub/c.rego"] {
            write(&dir.path().join(name), name);
        }
        let sources = read(&[dir.path().to_owned()]).unwrap();
        let texts = |sources: &[Source]| sources.iter().map(|source| source.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&sources.policies), ["a.rego", "b.rego", "sub/c.rego"]);
        assert_eq!(texts(&sources.tests), ["a_test.rego"]);
        assert_eq!(texts(&sources.data), ["data.yaml"]);
    }

    #[test]
    fn the_fingerprint_follows_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().to_owned()];
        let empty = fingerprint(&paths);
        write(&dir.path().join("a.rego"), "one");
        let one = fingerprint(&paths);
        write(&dir.path().join("a.rego"), "longer");
        let two = fingerprint(&paths);
        assert!(empty != one && one != two);
        assert_eq!(two, fingerprint(&paths));
    }

    #[test]
    fn what_everybody_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.rego");
        write(&file, "package x");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read(&[file]).unwrap_err().problems()[0].code, "mode");
        assert_eq!(read(&[dir.path().join("none")]).unwrap_err().problems()[0].code, "read");
    }
}
