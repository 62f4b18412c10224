//! Folders of children: a home for each server and principal, which is kept, and a scratch folder for each child, which
//! is not. And the places that are closed to all of them.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::remove;

/// What the sandboxes of one daemon have in common.
#[derive(Debug)]
pub struct Yard {
    program: PathBuf,
    folder: PathBuf,
    closed: Vec<PathBuf>,
}

impl Yard {
    /// `folder` is private and ours alone; `closed` are places that no child ever gets, by real path where they are
    /// there. What an earlier daemon left of its children's scratch is removed.
    ///
    /// # Errors
    /// Where the folders cannot be made.
    pub fn new(program: PathBuf, folder: &Path, closed: impl IntoIterator<Item = PathBuf>) -> io::Result<Yard> {
        make(folder)?;
        let folder = folder.canonicalize()?;
        make(&folder.join("homes"))?;
        let scratch = folder.join("scratch");
        if let Err(error) = remove::all(&scratch) {
            tracing::warn!(%error, folder = %scratch.display(), "what children left behind cannot be removed");
        }
        make(&scratch)?;
        let closed = closed.into_iter().flat_map(|path| {
            let real = path.canonicalize().ok().filter(|real| *real != path);
            [Some(path), real].into_iter().flatten()
        });
        Ok(Yard { program, folder, closed: closed.collect() })
    }

    /// This program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn closed(&self) -> &[PathBuf] {
        &self.closed
    }

    /// The home of a server's children for one principal: what one leaves there runs for no other. Names of servers are
    /// words, so that this is no way out of the folder.
    pub(super) fn home(&self, server: &str, principal: &str) -> io::Result<PathBuf> {
        let home = self.folder.join("homes").join(server).join(word(principal));
        make(&home)?;
        Ok(home)
    }

    pub(super) fn scratch(&self) -> io::Result<Scratch> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        let name = name.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let path = self.folder.join("scratch").join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch(path))
    }
}

/// A principal's name where it is a short word, else a hash of it; no word begins as a hash does.
fn word(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    match name {
        word if (1..=64).contains(&word.len()) && word.bytes().all(plain) => word.to_owned(),
        other => {
            let hash = Sha256::digest(other.as_bytes());
            std::iter::once("~".to_owned()).chain(hash.iter().take(16).map(|byte| format!("{byte:02x}"))).collect()
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A folder that goes with its child.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove::all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "what a child left behind cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_goes_with_its_child_and_a_home_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("children");
        let yard = Yard::new("/program".into(), &place, []).unwrap();
        let home = yard.home("stripe", "ana").unwrap();
        std::fs::write(home.join("kept"), "x").unwrap();
        let scratch = yard.scratch().unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
        // One that is killed leaves its children's; the next daemon takes it away.
        let left = yard.scratch().unwrap();
        std::fs::write(left.path().join("file"), "x").unwrap();
        let yard = Yard::new("/program".into(), &place, []).unwrap();
        assert!(!left.path().exists());
        assert!(yard.home("stripe", "ana").unwrap().join("kept").exists());
        let others = ["ben", "../ana", "Ana", "", "~0", &"a".repeat(65)].map(|name| yard.home("stripe", name).unwrap());
        let all: std::collections::BTreeSet<_> = others.iter().chain([&home]).collect();
        assert_eq!(all.len(), 7, "{all:?}");
        assert!(all.iter().all(|home| home.parent().unwrap().ends_with("homes/stripe")), "{all:?}");
    }
}
