//! The detail of the selected hold: the rows of its document that fit, between a title and a line that says how much of
//! it has been seen.

use ratatui::buffer::Buffer;
use ratatui::style::Style;
use ratatui::text::Span;

use super::{Areas, put, rule};
use crate::console::app::App;
use crate::console::describe;
use crate::console::doc::{Kind, Row};
use crate::console::keys::Action;
use crate::console::tabs::Tab;
use crate::console::theme::Theme;
use crate::console::visible;

/// Columns of the words that say that long lines are not wrapped.
const UNWRAPPED: u16 = 23;

pub fn draw(app: &App, areas: &Areas, buf: &mut Buffer, theme: Theme) {
    let (Some(open), Some(entry)) = (&app.open, app.selected()) else {
        rule(buf, areas.title, theme, Vec::new(), Vec::new());
        return rule(buf, areas.rule, theme, Vec::new(), Vec::new());
    };
    let hold = &entry.view;
    let mut right = vec![Span::styled(describe::badge(hold), theme.badge(hold.production)), Span::raw(" ")];
    if entry.is_pending() {
        let tier = entry.risk.tier;
        right
            .push(Span::styled(format!("{} {}", describe::tier_mark(tier), describe::tier_word(tier)), theme.strong()));
        if hold.waiting > 1 {
            right.push(Span::styled(format!("  x{}", hold.waiting), theme.strong()));
        }
        right.push(Span::raw(format!("  {}", describe::left(entry.seconds_left(app.now.wall)))));
        if let Some(words) = describe::client_clock(entry, app.now.wall) {
            right.push(Span::styled(format!("  client {words}"), theme.dim()));
        }
    } else {
        right.push(Span::styled("ENDED", theme.strong()));
    }
    let right_columns: usize = right.iter().map(Span::width).sum();
    // Around both there are the ends of the rule and the blanks beside them.
    let room = usize::from(areas.title.width).saturating_sub(right_columns + hold.id.as_str().len() + 2 + 9);
    let mut left = vec![Span::styled(format!("{}  ", hold.id), theme.strong())];
    left.extend(visible::spans(
        &visible::capped(&format!("{} · {}", hold.server, describe::called(hold)), room),
        theme.strong(),
    ));
    rule(buf, areas.title, theme, left, right);

    let doc = areas.doc;
    for (row, y) in (open.scroll..).zip(doc.top()..doc.bottom()) {
        let Some(window) = open.layout.window(&open.doc, row, open.pan) else { break };
        let mut spans = row_spans(&window.row, theme);
        if window.left {
            // The last column of what stands before a text is a blank of ours.
            put(buf, doc.x, y, doc.width, spans.drain(..1).collect());
            let x = doc.x + columns(&window.row.lead());
            put(buf, x.saturating_sub(1), y, 1, vec![Span::styled("‹", theme.warning())]);
            put(buf, x, y, doc.right().saturating_sub(x), spans);
        } else {
            put(buf, doc.x, y, doc.width, spans);
        }
        if window.right {
            put(buf, doc.right().saturating_sub(1), y, 1, vec![Span::styled("›", theme.warning())]);
        }
    }
    if open.tab == Tab::Pretty && super::is_wide(app) && open.layout.len() < usize::from(doc.height) {
        super::below::draw(app, entry, areas, open.layout.len(), buf, theme);
    }
    let (seen, must) = app.seen();
    let below = open.layout.len().saturating_sub(open.scroll + usize::from(doc.height));
    let more = if below > 0 { format!("{below} more below") } else { "end".to_owned() };
    let (words, style) = match (must, entry.read) {
        (0, true) => ("read".to_owned(), theme.dim()),
        (0, false) => (format!("not read: {}", app.key(Action::View)), theme.strong()),
        (must, _) if seen < must => (format!("seen {seen}/{must} lines"), theme.strong()),
        (must, _) => (format!("seen {seen}/{must} lines"), theme.dim()),
    };
    let wrap = app.key(Action::Wrap);
    let rest = if open.wrap { 0 } else { UNWRAPPED + columns(wrap) };
    let mut right = tabs(open.tab, app.key(Action::View), areas.rule.width.saturating_sub(rest), theme);
    if !open.wrap {
        right.push(Span::styled(format!("· {} not wrapped, +{} ", wrap, open.pan), theme.strong()));
    }
    right.push(Span::styled(format!("· {more}"), theme.dim()));
    rule(buf, areas.rule, theme, vec![Span::styled(words, style)], right);
}

fn columns(text: &str) -> u16 {
    u16::try_from(visible::columns(text)).unwrap_or(u16::MAX)
}

/// The views, the open one in brackets; where there is no room, that one and its number.
fn tabs(open: Tab, key: &str, width: u16, theme: Theme) -> Vec<Span<'static>> {
    let place = Tab::ALL.iter().position(|tab| *tab == open).unwrap_or(0) + 1;
    if width < 76 {
        let words = format!("{key} {} {place}/{} ", open.title(), Tab::ALL.len());
        return vec![Span::styled(words, theme.dim())];
    }
    let tab = |tab: &Tab| match *tab == open {
        true => Span::styled(format!("[{}] ", tab.title()), theme.strong()),
        false => Span::styled(format!("{} ", tab.title()), theme.dim()),
    };
    Tab::ALL.iter().map(tab).collect()
}

/// A row, its gutter or label in our style, its text in its own.
pub fn row_spans(row: &Row<'_>, theme: Theme) -> Vec<Span<'static>> {
    let (lead, text) = match row.kind {
        Kind::Fact(_) => (theme.label(), Style::new()),
        Kind::Warning => (theme.warning(), theme.warning()),
        Kind::Heading => (theme.strong(), theme.strong()),
        Kind::Payload { marked: true, .. } | Kind::Quoted { marked: true } => (theme.warning(), theme.strong()),
        Kind::Payload { .. } | Kind::Quoted { .. } => (theme.chrome(), Style::new()),
        Kind::Note => (theme.chrome(), theme.dim()),
        Kind::Fold => (theme.warning(), theme.strong()),
    };
    let mut spans = vec![Span::styled(row.lead(), lead)];
    spans.extend(visible::spans(row.text, text));
    spans
}
