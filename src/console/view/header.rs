//! The first lines: screens, counts, who is there, and what has to be said above everything else.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Span;

use super::{put, put_right};
use crate::console::app::{App, State};
use crate::console::keys::{Action, Page};
use crate::console::risk::plural;
use crate::console::theme::Theme;
use crate::console::{describe, visible};

/// From here on there is room for more than the screens.
const WIDE: u16 = 100;

/// What has to be said above everything else.
pub fn banners(app: &App) -> Vec<(String, Style)> {
    let bad = Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED);
    let mut banners = Vec::new();
    match &app.state {
        State::Lost { why, since } => {
            let seconds = app.now.mono.saturating_sub(*since).as_secs();
            banners.push((
                format!(" DAEMON LOST for {seconds} s: nothing can be ruled; trying to reach it again. {why}"),
                bad,
            ));
        }
        State::Joining => banners.push((" Connected. Waiting for the list of holds.".to_owned(), bad)),
        State::Live => {}
    }
    if let Some(frozen) = app.daemon.as_ref().and_then(|daemon| daemon.frozen.as_ref()) {
        let reason = frozen.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = format!("by {} at {}{reason}", frozen.by, describe::clock(&frozen.at, &app.zone));
        let thaws = app.key(Action::Freeze);
        let text = format!(" FROZEN {}. Every call that is not a read is held; {thaws} thaws.", visible::line(&text));
        banners.push((text, bad));
    }
    if let Some(error) = app.daemon.as_ref().and_then(|daemon| daemon.policy_error.as_ref()) {
        let text =
            format!(" POLICY: the last reload was refused, the old rules are in force. {}", visible::line(error));
        banners.push((text, bad));
    }
    if let Some(words) = app.daemon.as_ref().and_then(describe::cut_off) {
        banners.push((format!(" {}", visible::line(&words)), bad));
    }
    let servers = app.daemon.iter().flat_map(|daemon| &daemon.servers);
    let contradicted: Vec<_> =
        servers.filter_map(|server| Some((server, server.environment.conflict.as_ref()?))).collect();
    if let Some((server, conflict)) = contradicted.first() {
        let more = match contradicted.len() {
            1 => String::new(),
            count => format!(" And {}.", plural(count - 1, "other server")),
        };
        let text = format!(
            " SERVER {} works elsewhere than in {}: {}. Restart countersign when that is put right.{more}",
            visible::line(&server.name),
            visible::line(&server.environment.name),
            visible::line(conflict)
        );
        banners.push((text, bad));
    }
    let without: Vec<_> = app.daemon.iter().flat_map(describe::not_signed_in).collect();
    if let Some((server, words)) = without.first() {
        let more = match without.len() {
            1 => String::new(),
            count => format!(" And {}.", plural(count - 1, "other server")),
        };
        banners.push((format!(" SERVER {}: {}.{more}", visible::line(&server.name), visible::line(words)), bad));
    }
    banners
}

/// The names of the screens, with the columns where they stand.
fn tabs(app: &App) -> Vec<(Page, String, Range<u16>)> {
    let waiting = app.holds.pending().count();
    let mut at: u16 = if app.size.0 >= WIDE { 13 } else { 1 };
    let mut tabs = Vec::new();
    for (n, page) in Page::ALL.into_iter().enumerate() {
        let count = if page == Page::Queue && waiting > 0 { format!(" {waiting}") } else { String::new() };
        let text = format!("{} {}{count}", n + 1, page.title());
        let text = if page == app.page { format!("[{text}]") } else { text };
        let columns = u16::try_from(visible::columns(&text)).unwrap_or(u16::MAX);
        tabs.push((page, text, at..at.saturating_add(columns)));
        at = at.saturating_add(columns).saturating_add(1);
    }
    tabs
}

/// The screen whose name stands there.
pub fn tab_at(app: &App, column: u16) -> Option<Page> {
    tabs(app).into_iter().find(|(_, _, columns)| columns.contains(&column)).map(|(page, _, _)| page)
}

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, theme: Theme) {
    let wide = area.width >= WIDE;
    if wide {
        put(buf, area.x, area.y, area.width, vec![Span::styled(" countersign", theme.strong())]);
    }
    let tabs = tabs(app);
    let mut used = tabs.last().map_or(0, |(_, _, columns)| columns.end);
    for (page, text, columns) in tabs {
        let style = if page == app.page { theme.strong() } else { Style::new() };
        put(buf, columns.start, area.y, area.width, vec![Span::styled(text, style)]);
    }
    let counts = counts(app, theme);
    if wide {
        let columns = counts.iter().map(Span::width).sum::<usize>();
        put(buf, used, area.y, area.width.saturating_sub(used), counts);
        used += u16::try_from(columns).unwrap_or(u16::MAX);
    }
    let mut room = usize::from(area.width.saturating_sub(used + 2));
    let mut right = right(app);
    right.retain(|(_, text)| {
        let columns = visible::columns(text) + 2;
        let fits = columns <= room;
        room -= if fits { columns } else { 0 };
        fits
    });
    right.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let texts: Vec<_> = right.into_iter().map(|(_, text)| text).collect();
    put_right(buf, area, vec![Span::raw(texts.join("  ")), Span::raw(" ")]);
}

/// How many wait, by environment.
pub fn counts(app: &App, theme: Theme) -> Vec<Span<'static>> {
    let (live, test) = app
        .holds
        .pending()
        .fold((0, 0), |(live, test), entry| if entry.view.production { (live + 1, test) } else { (live, test + 1) });
    let mut spans = Vec::new();
    if live > 0 {
        spans.push(Span::raw("  "));
        spans.push(Span::styled(format!(" LIVE {live} "), theme.live()));
    }
    if test > 0 {
        spans.push(Span::raw("  "));
        spans.push(Span::styled(format!("TEST {test}"), theme.test()));
    }
    spans
}

/// What stands on the right, the most important first; the number is its place from the end.
fn right(app: &App) -> Vec<(u8, String)> {
    let time = app.now.wall.to_zoned(app.zone.clone()).strftime("%H:%M:%S").to_string();
    let mut right = Vec::new();
    if app.read_only {
        right.push((2, "READ ONLY".to_owned()));
    }
    if app.pages.is_broken() {
        right.push((2, "CHAIN BROKEN".to_owned()));
    }
    if let Some(daemon) = &app.daemon {
        if daemon.unsigned_rulings {
            right.push((2, "UNSIGNED RULINGS ON".to_owned()));
        }
        if daemon.unsafe_default_allow {
            right.push((2, "DEFAULT ALLOW ON".to_owned()));
        }
        right.extend(describe::tools(daemon).map(|text| (2, text)));
    }
    right.push((0, time));
    if !app.operator.is_empty() {
        right.push((1, describe::operator(&app.operator)));
    }
    if let Some(daemon) = &app.daemon {
        let others: Vec<_> = daemon.operators.iter().filter(|name| **name != app.operator).collect();
        right.push(match others.as_slice() {
            [] => (3, plural(daemon.consoles, "console")),
            [one] => (3, format!("with {}", describe::operator(one))),
            [one, rest @ ..] => (3, format!("with {} and {}", describe::operator(one), rest.len())),
        });
        right.push((4, plural(daemon.rules, "rule")));
        right.push((5, plural(usize::try_from(daemon.records).unwrap_or(usize::MAX), "record")));
        if app.pages.chain.is_some() && !app.pages.is_broken() {
            right.push((6, "chain ok".to_owned()));
        }
    }
    right
}
