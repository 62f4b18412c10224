//! The list: holds that wait, then those that ended lately.

use ratatui::buffer::Buffer;
use ratatui::style::Style;
use ratatui::text::Span;

use super::theme::Theme;
use super::{Areas, fill, put, rule};
use crate::console::app::App;
use crate::console::describe;
use crate::console::holds::Entry;
use crate::console::visible;

/// Letters of an id in a row; the detail has them all.
const ID: usize = 6;
/// Columns of the time at the end of a row.
const TIME: usize = 8;

pub fn draw(app: &App, areas: &Areas, buf: &mut Buffer, theme: Theme) {
    if areas.list_rows == 0 {
        return;
    }
    title(app, areas, buf, theme);
    if app.holds.is_empty() {
        for (y, text) in
            (areas.list.y..).zip([" Nothing waits.", " What a rule holds shows up here."]).take(areas.list_rows)
        {
            put(buf, areas.list.x, y, areas.list.width, vec![Span::styled(text, theme.dim())]);
        }
        return;
    }
    for n in 0..areas.list_rows {
        let row = app.top + n;
        let Some(entry) = app.holds.row(row).and_then(|id| app.holds.get(id)) else { break };
        let y = areas.list.y + u16::try_from(n).unwrap_or(u16::MAX).saturating_mul(areas.row_height);
        let width = areas.list.width;
        put(buf, areas.list.x, y, width, first_line(app, entry, width, areas.row_height == 1, theme));
        if areas.row_height == 2 {
            put(buf, areas.list.x, y + 1, width, second_line(app, entry, width, theme));
        }
    }
}

fn title(app: &App, areas: &Areas, buf: &mut Buffer, theme: Theme) {
    let waiting = app.holds.pending().count();
    let shown = app.top..app.top + areas.list_rows;
    let fresh = app.holds.pending_rows().filter(|(row, entry)| entry.fresh && !shown.contains(row)).count();
    let mut right = Vec::new();
    if fresh > 0 {
        right.push(Span::styled(format!("{fresh} new"), theme.strong()));
    }
    let below = app.holds.len().saturating_sub(shown.end);
    for (count, way) in [(app.top, "above"), (below, "below")].into_iter().filter(|(count, _)| *count > 0) {
        let gap = if right.is_empty() { "" } else { " · " };
        right.push(Span::styled(format!("{gap}{count} {way}"), theme.dim()));
    }
    rule(buf, areas.list_title, theme, vec![Span::styled(format!("Waiting {waiting}"), theme.strong())], right);
}

/// Cursor, tier or end, badge, id; in a row of its own also what is called.
fn first_line(app: &App, entry: &Entry, width: u16, alone: bool, theme: Theme) -> Vec<Span<'static>> {
    let hold = &entry.view;
    let cursor = app.selected.as_ref() == Some(&hold.id);
    let style = row_style(entry, cursor, theme);
    let mark = describe::mark(&hold.state, entry.risk.tier);
    let id: String = hold.id.as_str().chars().take(ID).collect();
    let (about, time) = describe::ended(&hold.state, &app.zone)
        .unwrap_or_else(|| (describe::summary(hold), describe::left(entry.seconds_left(app.now.wall))));
    let head = format!(" {} {mark:<3} ", if cursor { '>' } else { ' ' });
    let badge = describe::badge(hold);
    let used = head.len() + badge.len() + 1 + ID + 1;
    let room = usize::from(width).saturating_sub(used + TIME + 2);
    let middle = if alone {
        let call = visible::capped(&format!("{}.{}", hold.server, hold.tool), room.min(36));
        let rest = room.saturating_sub(visible::columns(&call) + 2);
        format!("{call}  {}", visible::capped(&about, rest))
    } else {
        visible::capped(&hold.server, room)
    };
    let columns = u16::try_from(room).unwrap_or(u16::MAX);
    let mut spans = vec![
        Span::styled(head, style),
        Span::styled(badge, theme.badge(hold.production)),
        Span::styled(format!(" {id} "), style),
    ];
    spans.extend(visible::spans(&fill(&middle, columns), style));
    spans.push(Span::styled(format!(" {time:>TIME$}"), style));
    spans
}

fn second_line(app: &App, entry: &Entry, width: u16, theme: Theme) -> Vec<Span<'static>> {
    let hold = &entry.view;
    let style = row_style(entry, app.selected.as_ref() == Some(&hold.id), theme);
    let room = usize::from(width).saturating_sub(9);
    let call = visible::capped(&hold.tool, room);
    let rest = room.saturating_sub(visible::columns(&call) + 2);
    let about = describe::ended(&hold.state, &app.zone).map_or_else(|| describe::summary(hold), |(words, _)| words);
    let mut spans = vec![Span::raw("       ")];
    spans.extend(visible::spans(&format!("{call}  {}", visible::capped(&about, rest)), style));
    spans
}

fn row_style(entry: &Entry, cursor: bool, theme: Theme) -> Style {
    match (cursor, entry.is_pending()) {
        (true, _) => theme.strong(),
        (false, true) => Style::new(),
        (false, false) => theme.dim(),
    }
}
