//! The files of clients: read once, and replaced as a whole. A dry run changes nothing but what later steps read.
//!
//! Invariant: a file that is not what was read is not replaced, mode and owner stay, and what is not whole yet is
//! nobody else's to read and goes where something fails.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::tree::hex;

/// A larger one is no configuration of a client.
const MAX_BYTES: u64 = 64 << 20;

/// A file as it was read.
pub struct Opened {
    /// Where it really is; links have been followed.
    real: PathBuf,
    /// What it says; nothing where it is not there.
    text: Option<Zeroizing<String>>,
}

impl Opened {
    pub fn text(&self) -> &str {
        self.text.as_ref().map_or("", |text| text.as_str())
    }

    pub fn exists(&self) -> bool {
        self.text.is_some()
    }
}

/// What has been changed, or would be.
pub struct Files {
    pub dry_run: bool,
    /// By the real path.
    changed: BTreeMap<PathBuf, Changed>,
    /// Keys that stand in them, or stood: no difference shows one.
    keys: Vec<Zeroizing<String>>,
}

/// What a file said and says; nothing where it is not there.
struct Changed {
    before: Option<Zeroizing<String>>,
    now: Option<Zeroizing<String>>,
}

impl Files {
    pub fn new(dry_run: bool) -> Files {
        Files { dry_run, changed: BTreeMap::new(), keys: Vec::new() }
    }

    /// A key that no difference may show, wherever it stands.
    pub fn hide(&mut self, key: &str) {
        self.keys.push(Zeroizing::new(key.to_owned()));
    }

    pub fn keys(&self) -> &[Zeroizing<String>] {
        &self.keys
    }

    /// Reads a file. `inside` is a folder that it has to lie in: a link in somebody else's project leads nowhere else.
    pub fn read(&self, path: &Path, inside: Option<&Path>) -> anyhow::Result<Opened> {
        let shown = path.display();
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.symlink_metadata().is_ok() {
                    bail!("{shown} is a link that leads nowhere");
                }
                std::path::absolute(path)?
            }
            Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
        };
        if let Some(folder) = inside
            && !real.starts_with(folder.canonicalize().unwrap_or_else(|_| folder.to_owned()))
        {
            bail!("{shown} is a link that leads out of the project, to {}", real.display());
        }
        let text = match self.changed.get(&real) {
            Some(change) if self.dry_run => change.now.clone(),
            _ => on_disk(&real)?,
        };
        Ok(Opened { real, text })
    }

    /// Replaces a file that is still what was read. `None` removes it.
    pub fn replace(&mut self, file: &Opened, text: Option<&str>) -> anyhow::Result<()> {
        if !self.dry_run {
            match text {
                Some(text) => write(file, text)?,
                None => {
                    unchanged(file)?;
                    fs::remove_file(&file.real)
                        .with_context(|| format!("{} cannot be removed", file.real.display()))?;
                }
            }
        }
        let now = text.map(|text| Zeroizing::new(text.to_owned()));
        let change =
            self.changed.entry(file.real.clone()).or_insert_with(|| Changed { before: file.text.clone(), now: None });
        change.now = now;
        Ok(())
    }

    /// Every file that is not what it was: path, before, after.
    pub fn changes(&self) -> impl Iterator<Item = (&Path, &str, &str)> {
        self.changed.iter().map(|(path, change)| {
            let before = change.before.as_ref().map_or("", |text| text.as_str());
            let after = change.now.as_ref().map_or("", |text| text.as_str());
            (path.as_path(), before, after)
        })
    }
}

/// Of a text.
pub fn hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn on_disk(real: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    let shown = real.display();
    let mut file = match File::open(real) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
    };
    let about = file.metadata()?;
    if !about.is_file() {
        bail!("{shown} is no regular file");
    }
    if about.len() > MAX_BYTES {
        bail!("{shown} is longer than {MAX_BYTES} bytes");
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0) + 1));
    file.read_to_end(&mut bytes).with_context(|| format!("{shown} cannot be read"))?;
    let text = std::str::from_utf8(&bytes).ok().with_context(|| format!("{shown} is not UTF-8"))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

fn unchanged(file: &Opened) -> anyhow::Result<()> {
    if on_disk(&file.real)? != file.text {
        bail!("{} was changed meanwhile: close the client, and run this again", file.real.display());
    }
    Ok(())
}

fn write(file: &Opened, text: &str) -> anyhow::Result<()> {
    let path = &file.real;
    let failed = || format!("{} cannot be written", path.display());
    let folder = path.parent().with_context(failed)?;
    fs::create_dir_all(folder).with_context(failed)?;
    let about = if file.exists() { Some(fs::symlink_metadata(path).with_context(failed)?) } else { None };
    if about.as_ref().is_some_and(|about| about.nlink() > 1) {
        bail!("{} has several names (hard links), of which only one would change: make it one file", path.display());
    }
    let mark = getrandom::u64().map_err(io::Error::other).with_context(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let unfinished = folder.join(format!(".{name}.{mark:016x}.new"));
    let done = (|| -> anyhow::Result<()> {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        out.write_all(text.as_bytes())?;
        if let Some(about) = &about {
            let ours = out.metadata()?;
            if (ours.uid(), ours.gid()) != (about.uid(), about.gid()) {
                std::os::unix::fs::fchown(&out, Some(about.uid()), Some(about.gid()))
                    .context("its owner cannot be kept")?;
            }
            out.set_permissions(fs::Permissions::from_mode(about.mode() & 0o7777))?;
        }
        out.sync_all()?;
        unchanged(file)?;
        fs::rename(&unfinished, path)?;
        File::open(folder)?.sync_all()?;
        Ok(())
    })();
    if done.is_err() {
        _ = fs::remove_file(&unfinished);
    }
    done.with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_links_stay_and_a_changed_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("link.json"));
        fs::write(&real, "one").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut files = Files::new(false);
        let opened = files.read(&link, None).unwrap();
        files.replace(&opened, Some("two")).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "two");
        assert_eq!(real.metadata().unwrap().mode() & 0o7777, 0o640);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        // What was read is "one", and that is no longer there.
        let late = files.replace(&opened, Some("three")).unwrap_err();
        assert!(format!("{late:#}").contains("changed meanwhile"), "{late:#}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing unfinished stays behind");
        fs::hard_link(&real, folder.path().join("other.json")).unwrap();
        let opened = files.read(&real, None).unwrap();
        assert!(format!("{:#}", files.replace(&opened, Some("x")).unwrap_err()).contains("hard links"));
    }

    #[test]
    fn a_link_out_of_a_project_is_not_followed() {
        let (project, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(home.path().join("settings.json"), "{}").unwrap();
        let link = project.path().join(".mcp.json");
        std::os::unix::fs::symlink(home.path().join("settings.json"), &link).unwrap();
        let refused = Files::new(false).read(&link, Some(project.path())).err().unwrap();
        assert!(refused.to_string().contains("out of the project"), "{refused}");
    }

    #[test]
    fn a_dry_run_reads_what_it_would_have_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut files = Files::new(true);
        let opened = files.read(&path, None).unwrap();
        assert!(!opened.exists());
        files.replace(&opened, Some("new")).unwrap();
        assert_eq!(files.read(&path, None).unwrap().text(), "new");
        assert!(!path.exists());
        assert_eq!(files.changes().count(), 1);
    }
}
