//! How far a grant shall go, before the daemon has written it: which arguments may vary, how often, for how long. The
//! grant itself is the daemon's text and nothing of this.

use crate::call::{CallId, Digest};
use crate::console::dialog::{Answer, Ready};
use crate::console::keys::Action;
use crate::control::wire::{GrantBounds, HoldView};
use crate::json::{Json, Kind};

/// Arguments that are offered; the others have to be the same.
const LEAVES: usize = 40;
/// Most calls and minutes that can be wished for; the daemon's bounds may be narrower.
const USES: u32 = 50;
const MINUTES: u32 = 30;

/// An argument that may vary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaf {
    pub pointer: String,
    /// As it is spelled; has not passed the escape function.
    pub value: String,
    number: bool,
    pub varies: bool,
}

impl Leaf {
    /// What holds of the argument in a call that the grant lets pass.
    pub fn words(&self) -> &'static str {
        match (self.varies, self.number) {
            (false, _) => "the same",
            (true, true) => "at most this",
            (true, false) => "any text",
        }
    }
}

/// The question for a grant. It names one digest of one hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    pub id: CallId,
    pub digest: Digest,
    pub leaves: Vec<Leaf>,
    pub cursor: usize,
    pub uses: u32,
    pub minutes: u32,
    /// What the record keeps beside it.
    pub note: Option<String>,
    /// The daemon is asked for the text, under this number.
    pub asked: Option<u64>,
    /// The grant as the daemon wrote it: what is on the screen is what is made.
    pub draft: Option<String>,
    /// The text is on the screen, whole.
    pub fits: bool,
}

impl Wish {
    pub fn new(hold: &HoldView, note: Option<String>) -> Wish {
        let mut leaves = Vec::new();
        collect(&mut String::new(), hold.arguments.view(), &mut leaves);
        Wish {
            id: hold.id.clone(),
            digest: hold.digest,
            leaves,
            cursor: 0,
            uses: 5,
            minutes: 10,
            note,
            asked: None,
            draft: None,
            fits: false,
        }
    }

    pub fn bounds(&self) -> GrantBounds {
        let varying = |number: bool| {
            let leaves = self.leaves.iter().filter(|leaf| leaf.varies && leaf.number == number);
            leaves.map(|leaf| leaf.pointer.clone()).collect()
        };
        GrantBounds { at_most: varying(true), any: varying(false), uses: self.uses, seconds: self.minutes * 60 }
    }

    pub fn key(&mut self, action: Option<Action>, ready: Ready) -> Answer {
        if self.draft.is_some() {
            return match action {
                Some(Action::Yes) if !self.fits => Answer::Early("the text does not fit: make the window larger"),
                Some(Action::Yes) if ready.ruling => Answer::Grant,
                Some(Action::Yes) => Answer::Early("not so fast: read the text, then press y"),
                Some(Action::Back) => Answer::Close,
                _ => Answer::Stay,
            };
        }
        match action {
            Some(Action::Back) => return Answer::Close,
            Some(Action::Enter) if self.asked.is_some() => return Answer::Early("the daemon writes it"),
            Some(Action::Enter) => return Answer::Draft,
            _ if self.asked.is_some() => {}
            Some(Action::Next) => self.cursor = (self.cursor + 1).min(self.leaves.len().saturating_sub(1)),
            Some(Action::Previous) => self.cursor = self.cursor.saturating_sub(1),
            Some(Action::Toggle) => {
                if let Some(leaf) = self.leaves.get_mut(self.cursor) {
                    leaf.varies = !leaf.varies;
                }
            }
            Some(Action::More) => self.uses = (self.uses + 1).min(USES),
            Some(Action::Fewer) => self.uses = self.uses.saturating_sub(1).max(1),
            Some(Action::Longer) => self.minutes = (self.minutes + 5).min(MINUTES),
            Some(Action::Shorter) => self.minutes = self.minutes.saturating_sub(5).max(5),
            _ => {}
        }
        Answer::Stay
    }
}

/// Numbers and strings, by their pointers. As deep as the strict reader lets a value be. A pointer is written only for
/// what is offered: a long key times many items would be far more text than the call.
fn collect(pointer: &mut String, value: Json<'_>, leaves: &mut Vec<Leaf>) {
    let length = pointer.len();
    match value.kind() {
        Kind::Object => {
            for (key, value) in value.members() {
                if leaves.len() >= LEAVES {
                    return;
                }
                let name = key.as_str().unwrap_or_default().replace('~', "~0").replace('/', "~1");
                pointer.push('/');
                pointer.push_str(&name);
                collect(pointer, value, leaves);
                pointer.truncate(length);
            }
        }
        Kind::Array => {
            for (n, value) in value.items().enumerate() {
                if leaves.len() >= LEAVES {
                    return;
                }
                pointer.push_str(&format!("/{n}"));
                collect(pointer, value, leaves);
                pointer.truncate(length);
            }
        }
        kind @ (Kind::Number | Kind::String) => leaves.push(Leaf {
            pointer: pointer.clone(),
            value: value.text().to_owned(),
            number: kind == Kind::Number,
            varies: false,
        }),
        Kind::Bool | Kind::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{JsonText, Rules};

    #[test]
    fn the_first_leaves_are_offered_whatever_stands_above_them() {
        let items = vec!["1"; 20_000].join(",");
        let text = format!(r#"{{"{}":[[true],{items}],"b":2}}"#, "k".repeat(100_000));
        let text = JsonText::parse(text.as_str(), Rules::CLIENT).unwrap();
        let mut leaves = Vec::new();
        let start = std::time::Instant::now();
        collect(&mut String::new(), text.view(), &mut leaves);
        assert_eq!(leaves.len(), LEAVES);
        assert!(leaves.iter().all(|leaf| leaf.pointer.len() > 100_000));
        assert!(start.elapsed() < std::time::Duration::from_secs(5));

        let text = JsonText::parse(r#"{"a/b":[1,{"c":"x"}],"d":2}"#, Rules::CLIENT).unwrap();
        let mut leaves = Vec::new();
        collect(&mut String::new(), text.view(), &mut leaves);
        let pointers: Vec<_> = leaves.iter().map(|leaf| leaf.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a~1b/0", "/a~1b/1/c", "/d"]);
    }
}
