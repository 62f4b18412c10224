//! Which files a child needs to run at all: the system, where its program is installed, its own script, and whatever
//! its entry in the configuration names. Landlock opens places and closes none, so this is a list of what is opened.
//!
//! Invariant: nothing here opens a closed place, a home folder or all of the temporary folder, and nothing that a child
//! could have put somewhere is followed.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Subject;

/// Of the system: programs, libraries, and what they read to look up names and to check certificates. Of `/etc` not
/// the rest, which may hold keys. What is not there is passed over.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system",
    "/sys/kernel/mm/transparent_hugepage",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/lsb-release",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];

/// Never opened whole because something in them is needed.
const WIDE: &[&str] = &[
    "/", "/boot", "/dev", "/etc", "/home", "/media", "/mnt", "/proc", "/root", "/run", "/sys", "/tmp", "/var",
    "/var/tmp",
];

/// Beside `bin`, where programs keep what belongs to them.
const BESIDE_BIN: [&str; 5] = ["lib", "lib64", "libexec", "include", "pyvenv.cfg"];

/// What marks the folder of a project: a script in it reads others of it.
const PROJECT: [&str; 4] = ["package.json", "pyproject.toml", "node_modules", ".venv"];

/// Endings of files that an interpreter runs, and that stand among others.
const SCRIPTS: [&str; 12] = ["js", "mjs", "cjs", "ts", "mts", "cts", "py", "pyz", "rb", "sh", "jar", "php"];

/// A folder with more than this in it is not taken apart around a closed place.
const MAX_ENTRIES: usize = 2000;
/// Interpreters of interpreters, and links to links.
const MAX_HOPS: usize = 16;

/// Real paths that the subject may read and execute; those of `write` are opened anyway.
pub fn read(subject: &Subject<'_>, closed: &[PathBuf], write: &[PathBuf]) -> Vec<PathBuf> {
    let mut reach = Reach { closed, write, home: std::env::home_dir(), found: Vec::new() };
    SYSTEM.iter().for_each(|path| reach.open(Path::new(path)));
    // `/etc/python3.11/sitecustomize.py` of Debian.
    let named = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("python");
    let pythons = std::fs::read_dir("/etc").into_iter().flatten().flatten().filter(named);
    pythons.for_each(|entry| reach.open(&entry.path()));
    let search: Vec<PathBuf> = std::env::split_paths(subject.search.unwrap_or_default()).collect();
    for folder in search.iter().filter(|folder| folder.is_absolute()) {
        reach.installation(folder);
    }
    reach.program(subject.program, &search, 0);
    if let Some(cwd) = subject.cwd {
        reach.open_narrow(cwd);
    }
    for arg in subject.args {
        let text = if arg.starts_with('-') { arg.split_once('=').map(|(_, value)| value) } else { Some(arg.as_str()) };
        let base = subject.cwd.unwrap_or(Path::new("/"));
        // A relative path is one only where it is said where it starts.
        let path = text.filter(|text| !text.is_empty() && (subject.cwd.is_some() || text.starts_with('/')));
        if let Some(path) = path.map(|path| base.join(path)).filter(|path| path.exists()) {
            reach.argument(&path);
        }
    }
    for value in subject.values {
        // As a whole, as in a list, and among options.
        let words = value.split([' ', '=']).map(PathBuf::from);
        for path in words.chain(std::env::split_paths(value)).chain([value.into()]).filter(|path| path.is_absolute()) {
            reach.open_narrow(&path);
        }
    }
    reach.found.sort();
    reach.found.dedup();
    reach.found
}

struct Reach<'a> {
    closed: &'a [PathBuf],
    write: &'a [PathBuf],
    home: Option<PathBuf>,
    found: Vec<PathBuf>,
}

impl Reach<'_> {
    /// A place that is there, without what is closed in it.
    fn open(&mut self, path: &Path) {
        let Ok(real) = path.canonicalize() else { return };
        if !self.is_written(path) {
            self.open_real(&real, 0);
        }
    }

    fn open_real(&mut self, real: &Path, depth: usize) {
        // What is no text cannot be handed on.
        if self.closed.iter().any(|closed| real.starts_with(closed)) || real.to_str().is_none() {
            return;
        }
        if !self.closed.iter().any(|closed| closed.starts_with(real)) {
            self.found.push(real.to_owned());
            return;
        }
        let Ok(entries) = std::fs::read_dir(real) else { return };
        let entries: Vec<_> = entries.take(MAX_ENTRIES + 1).flatten().collect();
        if entries.len() > MAX_ENTRIES || depth > MAX_HOPS {
            return;
        }
        for entry in entries {
            // A link may lead to what is closed.
            if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
                self.open_real(&entry.path(), depth + 1);
            }
        }
    }

    /// [`Reach::open`], but for folders in which much else lies.
    fn open_narrow(&mut self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else { return false };
        let narrow = !self.is_wide(&real);
        if narrow {
            self.open(path);
        }
        narrow
    }

    fn is_wide(&self, real: &Path) -> bool {
        let temporary = std::env::temp_dir();
        let home = self.home.as_deref().map(|home| home.canonicalize().unwrap_or_else(|_| home.to_owned()));
        WIDE.iter().any(|wide| real == Path::new(wide))
            || home.is_some_and(|home| home.starts_with(real))
            || temporary.canonicalize().is_ok_and(|temporary| temporary.starts_with(real))
    }

    /// Whether a child may write on the way to it: then a link in it may be the child's.
    fn is_written(&self, path: &Path) -> bool {
        path.ancestors().any(|above| {
            let real = above.canonicalize();
            real.is_ok_and(|real| self.write.iter().any(|write| real.starts_with(write)))
        })
    }

    /// A folder with programs, and what belongs to them.
    fn installation(&mut self, folder: &Path) {
        if let Some(modules) = modules(folder) {
            self.open_narrow(modules);
            return;
        }
        match (folder.file_name().and_then(OsStr::to_str), folder.parent()) {
            (Some("bin" | "sbin"), Some(prefix)) => {
                self.open_narrow(folder);
                BESIDE_BIN.iter().for_each(|name| self.open(&prefix.join(name)));
            }
            // Managers of versions: the programs themselves lie beside.
            (Some("shims"), Some(prefix)) => drop(self.open_narrow(prefix)),
            _ => drop(self.open_narrow(folder)),
        }
    }

    /// A program, link by link, and its interpreter.
    fn program(&mut self, path: &Path, search: &[PathBuf], depth: usize) {
        let hops = hops(path);
        for hop in &hops {
            self.open(hop);
            if let Some(folder) = hop.parent() {
                self.installation(folder);
            }
        }
        if let Some(interpreter) = hops.last().and_then(|real| interpreter(real, search))
            && depth < MAX_HOPS
        {
            self.program(&interpreter, search, depth + 1);
        }
    }

    /// A file or folder that an argument names. A script comes with the project that it stands in.
    fn argument(&mut self, path: &Path) {
        let Ok(real) = path.canonicalize() else { return };
        if real.is_dir() {
            self.open_narrow(path);
            return;
        }
        self.open(path);
        let script = real.extension().and_then(OsStr::to_str).is_some_and(|ending| SCRIPTS.contains(&ending));
        let (true, Some(folder), false) = (script, real.parent(), self.is_written(path)) else { return };
        if let Some(modules) = modules(folder) {
            self.open_narrow(modules);
            return;
        }
        let above = folder.ancestors().take_while(|above| !self.is_wide(above));
        let project = above.into_iter().find(|above| PROJECT.iter().any(|mark| above.join(mark).exists()));
        let project = project.unwrap_or(folder).to_owned();
        self.open_narrow(&project);
    }
}

/// The outermost `node_modules` that a path lies in.
fn modules(path: &Path) -> Option<&Path> {
    path.ancestors().filter(|above| above.file_name() == Some(OsStr::new("node_modules"))).last()
}

/// A path and what it leads to, link by link; in real folders.
fn hops(path: &Path) -> Vec<PathBuf> {
    let mut hops = Vec::new();
    let mut at = path.to_owned();
    while let (Some(folder), Some(name), true) = (at.parent(), at.file_name(), hops.len() < MAX_HOPS) {
        let Ok(folder) = folder.canonicalize() else { break };
        let real = folder.join(name);
        // Both ways to say it: a program may look at the folder that it was called by.
        if real != at && hops.is_empty() {
            hops.push(at.clone());
        }
        hops.push(real.clone());
        let Ok(target) = real.read_link() else { break };
        at = folder.join(target);
    }
    hops
}

/// The program that a script names in its first line.
fn interpreter(path: &Path, search: &[PathBuf]) -> Option<PathBuf> {
    let mut start = [0; 256];
    let count = std::fs::File::open(path).ok()?.read(&mut start).ok()?;
    let line = start.get(..count)?.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.strip_prefix("#!")?.split_whitespace();
    let program = Path::new(words.next()?);
    if program.file_name()? != "env" {
        return Some(program.to_owned());
    }
    let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    search.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        root: PathBuf,
    }

    impl Place {
        fn new(files: &[&str]) -> Place {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().canonicalize().unwrap();
            for file in files {
                let path = root.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "x").unwrap();
            }
            Place { _folder: folder, root }
        }

        fn read(&self, program: &str, args: &[&str], closed: &[&str], write: &[&str]) -> Vec<String> {
            let args: Vec<String> = args.iter().map(|arg| arg.replace('@', self.root.to_str().unwrap())).collect();
            let all = |names: &[&str]| names.iter().map(|name| self.root.join(name)).collect::<Vec<_>>();
            let program = self.root.join(program);
            let subject = Subject {
                server: "s",
                principal: "p",
                program: &program,
                args: &args,
                values: &[],
                search: None,
                cwd: None,
            };
            let found = read(&subject, &all(closed), &all(write));
            let own = found.iter().filter_map(|path| Some(path.strip_prefix(&self.root).ok()?.to_str()?.to_owned()));
            own.collect()
        }
    }

    #[test]
    fn a_program_comes_with_its_installation_and_not_with_its_neighbours() {
        let place = Place::new(&["p/bin/run", "p/lib/a", "p/share/keyrings/secret", "other/x"]);
        assert_eq!(place.read("p/bin/run", &[], &[], &[]), ["p/bin", "p/bin/run", "p/lib"]);
        let place = Place::new(&["v/bin/x", "real/bin/python", "real/lib/y"]);
        symlink("../../real/bin/python", place.root.join("v/bin/python")).unwrap();
        let found = place.read("v/bin/python", &[], &[], &[]);
        assert!(found.contains(&"v/bin".to_owned()) && found.contains(&"real/lib".to_owned()), "{found:?}");
    }

    #[test]
    fn a_script_comes_with_its_project_and_a_file_alone() {
        let place = Place::new(&["bin/x", "app/package.json", "app/dist/index.js", "app/.env", "notes/key.json"]);
        let found = place.read("bin/x", &["@/app/dist/index.js", "--file=@/notes/key.json"], &[], &[]);
        assert_eq!(found, ["app", "app/dist/index.js", "bin", "bin/x", "notes/key.json"]);
        let place = Place::new(&["bin/x", "proj/node_modules/a/node_modules/b/i.js"]);
        let found = place.read("bin/x", &["@/proj/node_modules/a/node_modules/b/i.js"], &[], &[]);
        assert!(found.contains(&"proj/node_modules".to_owned()) && !found.contains(&"proj".to_owned()), "{found:?}");
    }

    #[test]
    fn what_is_closed_stays_closed_wherever_it_lies() {
        let place = Place::new(&["bin/x", "app/s.py", "app/state/audit.db", "app/lib/y", "app/config.yaml"]);
        symlink("state", place.root.join("app/way")).unwrap();
        let found = place.read("bin/x", &["@/app/s.py"], &["app/state", "app/config.yaml"], &[]);
        assert_eq!(found, ["app/lib", "app/s.py", "bin", "bin/x"]);
        assert_eq!(place.read("bin/x", &["@/app/state"], &["app/state"], &[]), ["bin", "bin/x"]);
        assert_eq!(place.read("bin/x", &["@/app/way"], &["app/state"], &[]), ["bin", "bin/x"]);
        assert_eq!(place.read("bin/x", &["@/app/config.yaml"], &["app/config.yaml"], &[]), ["bin", "bin/x"]);
    }

    #[test]
    fn a_link_that_a_child_could_have_made_is_not_followed() {
        let place = Place::new(&["bin/x", "data/f", "ssh/id"]);
        symlink("../ssh", place.root.join("data/sub")).unwrap();
        symlink("data", place.root.join("way")).unwrap();
        for arg in ["@/data/sub", "@/way/sub", "@/data/sub/id"] {
            assert_eq!(place.read("bin/x", &[arg], &[], &["data"]), ["bin", "bin/x"], "{arg}");
        }
    }

    #[test]
    fn home_and_the_temporary_folder_are_never_opened_whole() {
        let home = std::env::home_dir().unwrap();
        let program = PathBuf::from("/bin/sh");
        let temporary = std::env::temp_dir().display().to_string();
        let args = [home.display().to_string(), temporary.clone(), "/".into(), "/etc".into(), "/root".into()];
        let subject = Subject {
            principal: "p",
            server: "s",
            program: &program,
            args: &args,
            values: &[&temporary],
            search: None,
            cwd: Some(&home),
        };
        let found = read(&subject, &[], &[]);
        for wide in args {
            assert!(!found.iter().any(|path| Path::new(&wide).starts_with(path)), "{wide} by {found:?}");
        }
        assert!(found.contains(&PathBuf::from("/usr")));
    }

    #[test]
    fn an_interpreter_is_found_by_the_first_line() {
        let place = Place::new(&["tools/node", "app/run"]);
        std::fs::write(place.root.join("app/run"), "#!/usr/bin/env -S node --flag\n").unwrap();
        let search = [place.root.join("tools")];
        assert_eq!(interpreter(&place.root.join("app/run"), &search), Some(place.root.join("tools/node")));
        std::fs::write(place.root.join("app/run"), "#!/bin/sh\n").unwrap();
        assert_eq!(interpreter(&place.root.join("app/run"), &search), Some("/bin/sh".into()));
        std::fs::write(place.root.join("app/run"), "no script").unwrap();
        assert_eq!(interpreter(&place.root.join("app/run"), &search), None);
    }
}
