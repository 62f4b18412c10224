//! Keeps keys out of every text that leaves the daemon.
//!
//! Looked for are the key itself, its base64 (both alphabets, wherever it starts inside a longer encoded text) and its
//! hex digits, and of a key with lines each long one; each also behind JSON escapes and percent-encoding in any spelling,
//! up to two of them around each other, and broken into lines, or hex into groups; and in what `xxd`, `hexdump` and `od`
//! print with an offset at the beginning of each line (`dump`).
//! A piece of a long key, half of it or more, is taken like the whole where all of the key is secret (`forms`): what is
//! cut over two texts leaves less than half in either. That shows whether a guess at a key was right, so it is counted
//! (`guesses`). What a client says is searched for whole keys alone (`whole`). In the answers of servers keys of other
//! people are looked for as well, by their form.
//! A peer that wants to smuggle a key out has other encodings: this is against leaks, not against a hostile upstream.
//!
//! The search is this module's own because the automata of the usual libraries keep copies of what they look for and do
//! not wipe them. It goes over a text once for all needles together, in steps, and looks at eight bytes each time: of
//! every needle those windows are known that a look at it, or at a piece of it, cannot miss.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use self::forms::Form;
use self::found::{Found, Sought, Whose, in_pieces};
use self::guesses::Guesses;
use self::view::View;
use self::whole::Whole;
use super::secret::Secret;
use super::shape::{self, Kinds};
use crate::json::{JsonText, Rules};

pub use found::Scrubbed;
pub use guesses::TOLD;

mod dump;
mod forms;
mod found;
mod guesses;
mod view;
mod whole;

/// How many encodings around each other are undone.
const DEPTH: usize = 2;
/// The bytes of one look.
const LOOK: usize = 8;
/// The longest step from one look to the next.
const MAX_STEP: usize = 8;

/// Shorter keys are looked for as a whole, and no shorter piece of a longer one.
const PIECES_FROM: usize = 24;
const PIECE: usize = 12;

/// How many values of one key are looked for that nobody holds any more: they may still stand in a text that is on its
/// way. Of those that were only tried out there are as many again.
const VALUES: usize = 8;

/// Knows every key and replaces it by `[secret:NAME]`. It learns: a key that changes is looked for beside its old values.
/// A value that somebody still holds, the key in use or that of a child, is never forgotten.
#[derive(Default)]
pub struct Scrubber {
    known: ArcSwap<Known>,
    guesses: Guesses,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("names", &self.known.load().names).finish_non_exhaustive()
    }
}

impl Scrubber {
    /// From the names and values of all secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Scrubber {
        let mut known = Known::default();
        for (name, secret) in secrets {
            known.add(name, secret, None, Taken::Yes);
        }
        known.index();
        Scrubber { known: ArcSwap::from_pointee(known), guesses: Guesses::default() }
    }

    /// From now on this value is looked for too, for as long as somebody holds it and for a while after. Called before
    /// the first byte that could hold it leaves.
    pub fn learn(&self, name: &str, secret: &Arc<Secret>) {
        self.add(name, secret, Taken::Yes);
    }

    /// The same for a value that may not be taken: it is looked for, and pushes out none that was.
    pub fn try_out(&self, name: &str, secret: &Arc<Secret>) {
        self.add(name, secret, Taken::Not);
    }

    fn add(&self, name: &str, secret: &Arc<Secret>, taken: Taken) {
        let mut replaces = false;
        self.known.rcu(|known| {
            let mut known = Known::clone(known);
            replaces = known.add(name, secret, Some(Arc::downgrade(secret)), taken);
            known.index();
            known
        });
        if replaces {
            self.guesses.forget(name);
        }
    }

    /// A piece of this key was in what a server says: how often that was so since the key changed last, this time
    /// included. What is more than [`TOLD`] goes to nobody.
    pub fn count_piece(&self, name: &str) -> u32 {
        self.guesses.count(name)
    }

    /// The keys of which pieces were found more often than that.
    pub fn guessed(&self) -> Vec<String> {
        self.guesses.too_many()
    }

    /// Whether a client's text holds a key of ours: a whole one, in any of its encodings. A piece counts for nothing
    /// here: whoever could ask for pieces could guess a key one character at a time.
    pub fn has_whole(&self, text: &str) -> bool {
        matches!(self.whole(text), Cow::Owned(_))
    }

    /// What a client is told that may quote it: whole keys of ours, for the same reason.
    pub fn whole<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.known.load().text(text, Kinds::NONE, Sought::Whole).text
    }

    /// A log line, an error text, a header: our own keys.
    pub fn line<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.known.load().text(text, Kinds::NONE, Sought::Pieces).text
    }

    /// What a server says that is no JSON: our own keys, and those of these kinds.
    pub fn text<'a>(&self, text: &'a str, foreign: Kinds) -> Scrubbed<Cow<'a, str>> {
        self.known.load().text(text, foreign, Sought::Pieces)
    }

    /// A message of a server: our own keys, and those of these kinds. JSON again, or nothing where it could not be kept
    /// JSON.
    pub fn message(&self, text: &JsonText, foreign: Kinds) -> Scrubbed<Option<JsonText>> {
        self.known.load().message(text, foreign)
    }
}

/// What is looked for.
#[derive(Clone, Default)]
struct Known {
    names: Vec<String>,
    /// The oldest first.
    values: Vec<Value>,
    needles: Vec<Needle>,
    /// How far one look is from the next: as far as the shortest piece allows.
    step: usize,
    /// What a look has to know of each needle, sorted.
    grams: Zeroizing<Vec<Gram>>,
    /// One bit for the hash of each gram.
    filter: Zeroizing<Vec<u64>>,
    /// How far a hash is shifted down to be an index into the filter.
    shift: u32,
    whole: Whole,
}

/// Whether a value was ever in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taken {
    Yes,
    Not,
}

/// One value of a key.
#[derive(Clone)]
struct Value {
    name: usize,
    taken: Taken,
    /// Whoever has it in use. That nobody has it any more is seen when the next value comes.
    holders: Vec<Weak<Secret>>,
    /// What it is looked for as. The first is the value itself.
    needles: Vec<Needle>,
}

impl Value {
    fn is_held(&self) -> bool {
        self.holders.iter().any(|holder| holder.strong_count() > 0)
    }
}

#[derive(Clone)]
struct Needle {
    name: usize,
    form: Arc<Form>,
}

impl Needle {
    fn text(&self) -> &[u8] {
        &self.form.text
    }

    /// The shortest piece that is taken for it.
    fn piece(&self) -> usize {
        let length = self.text().len();
        if self.form.pieces && length >= PIECES_FROM { PIECE.max(length.div_ceil(2)) } else { length }
    }
}

/// Eight bytes of a needle, the needle's index, and how many of its bytes come before.
type Gram = (u64, usize, usize);

impl Known {
    /// A value of a key. Of those that nobody holds, the oldest is forgotten where there are too many. True where it is
    /// in use from now on and was not before.
    fn add(&mut self, name: &str, secret: &Secret, holder: Option<Weak<Secret>>, taken: Taken) -> bool {
        let known = self.names.iter().position(|other| other == name);
        let name = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        let is_it = |value: &Value| {
            value.name == name && value.needles.first().is_some_and(|own| own.text() == secret.expose().as_bytes())
        };
        // One that comes back counts as new, and keeps its old holders.
        let before = self.values.iter().position(is_it).map(|at| self.values.remove(at));
        let mut value = before.unwrap_or_else(|| {
            let forms = forms::of(secret.expose()).into_iter();
            let needles = forms.map(|form| Needle { name, form: Arc::new(form) }).collect();
            Value { name, taken: Taken::Not, holders: Vec::new(), needles }
        });
        let replaces = taken == Taken::Yes && value.taken == Taken::Not;
        if taken == Taken::Yes {
            value.taken = Taken::Yes;
        }
        value.holders.retain(|holder| holder.strong_count() > 0);
        value.holders.extend(holder);
        let taken = value.taken;
        self.values.push(value);
        let mut left = 0;
        for at in (0..self.values.len()).rev() {
            let is_one = |value: &&Value| value.name == name && value.taken == taken && !value.is_held();
            if self.values.get(at).filter(is_one).is_some() {
                left += 1;
                if left > VALUES {
                    self.values.remove(at);
                }
            }
        }
        replaces
    }

    fn index(&mut self) {
        self.needles = self.values.iter().flat_map(|value| value.needles.iter().cloned()).collect();
        self.whole = Whole::of(&self.needles);
        let looked_for = |needle: &&Needle| needle.text().len() >= LOOK;
        let shortest = self.needles.iter().filter(looked_for).map(Needle::piece).min();
        let step = shortest.map_or(1, |length| (length + 1 - LOOK).min(MAX_STEP));
        self.step = step;
        // Of a piece, `piece - LOOK + 1` windows lie side by side; a look at it sees one of every `step` of them. With
        // `step` windows known after each `stride`, one of those that it sees is known.
        let known = |needle: &Needle| {
            let (length, piece) = (needle.text().len(), needle.piece());
            let stride = (piece + 2).saturating_sub(LOOK + step).max(1);
            let last = (length + 1).saturating_sub(LOOK + step);
            (0..(length + 1).saturating_sub(LOOK))
                .filter(move |at| if piece == length { *at >= last } else { at % stride < step })
        };
        let count = self.needles.iter().map(|needle| known(needle).count()).sum();
        // Room for all of them, so that the vector never moves and one wipe reaches everything.
        let mut grams = Zeroizing::new(Vec::with_capacity(count));
        for (index, needle) in self.needles.iter().enumerate() {
            let windows = known(needle).filter_map(|at| Some((needle.text().get(at..)?.first_chunk::<LOOK>()?, at)));
            grams.extend(windows.map(|(gram, at)| (u64::from_le_bytes(*gram), index, at)));
        }
        grams.sort_unstable();
        let bits = (grams.len() * 64).next_power_of_two().max(1 << 14);
        self.shift = 64 - bits.ilog2();
        let mut filter = Zeroizing::new(vec![0_u64; bits / 64]);
        for (gram, _, _) in grams.iter() {
            let slot = self.slot(*gram);
            if let Some(word) = filter.get_mut(slot / 64) {
                *word |= 1 << (slot % 64);
            }
        }
        (self.grams, self.filter) = (grams, filter);
    }

    fn text<'a>(&self, text: &'a str, foreign: Kinds, sought: Sought) -> Scrubbed<Cow<'a, str>> {
        let mut found = Vec::new();
        self.search_all(text.as_bytes(), &[], DEPTH, (foreign, sought), &mut found);
        let (names, pieces) = (self.names(&found), self.pieces(&found));
        Scrubbed { text: self.replace(text, found), names, pieces }
    }

    fn message(&self, text: &JsonText, foreign: Kinds) -> Scrubbed<Option<JsonText>> {
        let (mut found, what) = (Vec::new(), (foreign, Sought::Pieces));
        // What a JSON reader sees is what counts: the spelling itself is not searched where it has escapes, because a
        // match could begin inside of one.
        match View::json(text.as_str().as_bytes()) {
            None => self.search_all(text.as_str().as_bytes(), &[], DEPTH, what, &mut found),
            Some(view) => self.search_all(&view.text, &[&view], DEPTH, what, &mut found),
        }
        let (names, pieces) = (self.names(&found), self.pieces(&found));
        let text = match self.replace(text.as_str(), found) {
            Cow::Borrowed(_) => Some(text.clone()),
            Cow::Owned(scrubbed) => JsonText::parse(scrubbed, Rules::UPSTREAM).ok(),
        };
        Scrubbed { text, names, pieces }
    }

    /// Whose keys were found, each once.
    fn names(&self, found: &[Found]) -> Vec<String> {
        let mut whose: Vec<Whose> = found.iter().map(|(_, whose)| whose.all_of()).collect();
        whose.sort_unstable();
        whose.dedup();
        let name = |whose| match whose {
            Whose::Ours(name) | Whose::Piece(name) => self.names.get(name).cloned().unwrap_or_default(),
            Whose::Foreign(kind) => format!("form:{kind}"),
        };
        whose.into_iter().map(name).collect()
    }

    /// The keys of ours of which pieces stand outside of whole ones, each once.
    fn pieces(&self, found: &[Found]) -> Vec<String> {
        in_pieces(found).into_iter().filter_map(|name| self.names.get(name).cloned()).collect()
    }

    /// Searches a text and what it says when up to `depth` encodings are undone. `outer` are the views that led to it,
    /// the outermost first.
    fn search_all(
        &self,
        text: &[u8],
        outer: &[&View],
        depth: usize,
        (foreign, sought): (Kinds, Sought),
        found: &mut Vec<Found>,
    ) {
        let outward = |range| outer.iter().rev().fold(range, |range, view| view.outward(range));
        self.search(text, sought, |range, whose| found.push((outward(range), whose)));
        shape::foreign(text, foreign, |range, kind| found.push((outward(range), Whose::Foreign(kind))));
        if let Some(joined) = View::joined(text) {
            self.search(&joined.text, sought, |range, whose| found.push((outward(joined.outward(range)), whose)));
        }
        for dump in dump::dumps(text) {
            self.search(&dump.text, sought, |range, whose| {
                found.extend(dump.outward(text, range).into_iter().map(|range| (outward(range), whose)));
            });
        }
        let Some(depth) = depth.checked_sub(1) else { return };
        for undo in [View::json, View::percent] {
            if let Some(view) = undo(text) {
                let path: Vec<&View> = outer.iter().copied().chain([&view]).collect();
                self.search_all(&view.text, &path, depth, (foreign, sought), found);
            }
        }
    }

    fn search(&self, text: &[u8], sought: Sought, report: impl FnMut(Range<usize>, Whose)) {
        match sought {
            Sought::Pieces => self.search_pieces(text, report),
            Sought::Whole => self.whole.search(&self.needles, text, report),
        }
    }

    fn search_pieces(&self, text: &[u8], mut report: impl FnMut(Range<usize>, Whose)) {
        // Keys that were resolved are never shorter than a look.
        for needle in self.needles.iter().filter(|needle| needle.text().len() < LOOK) {
            for (start, window) in text.windows(needle.text().len()).enumerate() {
                if window == needle.text() {
                    report(start..start + window.len(), Whose::Ours(needle.name));
                }
            }
        }
        if self.grams.is_empty() {
            return;
        }
        let mut at = 0;
        while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<LOOK>()) {
            let gram = u64::from_le_bytes(*bytes);
            let slot = self.slot(gram);
            let mut next = at + self.step;
            if self.filter.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
                && let Some(end) = self.verify(text, at, gram, &mut report)
            {
                // What goes on behind the end is seen by a look that begins before it, and so is what ends there as
                // well and begins earlier: an address around its password. Of that only the last windows are known.
                next = next.max((end + 1).saturating_sub(LOOK + self.step));
            }
            at = next;
        }
    }

    /// Whether needles, or pieces of them, stand where a look saw something of one. The farthest end, where there is one.
    #[cold]
    fn verify(&self, text: &[u8], at: usize, seen: u64, report: &mut impl FnMut(Range<usize>, Whose)) -> Option<usize> {
        let first = self.grams.partition_point(|(gram, _, _)| *gram < seen);
        let mut farthest = None;
        for (_, index, before) in self.grams.iter().skip(first).take_while(|(gram, _, _)| *gram == seen) {
            let Some(needle) = self.needles.get(*index) else { continue };
            let same = |pair: &(&u8, &u8)| pair.0 == pair.1;
            let (head, rest) = needle.text().split_at_checked(*before).unwrap_or_default();
            let (left, right) = text.split_at_checked(at).unwrap_or_default();
            let left = left.iter().rev().zip(head.iter().rev()).take_while(same).count();
            let right = right.iter().zip(rest).take_while(same).count();
            if left + right >= needle.piece() {
                let all = left + right == needle.text().len();
                let whose = if all { Whose::Ours(needle.name) } else { Whose::Piece(needle.name) };
                report(at - left..at + right, whose);
                farthest = farthest.max(Some(at + right));
            }
        }
        farthest
    }

    fn slot(&self, gram: u64) -> usize {
        usize::try_from(gram.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift).unwrap_or_default()
    }

    /// Writes a mark over every place; places that overlap get one, with the name of the longest that begins first. Of
    /// other people's keys the beginning stays, which says what it was.
    fn replace<'a>(&self, text: &'a str, mut found: Vec<Found>) -> Cow<'a, str> {
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|(range, whose)| (range.start, std::cmp::Reverse(range.end), *whose));
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        let mut places = found.into_iter().peekable();
        while let Some((mut range, whose)) = places.next() {
            while let Some((next, _)) = places.next_if(|(next, _)| next.start < range.end) {
                range.end = range.end.max(next.end);
            }
            let start = text.floor_char_boundary(range.start);
            out.push_str(text.get(copied..start).unwrap_or_default());
            match whose {
                Whose::Ours(name) | Whose::Piece(name) => {
                    out.push_str("[secret:");
                    out.push_str(self.names.get(name).map_or("", String::as_str));
                    out.push(']');
                }
                Whose::Foreign(_) => out.push_str("[hidden]"),
            }
            copied = text.ceil_char_boundary(range.end);
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests;
