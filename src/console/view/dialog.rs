//! The questions, in a box over the dimmed screen. An approval of the highest tier on production has a double border:
//! it looks like nothing else.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Areas, put};
use crate::call::Tier;
use crate::console::app::App;
use crate::console::batch::{self, Batch};
use crate::console::describe;
use crate::console::dialog::{Approve, Confirm, Dialog, Focus, Reject, Wish};
use crate::console::doc::Doc;
use crate::console::holds::Entry;
use crate::console::keys::{Context, PRESETS};
use crate::console::palette::Palette;
use crate::console::risk::plural;
use crate::console::theme::Theme;
use crate::console::visible;

/// A box that is about to be drawn.
struct Sheet {
    title: Vec<Span<'static>>,
    right: String,
    lines: Vec<Line<'static>>,
    double: bool,
}

/// What stands around the lines: border and a blank, on both sides.
const FRAME: u16 = 4;

/// The part of the screen that a question may cover: its columns inside, its lines.
fn room(app: &App, areas: &Areas) -> (Rect, u16, u16) {
    let space = Rect::new(0, areas.banner.bottom(), app.size.0, areas.status.y.saturating_sub(areas.banner.bottom()));
    let width = space.width.saturating_sub(4).min(100);
    (space, width, space.height.saturating_sub(2))
}

/// The question as one line above the footer: tier low, nothing to type, and the line names all of what is approved.
pub fn line(app: &App, question: &Approve, entry: &Entry) -> Option<String> {
    let short = question.tier == Tier::Low && !question.typed;
    if short { super::footer::question(app, entry) } else { None }
}

pub fn draw(app: &App, areas: &Areas, buf: &mut Buffer, theme: Theme) {
    let Some(dialog) = &app.dialog else { return };
    let (space, width, height) = room(app, areas);
    let inner = width.saturating_sub(FRAME);
    let sheet = match dialog {
        Dialog::Approve(question) => match app.holds.get(&question.id) {
            Some(entry) if line(app, question, entry).is_none() => {
                approve(app, question, entry, inner, usize::from(height), theme)
            }
            Some(_) | None => return,
        },
        Dialog::Batch(batch) => batched(app, batch, inner, height, theme),
        Dialog::Grant(wish) => match app.holds.get(&wish.id) {
            Some(entry) => grant(app, wish, entry, inner, height, theme),
            None => return,
        },
        Dialog::Reject(question) => match app.holds.get(&question.id) {
            Some(entry) => reject(app, question, entry, inner, height, theme),
            None => return,
        },
        Dialog::Confirm(question) => confirm(app, question, inner, theme),
        Dialog::Filter(_) => return,
        Dialog::Palette(palette) => commands(palette, inner, height, theme),
        Dialog::Quit => quit(app, inner, theme),
        Dialog::Help { scroll } => help(app, *scroll, height, theme),
        Dialog::Notice { title, lines } => notice(title, lines, inner, theme),
    };
    sheet.draw(buf, space, width, theme);
}

/// Whether the question for an approval is on the screen, whole; of a batch its table, of a grant its text.
pub fn fits(app: &App) -> bool {
    let (_, width, height) = room(app, &super::areas(app));
    let (inner, height) = (width.saturating_sub(FRAME), usize::from(height));
    match &app.dialog {
        Some(Dialog::Approve(question)) => match app.holds.get(&question.id) {
            Some(entry) if line(app, question, entry).is_none() => {
                approve(app, question, entry, inner, height, app.theme).lines.len() <= height
            }
            entry => entry.is_some(),
        },
        Some(Dialog::Grant(wish)) if wish.draft.is_some() => {
            draft(app, wish).layout(inner).len() + DRAFT_REST <= height
        }
        Some(Dialog::Batch(batch)) => batch::table(app, batch).layout(inner).len() + BATCH_REST <= height,
        _ => false,
    }
}

/// Lines of the question for a batch beside its table.
const BATCH_REST: usize = 3;

/// Lines of the question for a grant beside its text.
const DRAFT_REST: usize = 4;

/// The text of the grant.
fn draft(app: &App, wish: &Wish) -> Doc {
    let mut doc = Doc::for_terminal(app.ascii);
    wish.draft.iter().flat_map(|text| text.lines()).for_each(|line| doc.quoted(line, false));
    doc
}

fn batched(app: &App, batch: &Batch, width: u16, height: u16, theme: Theme) -> Sheet {
    let most = usize::from(height).saturating_sub(BATCH_REST);
    let mut lines = facts(&batch::table(app, batch), width, most, theme);
    lines.push(Line::default());
    let wait = match (batch.fits, app.armed()) {
        (false, _) => "not all of it fits: mark fewer, or make the window larger".to_owned(),
        (true, false) => "(a moment…)".to_owned(),
        (true, true) => format!("y approves all {}", batch.items.len()),
    };
    lines.push(Line::from(vec![Span::styled("[ Back ]", theme.ask()), Span::raw(format!("   {wait}"))]));
    let first = batch.items.first().and_then(|(id, _)| app.holds.get(id));
    let title = first.map(|entry| title("APPROVE", entry, theme)).unwrap_or_default();
    let left = batch::clocks(app, batch).map(|clocks| format!(" · {clocks}")).unwrap_or_default();
    Sheet { title, right: format!(" {} calls{left} ", batch.items.len()), lines, double: false }
}

fn grant(app: &App, wish: &Wish, entry: &Entry, width: u16, height: u16, theme: Theme) -> Sheet {
    let mut lines = Vec::new();
    if wish.draft.is_some() {
        let most = usize::from(height).saturating_sub(DRAFT_REST);
        lines.push(Line::from("Approves this call, and calls that are like this:"));
        lines.extend(facts(&draft(app, wish), width, most, theme));
        lines.push(Line::default());
        let wait = match (wish.fits, app.armed()) {
            (false, _) => "the text does not fit: make the window larger",
            (true, false) => "(a moment…)",
            (true, true) => "y approves and grants",
        };
        lines.push(Line::from(vec![Span::styled("[ Back ]", theme.ask()), Span::raw(format!("   {wait}"))]));
    } else {
        lines.push(Line::from(format!(
            "For {}, at most {} more, {} minutes.",
            visible::capped(&entry.view.principal, 24),
            plural(wish.uses as usize, "call"),
            wish.minutes
        )));
        lines.push(Line::from("Which arguments may vary? The others have to be the same."));
        lines.push(Line::default());
        let window = usize::from(height).saturating_sub(7).max(1);
        let first = (wish.cursor + 1).saturating_sub(window);
        for (n, leaf) in wish.leaves.iter().enumerate().skip(first).take(window) {
            let style = if n == wish.cursor { theme.strong() } else { Style::new() };
            let sign = if n == wish.cursor { '>' } else { ' ' };
            let room = usize::from(width).saturating_sub(20);
            let text = visible::capped(&format!("{}  {}", leaf.pointer, leaf.value), room);
            let mut spans = vec![Span::styled(format!("{sign} {:<14} ", leaf.words()), style)];
            spans.extend(visible::spans(&text, style));
            lines.push(Line::from(spans));
        }
        lines.push(Line::default());
        let wait =
            if wish.asked.is_some() { "the daemon writes it…" } else { "Enter has the daemon write the grant" };
        lines.push(Line::from(vec![Span::styled("[ Back ]", theme.ask()), Span::raw(format!("   {wait}"))]));
    }
    let (title, right, _) = titled(app, "GRANT", entry, width, theme);
    Sheet { title, right, lines, double: false }
}

fn confirm(app: &App, question: &Confirm, width: u16, theme: Theme) -> Sheet {
    let mut doc = Doc::for_terminal(app.ascii);
    question.lines.iter().for_each(|line| doc.heading(line));
    let mut lines = facts(&doc, width, 10, theme);
    if question.takes_reason() {
        lines.push(written("Reason", "none; Tab writes one", &question.reason, question.noting, width, theme));
    }
    lines.push(Line::default());
    let wait = match (question.noting, app.armed()) {
        (true, _) => "Enter: back to the question".to_owned(),
        (false, true) => format!("y {}", question.yes),
        (false, false) => "(a moment…)".to_owned(),
    };
    let style = if question.noting { Style::new() } else { theme.ask() };
    lines.push(Line::from(vec![Span::styled("[ Back ]", style), Span::raw(format!("   {wait}"))]));
    let title = vec![Span::styled(question.title.to_uppercase(), theme.strong())];
    Sheet { title, right: String::new(), lines, double: false }
}

impl Sheet {
    fn draw(self, buf: &mut Buffer, space: Rect, width: u16, theme: Theme) {
        let height = u16::try_from(self.lines.len()).unwrap_or(u16::MAX).saturating_add(2).min(space.height);
        let x = space.x + (space.width - width) / 2;
        let y = space.y + (space.height - height) / 2;
        let [horizontal, vertical, corners] =
            if self.double { ["═", "║", "╔╗╚╝"] } else { ["─", "│", "┌┐└┘"] };
        let mut corner = corners.chars();
        let mut edge = |buf: &mut Buffer, y: u16| {
            let (left, right) = (corner.next().unwrap_or(' '), corner.next().unwrap_or(' '));
            let line = horizontal.repeat(usize::from(width) - 2);
            put(buf, x, y, width, vec![Span::styled(format!("{left}{line}{right}"), theme.strong())]);
        };
        buf.set_style(Rect { x, y, width, height }, Style::reset());
        edge(buf, y);
        edge(buf, y + height - 1);
        for (line, y) in self.lines.into_iter().zip(y + 1..y + height - 1) {
            let blank = " ".repeat(usize::from(width) - 2);
            put(buf, x, y, width, vec![Span::styled(format!("{vertical}{blank}{vertical}"), theme.strong())]);
            buf.set_style(Rect { x: x + 1, y, width: width - 2, height: 1 }, Style::reset());
            put(buf, x + 2, y, width - FRAME, line.spans);
        }
        let title = std::iter::once(Span::raw(" ")).chain(self.title).chain([Span::raw(" ")]);
        put(buf, x + 2, y, width - FRAME, title.collect());
        super::put_right(buf, Rect { x: x + 2, y, width: width - FRAME, height: 1 }, vec![Span::raw(self.right)]);
    }
}

fn title(word: &str, entry: &Entry, theme: Theme) -> Vec<Span<'static>> {
    let tier = entry.risk.tier;
    vec![
        Span::styled(format!("{word} "), theme.strong()),
        Span::styled(format!(" {} ", describe::badge(&entry.view)), theme.badge(entry.view.production)),
        Span::styled(format!(" {} {}", describe::tier_mark(tier), describe::tier_word(tier)), theme.strong()),
    ]
}

/// The title of a question about one hold, and on its right how much time is left and whose hold it is. False where
/// there is no room for the time.
fn titled(app: &App, word: &str, entry: &Entry, width: u16, theme: Theme) -> (Vec<Span<'static>>, String, bool) {
    let title = title(word, entry, theme);
    let id = &entry.view.id;
    let right = format!(" {} · hold {id} ", describe::clocks(entry, app.now.wall));
    // Both have a blank on either side.
    let columns = title.iter().map(Span::width).sum::<usize>() + 2 + visible::columns(&right);
    match columns <= usize::from(width) {
        true => (title, right, true),
        false => (title, format!(" hold {id} "), false),
    }
}

/// The rows of a document, at most so many; what is left out is said, and stands in the detail.
fn facts(doc: &Doc, width: u16, most: usize, theme: Theme) -> Vec<Line<'static>> {
    let layout = doc.layout(width);
    let fits = layout.len() <= most;
    let shown = if fits { layout.len() } else { most.saturating_sub(1) };
    let rows = (0..shown).filter_map(|row| doc.row(&layout, row));
    let mut lines: Vec<_> = rows.map(|row| Line::from(super::detail::row_spans(&row, theme))).collect();
    if !fits {
        lines.push(Line::from(format!("… {} more in the detail", layout.len() - shown)));
    }
    lines
}

/// Rows of the facts that a question has, whatever is to be typed below them.
const FACTS: usize = 4;

fn approve(app: &App, question: &Approve, entry: &Entry, width: u16, height: usize, theme: Theme) -> Sheet {
    let hold = &entry.view;
    let mut above = Vec::new();
    let (seen, must) = app.seen();
    let (title, right, timed) = titled(app, "APPROVE", entry, width, theme);
    let seen = format!("{seen} of {} seen", plural(must, "line"));
    above.push(Line::from(match timed {
        true => format!("{seen}. These bytes are what is sent."),
        false => format!("{} · {seen}", describe::clocks(entry, app.now.wall)),
    }));
    if let Some(signing) = app.signing.as_ref().filter(|_| hold.signature_required) {
        let by = visible::capped(&signing.words(), usize::from(width));
        above.push(Line::from(Span::styled(by, theme.strong())));
    }
    if let Some(claim) = describe::claim(hold, app.now.wall)
        .filter(|_| hold.claimed.as_ref().is_some_and(|claimed| claimed.by != app.operator))
    {
        above.push(Line::from(Span::styled(super::cut(&claim, width), theme.warning())));
    }
    if let Some(why) = &question.why {
        let mut doc = Doc::for_terminal(app.ascii);
        doc.heading(why);
        above.extend(facts(&doc, width, 3, theme));
    }
    above.push(Line::default());
    let mut below = vec![note(question, width, theme)];
    if question.typed {
        below.push(Line::default());
        below.push(buttons(app, question, theme));
    } else {
        let wait = match (question.focus == Focus::Note, question.fits, app.armed()) {
            (true, _, _) => "Enter: back to the question",
            (false, false, _) => "it does not fit: make the window larger",
            (false, true, true) => "y approves",
            (false, true, false) => "(a moment…)",
        };
        let style = if question.focus == Focus::Note { Style::new() } else { theme.ask() };
        below.push(Line::from(vec![Span::styled("[ Back ]", style), Span::raw(format!("   {wait}"))]));
    }
    // A blank stands between the facts and the rest.
    let room = height.saturating_sub(above.len() + below.len() + 1);
    let fields = fields(question, width, room.saturating_sub(FACTS), theme);
    let most = room.saturating_sub(fields.len()).max(1);
    let mut doc = Doc::for_terminal(app.ascii);
    describe::brief_into(&mut doc, hold, &entry.risk);
    let mut lines = facts(&doc, width, most, theme);
    lines.push(Line::default());
    lines.extend(above.into_iter().chain(fields).chain(below));
    Sheet { title, right, lines, double: hold.production && question.tier == Tier::High }
}

/// The values that have to be typed, in at most so many rows: where they are more, those around the one that is typed,
/// and how many there are.
fn fields(question: &Approve, width: u16, rows: usize, theme: Theme) -> Vec<Line<'static>> {
    let all = question.fields.len();
    let here = match question.focus {
        Focus::Field(n) => n,
        Focus::Back | Focus::Note | Focus::Approve => {
            question.fields.iter().position(|field| !field.matches()).unwrap_or(all.saturating_sub(1))
        }
    };
    let window = if 2 * all <= rows { all } else { (rows.saturating_sub(1) / 2).max(1) };
    let first = (here + 1).saturating_sub(window);
    let mut lines = Vec::new();
    for (n, field) in question.fields.iter().enumerate().skip(first).take(window) {
        let shown = visible::capped(&field.label, usize::from(width).saturating_sub(24));
        lines.push(Line::from(vec![Span::raw("Type to approve: "), Span::styled(shown, theme.strong())]));
        let focused = question.focus == Focus::Field(n);
        let count = format!("{} of {} characters match", field.right(), field.expected.chars().count());
        let room = usize::from(width).saturating_sub(count.len() + 6);
        let typed = tail(&field.typed, room.saturating_sub(1));
        let cursor = if focused { "_" } else { "" };
        let sign = if focused { "> " } else { "  " };
        let style = if focused { theme.strong() } else { Style::new() };
        let text = super::fill(&format!("{typed}{cursor}"), u16::try_from(room).unwrap_or(0));
        lines.push(Line::from(vec![Span::styled(sign, style), Span::styled(text, style), Span::raw(count)]));
    }
    if window < all {
        let right = question.fields.iter().filter(|field| field.matches()).count();
        let last = (first + window).min(all);
        let words = format!("values {} to {last} of {all}, {right} match; Tab goes on", first + 1);
        lines.push(Line::from(Span::styled(words, theme.dim())));
    }
    lines
}

/// What the record keeps beside the approval.
fn note(question: &Approve, width: u16, theme: Theme) -> Line<'static> {
    let focused = question.focus == Focus::Note;
    written("Note", "none; Tab writes one, which the record keeps", &question.note, focused, width, theme)
}

/// A line that somebody may write.
fn written(label: &str, none: &str, text: &str, focused: bool, width: u16, theme: Theme) -> Line<'static> {
    let style = if focused { theme.strong() } else { theme.dim() };
    let cursor = if focused { "_" } else { "" };
    let text = match (text.is_empty(), focused) {
        (true, false) => none.to_owned(),
        (_, _) => tail(text, usize::from(width).saturating_sub(label.len() + 4)),
    };
    Line::from(Span::styled(format!("{label}: {text}{cursor}"), style))
}

fn buttons(app: &App, question: &Approve, theme: Theme) -> Line<'static> {
    let style = |focus: Focus| if question.focus == focus { theme.ask() } else { Style::new() };
    let approve = match (question.matches(), question.fits, app.armed()) {
        (false, _, _) => "( Approve: waiting for the value )",
        (true, false, _) => "( Approve: it does not fit, make the window larger )",
        (true, true, false) => "( Approve: a moment… )",
        (true, true, true) => "( Approve )",
    };
    Line::from(vec![
        Span::styled("[ Back ]", style(Focus::Back)),
        Span::raw("   "),
        Span::styled(approve, style(Focus::Approve)),
    ])
}

fn reject(app: &App, question: &Reject, entry: &Entry, width: u16, height: u16, theme: Theme) -> Sheet {
    let hold = &entry.view;
    let mut doc = Doc::default();
    doc.fact("Call", &format!("{} · {}", hold.server, describe::called(hold)));
    let mut lines = facts(&doc, width, 3, theme);
    if !question.others.is_empty() {
        let words = format!("Rejects all {} of them.", question.others.len() + 1);
        lines.push(Line::from(Span::styled(words, theme.warning())));
    }
    if let Some(session) = &question.pause {
        let words = format!("And pauses session {}: its calls are refused.", visible::capped(session, 24));
        lines.push(Line::from(Span::styled(words, theme.warning())));
    }
    lines.push(Line::default());
    lines.push(Line::from("Why? The agent reads this, word for word:"));
    let mut reason = Doc::default();
    reason.heading(&format!("> {}_", question.reason));
    lines.extend(facts(&reason, width, usize::from(height).saturating_sub(12).max(2), theme));
    lines.push(Line::default());
    for (n, preset) in PRESETS.iter().enumerate() {
        let style = if question.reason.is_empty() { Style::new() } else { theme.dim() };
        lines.push(Line::from(Span::styled(format!("{}  {preset}", n + 1), style)));
    }
    let (title, right, _) = titled(app, "REJECT", entry, width, theme);
    Sheet { title, right, lines, double: false }
}

fn quit(app: &App, width: u16, theme: Theme) -> Sheet {
    let waiting = app.holds.pending().count();
    let mut doc = Doc::default();
    if app.owns_daemon {
        doc.heading("The daemon runs in this terminal: quitting stops it. Held calls are refused, none is sent.");
    }
    if waiting > 0 {
        let calls = if waiting == 1 { "1 call waits".to_owned() } else { format!("{waiting} calls wait") };
        doc.heading(&format!("{calls}, and no other console is attached: nobody would rule."));
    }
    let mut lines = facts(&doc, width, 8, theme);
    lines.push(Line::default());
    lines.push(Line::from(vec![Span::styled("[ Stay ]", theme.ask()), Span::raw("   y quits")]));
    Sheet { title: vec![Span::styled("QUIT?", theme.strong())], right: String::new(), lines, double: false }
}

fn notice(title: &str, texts: &[String], width: u16, theme: Theme) -> Sheet {
    let mut doc = Doc::default();
    texts.iter().for_each(|text| doc.heading(text));
    let mut lines = facts(&doc, width, 16, theme);
    lines.push(Line::default());
    lines.push(Line::from(vec![Span::styled("[ Close ]", theme.ask()), Span::raw("   Esc")]));
    Sheet {
        title: vec![Span::styled(title.to_uppercase(), theme.strong())],
        right: String::new(),
        lines,
        double: false,
    }
}

fn help(app: &App, scroll: u16, height: u16, theme: Theme) -> Sheet {
    let mut lines = Vec::new();
    for context in Context::ALL {
        lines.push(Line::from(Span::styled(context.title(), theme.strong())));
        for binding in app.keys.rows(context) {
            lines.push(Line::from(vec![
                Span::styled(format!("  {:<16}", binding.keys), theme.label()),
                Span::raw(binding.does),
            ]));
        }
        lines.push(Line::default());
    }
    let most = usize::from(height);
    let first = usize::from(scroll).min(lines.len().saturating_sub(most));
    let more = lines.len().saturating_sub(first + most);
    let right = if more > 0 { format!(" {more} more below ") } else { " end ".to_owned() };
    let lines = lines.into_iter().skip(first).take(most).collect();
    Sheet { title: vec![Span::styled("KEYS", theme.strong())], right, lines, double: false }
}

fn commands(palette: &Palette, width: u16, height: u16, theme: Theme) -> Sheet {
    let found = palette.found();
    let typed = tail(&palette.text, usize::from(width).saturating_sub(3));
    let mut lines = vec![Line::from(vec![Span::styled(": ", theme.strong()), Span::raw(format!("{typed}_"))])];
    lines.push(Line::default());
    let window = usize::from(height).saturating_sub(lines.len()).max(1);
    let first = (palette.cursor + 1).saturating_sub(window);
    for (n, binding) in found.iter().enumerate().skip(first).take(window) {
        let (sign, style) = if n == palette.cursor { ('>', theme.strong()) } else { (' ', Style::new()) };
        let keys = format!("{sign} {:<12}", binding.keys);
        let does =
            super::cut(binding.does, width.saturating_sub(u16::try_from(visible::columns(&keys)).unwrap_or(width)));
        lines.push(Line::from(vec![Span::styled(keys, style), Span::styled(does, style)]));
    }
    if found.is_empty() {
        lines.push(Line::from("No command is called so."));
    }
    // The box stays where it is while it is typed in.
    let all = 2 + palette.keys.commands(palette.context).count();
    lines.resize(all.min(usize::from(height)).max(lines.len()), Line::default());
    let below = found.len().saturating_sub(first + window);
    let right = if below > 0 { format!(" {below} more below ") } else { String::new() };
    Sheet { title: vec![Span::styled("COMMANDS", theme.strong())], right, lines, double: false }
}

/// The end of a typed text, so that the cursor stays in sight.
fn tail(text: &str, columns: usize) -> String {
    let shown = visible::line(text);
    let atoms: Vec<_> = visible::atoms(&shown).collect();
    let mut used = 0;
    let keep = atoms.iter().rev().take_while(|atom| {
        used += atom.columns;
        used <= columns
    });
    let keep = keep.count();
    atoms.iter().skip(atoms.len() - keep).map(|atom| atom.text).collect()
}
