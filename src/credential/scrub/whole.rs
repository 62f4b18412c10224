//! Finds whole keys, in what clients say.
//!
//! Invariant: neither the answer nor the time that it takes depends on how much of a key a text has right, so that
//! nobody learns a key by guessing it piece by piece. What is compared first is a hash, another one each time that
//! something is learned: of the last bytes of a key where all of it is secret, enough of them that nobody guesses them at
//! once, and else of the whole, because anybody may know its end. What has the hash is compared in constant time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::ops::Range;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Needle, Whose};

/// The bytes that are hashed of a key that is secret in all its parts. A shorter one is hashed as a whole.
const WINDOW: usize = 24;
/// Bits of a filter.
const BITS: u32 = 12;

/// The ends of all keys.
#[derive(Clone, Default)]
pub(super) struct Whole(Vec<Ends>);

/// The ends of keys that have as many bytes.
#[derive(Clone)]
struct Ends {
    window: usize,
    base: u64,
    /// What a byte counts for when it leaves the window.
    leaving: u64,
    /// The hash of each end and its needle's index, sorted.
    hashes: Zeroizing<Vec<(u64, usize)>>,
    /// One bit for each hash.
    filter: Zeroizing<Vec<u64>>,
}

/// How many of its last bytes are hashed.
pub(super) fn window(needle: &Needle) -> usize {
    let length = needle.text().len();
    if needle.form.pieces { length.min(WINDOW) } else { length }
}

impl Whole {
    pub fn of(needles: &[Needle]) -> Whole {
        let whole = || needles.iter().enumerate().filter(|(_, needle)| needle.form.whole);
        let mut windows: Vec<usize> = whole().map(|(_, needle)| window(needle)).collect();
        windows.sort_unstable();
        windows.dedup();
        let ends = |length| {
            let of = whole().filter(|(_, needle)| window(needle) == length);
            Ends::of(length, of.map(|(index, needle)| (index, needle.text())))
        };
        Whole(windows.into_iter().map(ends).collect())
    }

    pub fn search(&self, needles: &[Needle], text: &[u8], mut report: impl FnMut(Range<usize>, Whose)) {
        for ends in &self.0 {
            ends.search(text, |end, index| {
                let Some((needle, said)) = needles.get(index).zip(text.get(..end)) else { return };
                let Some(start) = end.checked_sub(needle.text().len()) else { return };
                if said.get(start..).is_some_and(|said| bool::from(said.ct_eq(needle.text()))) {
                    report(start..end, Whose::Ours(needle.name));
                }
            });
        }
    }
}

impl Ends {
    fn of<'a>(window: usize, needles: impl Iterator<Item = (usize, &'a [u8])>) -> Ends {
        // Odd, and nobody's to know: a text cannot be made to look like a key without being its end.
        let base = RandomState::new().hash_one(window) | 1;
        let leaving = (1..window).fold(1_u64, |power, _| power.wrapping_mul(base));
        let hash = |text: &[u8]| {
            let end = text.get(text.len().saturating_sub(window)..).unwrap_or_default();
            end.iter().fold(0, |hash, byte| step(hash, base, *byte))
        };
        let mut hashes: Zeroizing<Vec<_>> = Zeroizing::new(needles.map(|(index, text)| (hash(text), index)).collect());
        hashes.sort_unstable();
        let mut filter = Zeroizing::new(vec![0_u64; 1 << BITS >> 6]);
        for (hash, _) in hashes.iter() {
            let slot = slot(*hash);
            if let Some(word) = filter.get_mut(slot / 64) {
                *word |= 1 << (slot % 64);
            }
        }
        Ends { window, base, leaving, hashes, filter }
    }

    /// Reports where an end may stand, and whose it would be.
    fn search(&self, text: &[u8], mut report: impl FnMut(usize, usize)) {
        let Some((first, rest)) = text.split_at_checked(self.window) else { return };
        let mut hash = first.iter().fold(0, |hash, byte| step(hash, self.base, *byte));
        self.look(hash, self.window, &mut report);
        for (at, (leaves, comes)) in text.iter().zip(rest).enumerate() {
            hash = step(hash.wrapping_sub(self.leaving.wrapping_mul(u64::from(*leaves))), self.base, *comes);
            self.look(hash, self.window + at + 1, &mut report);
        }
    }

    fn look(&self, hash: u64, end: usize, report: &mut impl FnMut(usize, usize)) {
        let slot = slot(hash);
        if self.filter.get(slot / 64).is_none_or(|word| word >> (slot % 64) & 1 == 0) {
            return;
        }
        let first = self.hashes.partition_point(|(known, _)| *known < hash);
        for (_, index) in self.hashes.iter().skip(first).take_while(|(known, _)| *known == hash) {
            report(end, *index);
        }
    }
}

fn step(hash: u64, base: u64, byte: u8) -> u64 {
    hash.wrapping_mul(base).wrapping_add(u64::from(byte))
}

fn slot(hash: u64) -> usize {
    usize::try_from(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - BITS)).unwrap_or_default()
}
