//! What is looked for and found in a text.

use std::ops::Range;

/// A text without keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scrubbed<T> {
    pub text: T,
    /// Whose keys stood in it: the names of our own, and `form:KIND` for others.
    pub names: Vec<String>,
    /// The keys of ours of which pieces stood in it outside of any whole one: a cut, or somebody's guess.
    pub pieces: Vec<String>,
}

/// What is looked for of our own keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sought {
    Pieces,
    Whole,
}

/// Whose key stands somewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Whose {
    /// By the index of its name.
    Ours(usize),
    /// A piece of it.
    Piece(usize),
    Foreign(&'static str),
}

impl Whose {
    pub fn all_of(self) -> Whose {
        match self {
            Whose::Piece(name) => Whose::Ours(name),
            whole @ (Whose::Ours(_) | Whose::Foreign(_)) => whole,
        }
    }
}

/// A place in a text, and what stands there.
pub(super) type Found = (Range<usize>, Whose);

/// The keys of which a piece stands anywhere but inside of a whole one, each once.
pub(super) fn in_pieces(found: &[Found]) -> Vec<usize> {
    let mut wholes: Vec<(usize, usize)> = found
        .iter()
        .filter(|(_, whose)| matches!(whose, Whose::Ours(_)))
        .map(|(range, _)| (range.start, range.end))
        .collect();
    wholes.sort_unstable();
    // Each with the farthest end of those that begin no later: a server can have very many of both in one message.
    let mut farthest = 0;
    for (_, end) in &mut wholes {
        farthest = farthest.max(*end);
        *end = farthest;
    }
    let inside = |piece: &Range<usize>| {
        let later = wholes.partition_point(|(start, _)| *start <= piece.start);
        later.checked_sub(1).and_then(|last| wholes.get(last)).is_some_and(|(_, end)| piece.end <= *end)
    };
    let pieces = found.iter().filter_map(|(range, whose)| match whose {
        Whose::Piece(name) if !inside(range) => Some(*name),
        Whose::Piece(_) | Whose::Ours(_) | Whose::Foreign(_) => None,
    });
    let mut names: Vec<usize> = pieces.collect();
    names.sort_unstable();
    names.dedup();
    names
}
