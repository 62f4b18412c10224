//! The mouse: it selects, scrolls and changes screens. It never rules: there is no way from here to a question.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::app::{App, Effect};
use super::keys::Page;
use super::rows::Row;
use super::update::{go, scroll};
use super::{pages, view};

pub(super) fn moused(app: &mut App, event: MouseEvent) -> Vec<Effect> {
    if app.dialog.is_some() || app.too_small() || !app.mouse {
        return Vec::new();
    }
    let areas = view::areas(app);
    let place = ratatui::layout::Position { x: event.column, y: event.row };
    let over_list = areas.list.contains(place);
    match event.kind {
        MouseEventKind::ScrollDown if app.page != Page::Queue => return pages::go(app, |row, _| row + 1),
        MouseEventKind::ScrollUp if app.page != Page::Queue => return pages::go(app, |row, _| row.saturating_sub(1)),
        MouseEventKind::ScrollDown if over_list => go(app, |rows, row| rows.down(row + 1).next().cloned()),
        MouseEventKind::ScrollUp if over_list => go(app, |rows, row| rows.up(row).next().cloned()),
        MouseEventKind::ScrollDown => scroll(app, |line| line + 3),
        MouseEventKind::ScrollUp => scroll(app, |line| line.saturating_sub(3)),
        MouseEventKind::Down(MouseButton::Left) if event.row == areas.header.y => {
            if let Some(page) = view::tab_at(app, event.column) {
                return pages::open(app, page);
            }
        }
        MouseEventKind::Down(MouseButton::Left) if over_list => {
            let row = usize::from((event.row - areas.list.y) / areas.row_height.max(1));
            if app.page != Page::Queue {
                let row = app.pages.top + row;
                return pages::go(app, |_, _| row);
            }
            if let Some(id) = app.rows.get(app.top + row).and_then(Row::id).cloned() {
                go(app, |_, _| Some(id.clone()));
            }
        }
        MouseEventKind::Down(_)
        | MouseEventKind::Up(_)
        | MouseEventKind::Drag(_)
        | MouseEventKind::Moved
        | MouseEventKind::ScrollLeft
        | MouseEventKind::ScrollRight => {}
    }
    Vec::new()
}
