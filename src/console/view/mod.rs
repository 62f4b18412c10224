//! The screen: a pure function of the app. Every text in it is ours or has passed the escape function; payload stands
//! behind a gutter and never reaches a border.

mod below;
mod detail;
mod dialog;
mod footer;
mod header;
mod list;
mod pages;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::console::app::{App, MIN, State};
use crate::console::keys::{Action, Page};
use crate::console::theme::Theme;
use crate::console::visible;
pub use dialog::fits;
pub use header::tab_at;

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

/// Whether list and detail stand side by side.
pub fn is_wide(app: &App) -> bool {
    app.page == Page::Queue && !app.zoom && app.size.0 >= WIDE.0 && app.size.1 >= WIDE.1
}

/// Cuts the screen up.
pub fn areas(app: &App) -> Areas {
    let (width, height) = app.size;
    let banners = u16::try_from(header::banners(app).len()).unwrap_or(0);
    let row = |y: u16, x: u16, columns: u16| Rect::new(x, y, columns, 1);
    let top = 1 + banners;
    let bottom = height.saturating_sub(2);
    let queue = app.page == Page::Queue;
    let zoom = app.zoom && queue;
    let wide = is_wide(app);
    let (list_title, list, divider, title) = if wide {
        let body = bottom.saturating_sub(top);
        let list = Rect::new(0, top + 1, LIST_COLUMNS, body.saturating_sub(1));
        let divider = Rect::new(LIST_COLUMNS, top, 1, body);
        let right = LIST_COLUMNS + 1;
        (row(top, 0, LIST_COLUMNS), list, divider, row(top, right, width.saturating_sub(right)))
    } else if !queue {
        // Title, names of the columns, rows; the detail below them.
        let rows = bottom.saturating_sub(top).saturating_sub(3) * 3 / 5;
        (row(top, 0, width), Rect::new(0, top + 2, width, rows), Rect::ZERO, row(top + 2 + rows, 0, width))
    } else if zoom {
        (Rect::ZERO, Rect::ZERO, Rect::ZERO, row(top, 0, width))
    } else {
        let rows = if height < 20 {
            2
        } else if height < 30 {
            4
        } else {
            5
        };
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
    let theme = app.theme;
    if app.too_small() || area.width < MIN.0 || area.height < MIN.1 {
        return too_small(app, buf, area);
    }
    let areas = areas(app);
    header::draw(app, buf, areas.header, theme);
    for ((text, style), y) in header::banners(app).into_iter().zip(areas.banner.y..) {
        let text = fill(&cut(&text, areas.banner.width), areas.banner.width);
        put(buf, areas.banner.x, y, areas.banner.width, vec![Span::styled(text, style)]);
    }
    if app.page == Page::Queue {
        list::draw(app, &areas, buf, theme);
        for y in areas.divider.top()..areas.divider.bottom() {
            put(buf, areas.divider.x, y, 1, vec![Span::styled("│", theme.chrome())]);
        }
        detail::draw(app, &areas, buf, theme);
    } else {
        pages::draw(app, &areas, buf, theme);
    }
    if app.state != State::Live || app.dialog.is_some() {
        let body =
            Rect::new(0, areas.banner.bottom(), area.width, areas.status.y.saturating_sub(areas.banner.bottom()));
        buf.set_style(body, theme.behind());
    }
    footer::status(app, buf, &areas, theme);
    footer::draw(app, buf, areas.keys, theme);
    dialog::draw(app, &areas, buf, theme);
    if app.ascii {
        ascii(buf);
    }
}

/// Whatever is not ASCII yet is ours, or stands in a list; what travels is spelled in ASCII before it gets here.
fn ascii(buf: &mut Buffer) {
    for cell in &mut buf.content {
        if cell.symbol().is_ascii() {
            continue;
        }
        let plain = match cell.symbol() {
            "─" | "═" => "-",
            "│" | "║" => "|",
            "┌" | "┐" | "└" | "┘" | "╔" | "╗" | "╚" | "╝" | "├" | "┤" => "+",
            "┆" => ":",
            "▸" | "→" | "›" => ">",
            "↳" => "\\",
            "←" | "‹" => "<",
            "↑" => "^",
            "↓" => "v",
            "·" => "-",
            "…" => "~",
            "⟨" => "<",
            "⟩" => ">",
            _ => "?",
        };
        cell.set_symbol(plain);
    }
}

fn too_small(app: &App, buf: &mut Buffer, area: Rect) {
    let lines = [
        format!("This window is {}x{}; the console needs {}x{}.", area.width, area.height, MIN.0, MIN.1),
        "Make it larger, or rule from a shell:".to_owned(),
        "  countersign pending ls".to_owned(),
        format!("{} quits.", app.key(Action::Quit)),
    ];
    for (line, y) in lines.into_iter().zip(area.top()..area.bottom()) {
        put(buf, area.x, y, area.width, vec![Span::raw(line)]);
    }
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
