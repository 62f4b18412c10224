//! The head: where a log ends, in a file of its own. A chain alone cannot show that its end was cut off.
//!
//! Two slots of [`SLOT`] bytes, written in turn and in place, each with a check: whatever a crash tears, the other slot
//! is whole. It is written after a commit that reached the disk, so the log never ends before it. Nobody is stopped
//! here who writes both files: for that there are checkpoints kept elsewhere.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::call::Digest;

use super::super::AuditError;
use super::super::verify::Problem;
use super::{open_own, sync_folder};

const SLOT: usize = 128;

/// The end of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::audit) struct Head {
    /// The last record that is synced; 0 before the first.
    pub seq: u64,
    pub hash: Digest,
    /// No call that was open then has a record before this one.
    pub low: u64,
    /// The writer ended in order: no record may follow.
    pub closed: bool,
}

impl Head {
    fn slot(&self) -> Vec<u8> {
        let state = if self.closed { 'c' } else { 'o' };
        let content = format!("{:020} {:020} {} {state} ", self.seq, self.low, self.hash);
        let check = check(&content);
        format!("{content}{check:<width$}\n", width = SLOT - 1 - content.len()).into_bytes()
    }

    fn parse(slot: &str) -> Option<Head> {
        let slot = slot.strip_suffix('\n')?;
        let (content, check) = slot.trim_end().rsplit_once(' ')?;
        if check != self::check(&format!("{content} ")) {
            return None;
        }
        let mut fields = content.split(' ');
        let mut field = || fields.next();
        let (seq, low) = (field()?.parse().ok()?, field()?.parse().ok()?);
        let hash = field()?.parse().ok()?;
        let closed = match field()? {
            "c" => true,
            "o" => false,
            _ => return None,
        };
        Some(Head { seq, hash, low, closed })
    }

    /// The head beside a log; nothing where there is no such file.
    ///
    /// # Errors
    /// [`AuditError::Broken`] where neither slot is whole.
    pub fn read(path: &Path) -> Result<Option<Head>, AuditError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(AuditError::file(path, &error)),
        };
        let slots = read_slots(&file).map_err(|error| AuditError::file(path, &error))?;
        best(slots).map(Some).ok_or(AuditError::Broken(Problem::HeadDamaged))
    }
}

/// Sixteen hex digits over a slot's content.
fn check(content: &str) -> String {
    let mut digest = Digest::of_bytes(content.as_bytes()).to_string();
    digest.truncate(16);
    digest
}

fn read_slots(file: &File) -> io::Result<[Option<Head>; 2]> {
    let mut bytes = Vec::new();
    file.take(4 * SLOT as u64).read_to_end(&mut bytes)?;
    let slot = |n: usize| Head::parse(std::str::from_utf8(bytes.get(n * SLOT..(n + 1) * SLOT)?).ok()?);
    Ok([slot(0), slot(1)])
}

/// The later one. A crash between the two writes that close or open a log leaves two of one number: then it is open.
fn best(slots: [Option<Head>; 2]) -> Option<Head> {
    slots.into_iter().flatten().max_by_key(|head| (head.seq, !head.closed))
}

/// The head, for the writer.
#[derive(Debug)]
pub(in crate::audit) struct HeadFile {
    file: File,
    second: bool,
}

impl HeadFile {
    /// Writes the first head of this run into both slots, synced.
    pub fn start(path: &Path, head: &Head) -> io::Result<HeadFile> {
        let file = open_own(path)?;
        let mut this = HeadFile { file, second: false };
        this.write_both(head)?;
        sync_folder(path)?;
        Ok(this)
    }

    /// Not synced: a head that lags behind is true.
    pub fn write(&mut self, head: &Head) -> io::Result<()> {
        let at = if self.second { SLOT as u64 } else { 0 };
        self.second = !self.second;
        self.file.write_all_at(&head.slot(), at)
    }

    /// For a head that says more than the number: both slots, one after the other, synced.
    pub fn write_both(&mut self, head: &Head) -> io::Result<()> {
        for _ in 0..2 {
            self.write(head)?;
            self.file.sync_data()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn head(seq: u64) -> Head {
        Head { seq, hash: Digest::of_bytes(&seq.to_be_bytes()), low: seq + 1, closed: false }
    }

    #[test]
    fn the_later_slot_counts_and_a_torn_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.head");
        assert_eq!(Head::read(&path).unwrap(), None);
        let mut file = HeadFile::start(&path, &head(0)).unwrap();
        for seq in 1..=5 {
            file.write(&head(seq)).unwrap();
            assert_eq!(Head::read(&path).unwrap(), Some(head(seq)));
        }
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len(), 2 * SLOT);
        // Record 5 went to the first slot: whichever byte of it is lost, record 4 is still there.
        for at in 0..SLOT {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            fs::write(&path, &torn).unwrap();
            assert_eq!(Head::read(&path).unwrap(), Some(head(4)), "byte {at}");
        }
        fs::write(&path, "").unwrap();
        assert!(matches!(Head::read(&path), Err(AuditError::Broken(Problem::HeadDamaged))));
    }

    #[test]
    fn a_closed_head_says_so_in_both_slots() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.head");
        let mut file = HeadFile::start(&path, &head(0)).unwrap();
        file.write(&head(1)).unwrap();
        let closed = Head { closed: true, ..head(2) };
        file.write_both(&closed).unwrap();
        assert_eq!(read_slots(&File::open(&path).unwrap()).unwrap(), [Some(closed); 2]);
    }
}
