//! Whether a hold may be ruled on, and with what gesture: the one answer for the screen and for plain mode.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::console::describe;
use crate::console::holds::Entry;
use crate::console::sign::Signing;
use crate::console::visible;
use crate::control::wire::{HoldView, RulingKind};

/// Why nobody can rule on this hold any more, in words; nothing while somebody can.
pub fn ended(entry: &Entry, wall: Timestamp, zone: &TimeZone) -> Option<String> {
    if let Some(text) = describe::outcome(&entry.view.state, zone) {
        return Some(format!("{} has ended: {}", entry.view.id, visible::line(&text)));
    }
    entry.is_over(wall).then(|| format!("{}: its time is over", entry.view.id))
}

/// Whether an approval would be refused because nobody can sign it here.
pub fn lacks_signature(hold: &HoldView, signing: Option<&Signing>) -> bool {
    hold.signature_required && signing.is_none()
}

/// Who signs a ruling of this kind, where it has to be signed and somebody can.
pub fn signer(hold: &HoldView, ruling: RulingKind, signing: Option<&Signing>) -> Option<Signing> {
    signing.filter(|_| hold.signature_required && ruling == RulingKind::Approve).cloned()
}
