//! What stands below a call that leaves room on a large screen: the rule, what is different from the last approved call,
//! and what the session did last. All of it is a view of its own too, and says where it is cut.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::{Areas, put, rule};
use crate::console::app::App;
use crate::console::doc::Doc;
use crate::console::holds::Entry;
use crate::console::keys::Action;
use crate::console::tabs::{self, Tab};
use crate::console::theme::Theme;

/// Rows that a part takes at least, its title included.
const LEAST: usize = 3;

/// Draws the parts into the rows of the detail from `used` on.
pub fn draw(app: &App, entry: &Entry, areas: &Areas, used: usize, buf: &mut Buffer, theme: Theme) {
    let parts: Vec<_> = [Tab::Rule, Tab::Diff, Tab::Session]
        .into_iter()
        .filter_map(|tab| Some((tab, tabs::excerpt(app, &entry.view, tab)?)))
        .collect();
    let doc = areas.doc;
    let mut y = doc.y.saturating_add(u16::try_from(used + 1).unwrap_or(u16::MAX));
    for (n, (tab, part)) in parts.iter().enumerate() {
        let room = usize::from(doc.bottom().saturating_sub(y));
        let share = room / (parts.len() - n);
        if share < LEAST {
            return;
        }
        let title = Rect { y, height: 1, ..doc };
        rule(buf, title, theme, vec![Span::styled(tab.title(), theme.label())], Vec::new());
        let taken = rows(app, part, Rect { y: y + 1, height: doc.bottom() - y - 1, ..doc }, share - 1, buf, theme);
        y = y.saturating_add(u16::try_from(taken + 1).unwrap_or(u16::MAX));
    }
}

/// At most so many rows of a document; how many it took.
fn rows(app: &App, part: &Doc, area: Rect, most: usize, buf: &mut Buffer, theme: Theme) -> usize {
    let layout = part.layout(area.width);
    let fits = layout.len() <= most;
    let shown = if fits { layout.len() } else { most - 1 };
    let rows = (0..shown).filter_map(|row| part.row(&layout, row));
    for (row, y) in rows.zip(area.y..) {
        put(buf, area.x, y, area.width, super::detail::row_spans(&row, theme));
    }
    if !fits {
        let y = area.y.saturating_add(u16::try_from(shown).unwrap_or(u16::MAX));
        let words = format!("… {} more: {}", layout.len() - shown, app.key(Action::View));
        put(buf, area.x, y, area.width, vec![Span::styled(words, theme.dim())]);
    }
    if fits { shown } else { most }
}
