//! The screen: a pure function of the app. Every text in it is ours or has passed the escape function; payload stands
//! behind a gutter and never reaches a border.

mod detail;
mod dialog;
mod list;
mod theme;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use crate::call::Tier;
use crate::console::app::{App, MIN, State};
use crate::console::describe;
use crate::console::dialog::Dialog;
use crate::console::keys::{Action, Context, TABLE};
use crate::console::risk::plural;
use crate::console::visible;
use theme::Theme;

/// From this size on list and detail stand side by side.
const WIDE: (u16, u16) = (100, 30);
const LIST_COLUMNS: u16 = 40;

/// Where everything goes. The same for whoever draws and whoever asks what is on the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Areas {
    pub header: Rect,
    pub banner: Rect,
    pub list_title: Rect,
    pub list: Rect,
    /// Rows of the terminal that one hold takes.
    pub row_height: u16,
    /// Holds that fit.
    pub list_rows: usize,
    pub divider: Rect,
    pub title: Rect,
    pub doc: Rect,
    pub rule: Rect,
    pub status: Rect,
    pub keys: Rect,
}

/// Cuts the screen up.
pub fn areas(app: &App) -> Areas {
    let (width, height) = app.size;
    let banners = u16::try_from(banners(app).len()).unwrap_or(0);
    let row = |y: u16, x: u16, columns: u16| Rect::new(x, y, columns, 1);
    let top = 1 + banners;
    let bottom = height.saturating_sub(2);
    let wide = width >= WIDE.0 && height >= WIDE.1 && !app.zoom;
    let (list_title, list, divider, title) = if wide {
        let body = bottom.saturating_sub(top);
        let list = Rect::new(0, top + 1, LIST_COLUMNS, body.saturating_sub(1));
        let divider = Rect::new(LIST_COLUMNS, top, 1, body);
        let right = LIST_COLUMNS + 1;
        (row(top, 0, LIST_COLUMNS), list, divider, row(top, right, width.saturating_sub(right)))
    } else if app.zoom {
        (Rect::ZERO, Rect::ZERO, Rect::ZERO, row(top, 0, width))
    } else {
        let rows = if height < 20 { 2 } else { 4 };
        (row(top, 0, width), Rect::new(0, top + 1, width, rows), Rect::ZERO, row(top + 1 + rows, 0, width))
    };
    let row_height = if wide { 2 } else { 1 };
    let doc_top = title.y + 1;
    // The gutter of the payload does not touch the divider.
    let pad = u16::from(wide);
    Areas {
        header: row(0, 0, width),
        banner: Rect::new(0, 1, width, banners),
        list_title,
        list,
        row_height,
        list_rows: usize::from(list.height / row_height),
        divider,
        title,
        doc: Rect::new(
            title.x + pad,
            doc_top,
            title.width.saturating_sub(pad),
            bottom.saturating_sub(1).saturating_sub(doc_top),
        ),
        rule: row(bottom.saturating_sub(1), title.x, title.width),
        status: row(bottom, 0, width),
        keys: row(bottom + 1, 0, width),
    }
}

/// Draws everything.
pub fn render(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    draw(app, buf, area);
}

fn draw(app: &App, buf: &mut Buffer, area: Rect) {
    let theme = Theme { colour: app.colour };
    if app.too_small() || area.width < MIN.0 || area.height < MIN.1 {
        return too_small(buf, area);
    }
    let areas = areas(app);
    header(app, buf, areas.header, theme);
    for ((text, style), y) in banners(app).into_iter().zip(areas.banner.y..) {
        let text = fill(&cut(&text, areas.banner.width), areas.banner.width);
        put(buf, areas.banner.x, y, areas.banner.width, vec![Span::styled(text, style)]);
    }
    list::draw(app, &areas, buf, theme);
    for y in areas.divider.top()..areas.divider.bottom() {
        put(buf, areas.divider.x, y, 1, vec![Span::styled("│", theme.chrome())]);
    }
    detail::draw(app, &areas, buf, theme);
    if app.state != State::Live || app.dialog.is_some() {
        let body =
            Rect::new(0, areas.banner.bottom(), area.width, areas.status.y.saturating_sub(areas.banner.bottom()));
        buf.set_style(body, Style::new().add_modifier(Modifier::DIM));
    }
    status(app, buf, &areas, theme);
    footer(app, buf, areas.keys, theme);
    dialog::draw(app, &areas, buf, theme);
}

fn too_small(buf: &mut Buffer, area: Rect) {
    let lines = [
        format!("This window is {}x{}; the console needs {}x{}.", area.width, area.height, MIN.0, MIN.1),
        "Make it larger, or rule from a shell:".to_owned(),
        "  countersign pending ls".to_owned(),
        "q quits.".to_owned(),
    ];
    for (line, y) in lines.into_iter().zip(area.top()..area.bottom()) {
        put(buf, area.x, y, area.width, vec![Span::raw(line)]);
    }
}

/// What has to be said above everything else.
fn banners(app: &App) -> Vec<(String, Style)> {
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
    if let Some(error) = app.daemon.as_ref().and_then(|daemon| daemon.policy_error.as_ref()) {
        let text =
            format!(" POLICY: the last reload was refused, the old rules are in force. {}", visible::line(error));
        banners.push((text, bad));
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
    banners
}

fn header(app: &App, buf: &mut Buffer, area: Rect, theme: Theme) {
    let (live, test) = app
        .holds
        .pending()
        .fold((0, 0), |(live, test), entry| if entry.view.production { (live + 1, test) } else { (live, test + 1) });
    let mut left = vec![Span::styled(" countersign ", theme.strong()), Span::raw(format!(" waiting {}", live + test))];
    if live > 0 {
        left.push(Span::raw("  "));
        left.push(Span::styled(format!(" LIVE {live} "), theme.live()));
    }
    if test > 0 {
        left.push(Span::raw("  "));
        left.push(Span::styled(format!("TEST {test}"), theme.test()));
    }
    let time = app.now.wall.to_zoned(app.zone.clone()).strftime("%H:%M:%S").to_string();
    let mut right = vec![(0, time)];
    if !app.operator.is_empty() {
        right.push((2, app.operator.clone()));
    }
    if let Some(daemon) = &app.daemon {
        if daemon.unsigned_rulings {
            right.push((1, "UNSIGNED RULINGS ON".to_owned()));
        }
        right.extend(describe::tools(daemon).map(|text| (1, text)));
        right.push((3, plural(daemon.consoles, "console")));
        right.push((4, plural(daemon.rules, "rule")));
        right.push((5, plural(usize::try_from(daemon.records).unwrap_or(usize::MAX), "record")));
    }
    let used: usize = left.iter().map(Span::width).sum();
    let mut room = usize::from(area.width).saturating_sub(used + 2);
    right.retain(|(_, text)| {
        let columns = visible::columns(text) + 2;
        let fits = columns <= room;
        room -= if fits { columns } else { 0 };
        fits
    });
    right.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let texts: Vec<_> = right.into_iter().map(|(_, text)| text).collect();
    put(buf, area.x, area.y, area.width, left);
    put_right(buf, area, vec![Span::raw(texts.join("  ")), Span::raw(" ")]);
}

/// What the operator has just been told; above it the question of the lowest tier, which needs no more than a line.
fn status(app: &App, buf: &mut Buffer, areas: &Areas, theme: Theme) {
    if let Some(Dialog::Approve(question)) = &app.dialog
        && question.tier == Tier::Low
        && let Some(entry) = app.holds.get(&question.id)
    {
        let hold = &entry.view;
        let what = visible::capped(&format!("{} · {}", hold.server, hold.tool), 40);
        let wait = if app.armed() { "" } else { "  (a moment…)" };
        let sign = if hold.signature_required { " and sign" } else { "" };
        let text = format!(" {} Approve{sign} 1 call, {what}, hold {}? y/N{wait}", describe::badge(hold), hold.id);
        let row = Rect { x: 0, width: areas.status.width, ..areas.rule };
        put(buf, row.x, row.y, row.width, vec![Span::styled(fill(&text, row.width), theme.ask())]);
    }
    let area = areas.status;
    if let Some(note) = &app.note {
        let (sign, style) = if note.bad { (" ! ", theme.strong()) } else { (" · ", Style::new()) };
        let text = cut(&note.text, area.width.saturating_sub(4));
        let mut spans = vec![Span::styled(sign, style)];
        spans.extend(visible::spans(&text, style));
        put(buf, area.x, area.y, area.width, spans);
    }
}

fn footer(app: &App, buf: &mut Buffer, area: Rect, theme: Theme) {
    let context = match &app.dialog {
        Some(dialog) => dialog.context(),
        None if app.zoom => Context::Zoom,
        None => Context::Main,
    };
    let mut spans = vec![Span::raw(" ")];
    for (action, word) in footer_words(context) {
        let rules = matches!(action, Action::Approve | Action::Reject);
        if rules && (app.state != State::Live || app.dialog == Some(Dialog::Quit)) {
            continue;
        }
        let Some(keys) = shortest(context, *action) else { continue };
        spans.push(Span::styled(keys, theme.strong()));
        spans.push(Span::raw(format!(" {word}   ")));
    }
    put(buf, area.x, area.y, area.width, spans);
}

fn footer_words(context: Context) -> &'static [(Action, &'static str)] {
    match context {
        Context::Main => &[
            (Action::Approve, "approve…"),
            (Action::Reject, "reject…"),
            (Action::Next, "next"),
            (Action::PageDown, "read on"),
            (Action::Open, "detail alone"),
            (Action::Help, "help"),
            (Action::Quit, "quit"),
        ],
        Context::Zoom => &[
            (Action::Approve, "approve…"),
            (Action::Reject, "reject…"),
            (Action::Next, "next"),
            (Action::PageDown, "read on"),
            (Action::Back, "list"),
            (Action::Help, "help"),
            (Action::Quit, "quit"),
        ],
        Context::Ask => &[(Action::Yes, "yes"), (Action::Back, "back, nothing happens"), (Action::Reject, "reject…")],
        Context::Type => &[
            (Action::Back, "back, stays held"),
            (Action::Forward, "next field"),
            (Action::Enter, "press"),
            (Action::Reject, "reject…"),
        ],
        Context::Reason => &[(Action::Enter, "send, reject the call"), (Action::Back, "back, stays held")],
        Context::Read => &[(Action::LineDown, "down"), (Action::LineUp, "up"), (Action::Back, "close")],
    }
}

/// The first key that the table prints for an action.
fn shortest(context: Context, action: Action) -> Option<&'static str> {
    let find = |context: Context| TABLE.iter().find(|binding| binding.context == context && binding.action == action);
    let binding = find(context).or_else(|| (context == Context::Zoom).then(|| find(Context::Main)).flatten())?;
    binding.keys.split(' ').next()
}

/// Spans on one row, at most so many columns.
fn put(buf: &mut Buffer, x: u16, y: u16, width: u16, spans: Vec<Span<'_>>) {
    if buf.area.contains((x, y).into()) {
        buf.set_line(x, y, &Line::from(spans), width);
    }
}

fn put_right(buf: &mut Buffer, area: Rect, spans: Vec<Span<'_>>) {
    let columns = spans.iter().map(Span::width).sum::<usize>();
    let columns = u16::try_from(columns).unwrap_or(u16::MAX).min(area.width);
    put(buf, area.right().saturating_sub(columns), area.y, columns, spans);
}

/// A row of a rule: `── left ───────── right ──`.
fn rule(buf: &mut Buffer, area: Rect, theme: Theme, left: Vec<Span<'_>>, right: Vec<Span<'_>>) {
    let line = "─".repeat(usize::from(area.width));
    put(buf, area.x, area.y, area.width, vec![Span::styled(line, theme.chrome())]);
    let inner = Rect { x: area.x + 2, width: area.width.saturating_sub(4), ..area };
    if !left.is_empty() {
        let spans = std::iter::once(Span::raw(" ")).chain(left).chain([Span::raw(" ")]);
        put(buf, inner.x, inner.y, inner.width, spans.collect());
    }
    if !right.is_empty() {
        let spans = std::iter::once(Span::raw(" ")).chain(right).chain([Span::raw(" ")]);
        put_right(buf, inner, spans.collect());
    }
}

/// At most so many columns of a text that has passed the escape function; a cut is shown.
fn cut(text: &str, width: u16) -> String {
    if visible::columns(text) <= usize::from(width) {
        return text.to_owned();
    }
    format!("{}…", fill(text, width.saturating_sub(2)).trim_end())
}

/// A text of exactly so many columns.
fn fill(text: &str, width: u16) -> String {
    let width = usize::from(width);
    let mut out = String::new();
    let mut used = 0;
    for atom in visible::atoms(text) {
        if used + atom.columns > width {
            break;
        }
        used += atom.columns;
        out.push_str(atom.text);
    }
    out.push_str(&" ".repeat(width - used));
    out
}
