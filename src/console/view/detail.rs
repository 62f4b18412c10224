//! The detail of the selected hold: the rows of its document that fit, between a title and a line that says how much of
//! it has been seen.

use ratatui::buffer::Buffer;
use ratatui::style::Style;
use ratatui::text::Span;

use super::theme::Theme;
use super::{Areas, put, rule};
use crate::console::app::App;
use crate::console::describe;
use crate::console::doc::{Kind, Row};
use crate::console::visible;

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
        right.push(Span::raw(format!("  {}", describe::left(entry.seconds_left(app.now.wall)))));
    } else {
        right.push(Span::styled("ENDED", theme.strong()));
    }
    let right_columns: usize = right.iter().map(Span::width).sum();
    // Around both there are the ends of the rule and the blanks beside them.
    let room = usize::from(areas.title.width).saturating_sub(right_columns + hold.id.as_str().len() + 2 + 9);
    let mut left = vec![Span::styled(format!("{}  ", hold.id), theme.strong())];
    left.extend(visible::spans(&visible::capped(&format!("{} · {}", hold.server, hold.tool), room), theme.strong()));
    rule(buf, areas.title, theme, left, right);

    let doc = areas.doc;
    for (row, y) in (open.scroll..).zip(doc.top()..doc.bottom()) {
        let Some(row) = open.doc.row(&open.layout, row) else { break };
        put(buf, doc.x, y, doc.width, row_spans(&row, theme));
    }
    let (seen, must) = app.seen();
    let below = open.layout.len().saturating_sub(open.scroll + usize::from(doc.height));
    let more = if below > 0 { format!("{below} more below") } else { "end".to_owned() };
    let style = if seen < must { theme.strong() } else { theme.dim() };
    let seen = vec![Span::styled(format!("seen {seen}/{must} lines"), style)];
    rule(buf, areas.rule, theme, seen, vec![Span::styled(more, theme.dim())]);
}

/// A row, its gutter or label in our style, its text in its own.
pub fn row_spans(row: &Row<'_>, theme: Theme) -> Vec<Span<'static>> {
    let (lead, text) = match row.kind {
        Kind::Fact(_) => (theme.label(), Style::new()),
        Kind::Warning => (theme.warning(), theme.warning()),
        Kind::Heading => (theme.strong(), theme.strong()),
        Kind::Payload { marked: true, .. } => (theme.warning(), theme.strong()),
        Kind::Payload { .. } => (theme.chrome(), Style::new()),
        Kind::Note => (theme.chrome(), theme.dim()),
        Kind::Fold => (theme.warning(), theme.strong()),
    };
    let mut spans = vec![Span::styled(row.lead(), lead)];
    spans.extend(visible::spans(row.text, text));
    spans
}
