//! The last lines: what the operator has just been told, and the keys of the place.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use super::{Areas, cut, fill, put};
use crate::console::app::{App, State};
use crate::console::dialog::Dialog;
use crate::console::holds::Entry;
use crate::console::keys::{Action, Context, Page};
use crate::console::theme::Theme;
use crate::console::{describe, visible};

/// Columns of the time that is left, whatever it is: a question does not move while it passes.
const TIME: usize = 7;

/// The question of the lowest tier, which needs no more than a line; nothing where the line has no room for the whole
/// name of what is approved.
pub fn question(app: &App, entry: &Entry) -> Option<String> {
    let hold = &entry.view;
    let sign = if hold.signature_required { " and sign" } else { "" };
    let what = visible::line(&format!("{} · {}", hold.server, describe::called(hold)));
    let head = format!(" {} Approve{sign} {what}, hold {}, ", describe::badge(hold), hold.id);
    let end = "? y/N";
    let (now, width) = (app.now.wall, usize::from(app.size.0));
    let left = describe::left(entry.seconds_left(now));
    let time = left.len().max(TIME);
    let room = width.checked_sub(visible::columns(&head) + time + end.len())?;
    let mut text = format!("{head}{left}{end}");
    // The client's clock and the word for those who are too fast stand there where there is room left.
    let clocks = describe::clocks(entry, now);
    if visible::columns(&clocks) <= time + room {
        text = format!("{head}{clocks}{end}");
    }
    let wait = "  (a moment…)";
    if !app.armed() && visible::columns(&text) + visible::columns(wait) <= width {
        text.push_str(wait);
    }
    Some(text)
}

/// What the operator has just been told; above it the question of the lowest tier, where it is a line.
pub fn status(app: &App, buf: &mut Buffer, areas: &Areas, theme: Theme) {
    if let Some(Dialog::Approve(asked)) = &app.dialog
        && let Some(entry) = app.holds.get(&asked.id)
        && let Some(text) = super::dialog::line(app, asked, entry)
    {
        let row = Rect { x: 0, width: areas.status.width, ..areas.rule };
        put(buf, row.x, row.y, row.width, vec![Span::styled(fill(&text, row.width), theme.ask())]);
    }
    let area = areas.status;
    if let Some(Dialog::Filter(line)) = &app.dialog {
        let problem = line.parsed().err().map(|why| format!("   {}", visible::line(&why))).unwrap_or_default();
        let text = cut(&format!(" / {}_{problem}", visible::line(&line.text)), area.width);
        return put(buf, area.x, area.y, area.width, visible::spans(&text, theme.strong()));
    }
    if let Some((entry, seconds)) = app.leaving() {
        let text =
            format!(" {} approved, leaves in {seconds} s: {} takes it back", entry.view.id, app.key(Action::TakeBack));
        return put(buf, area.x, area.y, area.width, vec![Span::styled(fill(&text, area.width), theme.ask())]);
    }
    if let Some(note) = &app.note {
        let (sign, style) = if note.bad { (" ! ", theme.strong()) } else { (" · ", Style::new()) };
        let text = cut(&note.text, area.width.saturating_sub(4));
        let mut spans = vec![Span::styled(sign, style)];
        spans.extend(visible::spans(&text, style));
        put(buf, area.x, area.y, area.width, spans);
    }
}

pub fn draw(app: &App, buf: &mut Buffer, area: Rect, theme: Theme) {
    let context = app.dialog.as_ref().map_or_else(|| app.context(), Dialog::context);
    // What has ended takes no ruling; its own text names the key that lets it wait again.
    let ended =
        app.dialog.is_none() && app.page == Page::Queue && app.selected().is_some_and(|entry| !entry.is_pending());
    let mut spans = vec![Span::raw(" ")];
    let mut room = usize::from(area.width).saturating_sub(1);
    for (action, word) in words(context) {
        let changes = matches!(
            action,
            Action::Approve
                | Action::Reject
                | Action::Claim
                | Action::Grant
                | Action::Note
                | Action::Pause
                | Action::End
                | Action::Revoke
                | Action::Freeze
        );
        let question = matches!(app.dialog, Some(Dialog::Quit | Dialog::Confirm(_)));
        let granting = matches!(app.dialog, Some(Dialog::Grant(_) | Dialog::Batch(_)));
        let rules = matches!(action, Action::Approve | Action::Reject | Action::Claim);
        if rules && ended && app.marked.is_empty() {
            continue;
        }
        // Screens 3 and 4 have nothing to filter.
        if *action == Action::Filter && matches!(app.page, Page::Sessions | Page::Policy) {
            continue;
        }
        if changes && (app.state != State::Live || app.read_only || question || granting) {
            continue;
        }
        let keys = app.keys.key(context, *action);
        let columns = visible::columns(keys) + visible::columns(word) + 3;
        if columns > room {
            break;
        }
        room -= columns;
        spans.push(Span::styled(keys, theme.strong()));
        spans.push(Span::raw(format!(" {word}  ")));
    }
    put(buf, area.x, area.y, area.width, spans);
}

/// What is worth a word, the most important first.
fn words(context: Context) -> &'static [(Action, &'static str)] {
    match context {
        Context::Any => &[],
        Context::Main => &[
            (Action::Approve, "approve…"),
            (Action::Reject, "reject…"),
            (Action::View, "view"),
            (Action::PageDown, "read on"),
            (Action::Open, "zoom"),
            (Action::Filter, "filter"),
            (Action::Help, "help"),
            (Action::Quit, "quit"),
            (Action::Claim, "claim"),
            (Action::Freeze, "freeze"),
            (Action::Palette, "commands"),
        ],
        Context::Zoom => &[
            (Action::Approve, "approve…"),
            (Action::Reject, "reject…"),
            (Action::View, "view"),
            (Action::PageDown, "read on"),
            (Action::Next, "next"),
            (Action::Back, "list"),
            (Action::Help, "help"),
            (Action::Quit, "quit"),
            (Action::Claim, "claim"),
        ],
        Context::Page => &[
            (Action::Next, "down"),
            (Action::PageDown, "page"),
            (Action::LineDown, "detail"),
            (Action::Filter, "filter"),
            (Action::Go(Page::Queue), "queue"),
            (Action::Help, "help"),
            (Action::Quit, "quit"),
        ],
        Context::Sessions => &[
            (Action::Pause, "pause…"),
            (Action::End, "end…"),
            (Action::Revoke, "revoke grant…"),
            (Action::Next, "down"),
            (Action::Go(Page::Queue), "queue"),
            (Action::Help, "help"),
            (Action::Quit, "quit"),
        ],
        Context::Ask => &[
            (Action::Yes, "yes"),
            (Action::Back, "back, nothing happens"),
            (Action::Reject, "reject…"),
            (Action::Grant, "grant…"),
            (Action::Note, "note"),
        ],
        Context::Type => &[
            (Action::Back, "back, stays held"),
            (Action::Forward, "next field"),
            (Action::Enter, "press"),
            (Action::Reject, "reject…"),
        ],
        Context::Note => &[(Action::Back, "back to the question"), (Action::Clear, "empty")],
        Context::Grant => &[
            (Action::Toggle, "may vary"),
            (Action::More, "calls"),
            (Action::Longer, "minutes"),
            (Action::Enter, "write it"),
            (Action::Back, "back, stays held"),
        ],
        Context::Reason => &[(Action::Enter, "send, reject the call"), (Action::Back, "back, stays held")],
        Context::Filter => &[(Action::Enter, "use it"), (Action::Clear, "empty"), (Action::Back, "as it was")],
        Context::Palette => &[(Action::Enter, "do it"), (Action::Next, "next"), (Action::Back, "close")],
        Context::Read => &[(Action::LineDown, "down"), (Action::LineUp, "up"), (Action::Back, "close")],
        Context::Notice => &[(Action::Back, "close")],
    }
}
