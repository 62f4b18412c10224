//! What is looked for and found in a text.

use std::ops::Range;

/// A text without keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scrubbed<T> {
    pub text: T,
    /// Whose keys stood in it: the names of our own, and `form:KIND` for others.
    pub names: Vec<String>,
    /// A piece of a key of ours stood in it outside of any whole one: a cut, or somebody's guess.
    pub pieces: bool,
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

/// Whether a piece of a key of ours stands anywhere but inside of a whole one.
pub(super) fn has_pieces(found: &[Found]) -> bool {
    let inside = |piece: &Range<usize>, whole: &Range<usize>| whole.start <= piece.start && piece.end <= whole.end;
    let wholes = || found.iter().filter(|(_, whose)| matches!(whose, Whose::Ours(_)));
    let mut pieces = found.iter().filter(|(_, whose)| matches!(whose, Whose::Piece(_)));
    pieces.any(|(piece, _)| !wholes().any(|(whole, _)| inside(piece, whole)))
}
