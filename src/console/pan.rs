//! Long lines of the detail: wrapped, or each in one row that is panned.
//!
//! Invariant: nothing is cut in silence. A row that goes on to the left or to the right says so beside its text, and what
//! of it was not on the screen counts as unseen, so that an approval waits for it.

use super::app::{App, Open};
use super::view;

/// Columns that a step to the right shows again.
const AGAIN: usize = 4;

/// Turns the wrapping of long lines on or off; the line at the top stays there.
pub(super) fn wrap(app: &mut App) {
    app.wrap = !app.wrap;
    if let Some(open) = &mut app.open {
        let line = open.layout.lines_of(open.scroll..open.scroll + 1).start;
        lay(open, open.width, app.wrap);
        open.scroll = open.layout.row_of_line(line);
    }
    app.changed();
    app.say(if app.wrap {
        "long lines are wrapped"
    } else {
        "long lines are not wrapped: those with › go on to the right; what was not shown counts as unseen"
    });
}

/// Lays the document out anew.
pub(super) fn lay(open: &mut Open, width: u16, wrap: bool) {
    open.layout = if wrap { open.doc.layout(width) } else { open.doc.unwrapped(width) };
    (open.width, open.wrap, open.pan) = (width, wrap, 0);
}

/// Goes to the right while a row on the screen goes on there. False where none does.
pub(super) fn right(app: &mut App) -> bool {
    let doc = view::areas(app).doc;
    let Some(open) = app.open.as_mut().filter(|open| !open.wrap) else { return false };
    let rows = open.scroll..open.scroll + usize::from(doc.height);
    let windows = rows.filter_map(|row| open.layout.window(&open.doc, row, open.pan));
    // Up to where each row has been on the screen, so that nothing lies between two steps.
    let Some(until) = windows.filter(|window| window.right).map(|window| window.until).min() else { return false };
    open.pan = until.saturating_sub(AGAIN).max(open.pan + 1);
    app.changed();
    true
}

/// Goes back to the left. False where the rows are at their beginning.
pub(super) fn left(app: &mut App) -> bool {
    let width = view::areas(app).doc.width;
    let Some(open) = app.open.as_mut().filter(|open| open.pan > 0) else { return false };
    open.pan = open.pan.saturating_sub(usize::from(width / 3).max(8));
    app.changed();
    true
}
