//! The list: holds that wait, then those that ended lately.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use super::{Areas, fill, put, rule};
use crate::console::app::App;
use crate::console::describe;
use crate::console::holds::Entry;
use crate::console::rows::Row;
use crate::console::theme::Theme;
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
    if app.rows.is_empty() {
        let lines = match app.rows.hides() {
            Some(hides) => [format!(" {hides}"), " Esc clears it.".to_owned()],
            None => [" Nothing waits.".to_owned(), " What a rule holds shows up here.".to_owned()],
        };
        for (y, text) in (areas.list.y..).zip(lines).take(areas.list_rows) {
            put(buf, areas.list.x, y, areas.list.width, vec![Span::styled(text, theme.dim())]);
        }
        return;
    }
    for n in 0..areas.list_rows {
        let Some(row) = app.rows.get(app.top + n) else { break };
        let y = areas.list.y + u16::try_from(n).unwrap_or(u16::MAX).saturating_mul(areas.row_height);
        let width = areas.list.width;
        if let Row::Line(text) = row {
            let y = y + areas.row_height - 1;
            let area = Rect { y, height: 1, ..areas.list };
            rule(buf, area, theme, vec![Span::styled(text.clone(), theme.strong())], Vec::new());
            continue;
        }
        let Some(entry) = row.id().and_then(|id| app.holds.get(id)) else { continue };
        let alike = if let Row::Group(ids) = row { ids.len() } else { 1 };
        put(buf, areas.list.x, y, width, first_line(app, entry, alike, width, areas.row_height == 1, theme));
        if areas.row_height == 2 {
            put(buf, areas.list.x, y + 1, width, second_line(app, entry, width, theme));
        }
    }
}

fn title(app: &App, areas: &Areas, buf: &mut Buffer, theme: Theme) {
    let waiting = app.holds.pending().count();
    let mut left = vec![Span::styled(format!("Waiting {}", waiting - app.rows.hidden), theme.strong())];
    if app.size.0 < 100 {
        left.extend(super::header::counts(app, theme));
    }
    if let Some(hides) = app.rows.hides() {
        left.push(Span::styled(format!(" · {hides}"), theme.warning()));
    }
    let shown = app.top..app.top + areas.list_rows;
    let fresh = (0..app.rows.len()).filter(|row| !shown.contains(row)).filter_map(|row| app.rows.get(row)?.id());
    let fresh = fresh.filter(|id| app.holds.get(id).is_some_and(|entry| entry.fresh && entry.is_pending())).count();
    let mut right = Vec::new();
    if app.follow {
        right.push("follows".to_owned());
    }
    if fresh > 0 {
        right.push(format!("{fresh} new"));
    }
    let below = app.rows.len().saturating_sub(shown.end);
    for (count, way) in [(app.top, "above"), (below, "below")].into_iter().filter(|(count, _)| *count > 0) {
        right.push(format!("{count} {way}"));
    }
    let right = if right.is_empty() { Vec::new() } else { vec![Span::styled(right.join(" · "), theme.strong())] };
    rule(buf, areas.list_title, theme, left, right);
}

/// Cursor, tier or end, badge, id; in a row of its own also what is called.
fn first_line(app: &App, entry: &Entry, alike: usize, width: u16, alone: bool, theme: Theme) -> Vec<Span<'static>> {
    let hold = &entry.view;
    let cursor = app.selected.as_ref() == Some(&hold.id);
    let style = row_style(entry, cursor, theme);
    let mark = describe::mark(&hold.state, entry.risk.tier);
    let id: String = hold.id.as_str().chars().take(ID).collect();
    let (about, time) = about(app, entry);
    let marked = if app.marked.contains(&hold.id) { '*' } else { ' ' };
    let head = format!("{marked}{} {mark:<3} ", if cursor { '>' } else { ' ' });
    let times = if alike > 1 { format!("x{alike} ") } else { String::new() };
    let badge = describe::badge(hold);
    let used = head.len() + badge.len() + 1 + ID + 1;
    let room = usize::from(width).saturating_sub(used + TIME + 2);
    let middle = if alone {
        let call = visible::capped(&format!("{times}{}.{}", hold.server, hold.tool), room.min(36));
        let rest = room.saturating_sub(visible::columns(&call) + 2);
        format!("{call}  {}", with_claim(&about, claim(app, entry), rest))
    } else {
        visible::capped(&format!("{times}{}", hold.server), room)
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
    let (about, _) = about(app, entry);
    let claim = claim(app, entry);
    // Where there is no room behind what the row says, there is before it.
    let lead = if claim.is_some() && rest < CLAIMED { " claim " } else { "       " };
    let mut spans = vec![Span::styled(lead, style)];
    spans.extend(visible::spans(&format!("{call}  {}", with_claim(&about, claim, rest)), style));
    spans
}

/// What a row says of a hold, the operation first where the tool is another, and when it ends or has ended.
fn about(app: &App, entry: &Entry) -> (String, String) {
    let hold = &entry.view;
    match describe::ended(&hold.state, &app.zone) {
        Some((words, at)) => (describe::with_operation(hold, words), at),
        None => (describe::summary(hold), describe::left(entry.seconds_left(app.now.wall))),
    }
}

/// Fewer columns say nothing of a claim.
const CLAIMED: usize = 19;

/// So many columns of what a row says, and then who looks after the hold: whatever a name is, the hold comes first.
fn with_claim(about: &str, claim: Option<String>, room: usize) -> String {
    let Some(claim) = claim.filter(|_| room >= CLAIMED) else { return visible::capped(about, room) };
    let about = visible::line(about);
    let fits = visible::columns(&about) + 2 + visible::columns(&claim) <= room;
    let claim = if fits { claim } else { "claimed".to_owned() };
    let left = room.saturating_sub(visible::columns(&claim) + 2);
    format!("{}  {claim}", super::cut(&about, u16::try_from(left).unwrap_or(u16::MAX)))
}

/// Who looks after a hold that waits, where somebody does.
fn claim(app: &App, entry: &Entry) -> Option<String> {
    entry.is_pending().then(|| describe::claim(&entry.view, app.now.wall)).flatten()
}

fn row_style(entry: &Entry, cursor: bool, theme: Theme) -> Style {
    match (cursor, entry.is_pending()) {
        (true, _) => theme.strong(),
        (false, true) => Style::new(),
        (false, false) => theme.dim(),
    }
}
