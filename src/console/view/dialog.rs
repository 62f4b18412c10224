//! The questions, in a box over the dimmed screen. An approval of the highest tier on production has a double border:
//! it looks like nothing else.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use super::{Areas, put};
use crate::call::Tier;
use crate::console::app::App;
use crate::console::describe;
use crate::console::dialog::{Approve, Dialog, Focus, Reject};
use crate::console::doc::Doc;
use crate::console::holds::Entry;
use crate::console::keys::{Context, PRESETS, TABLE};
use crate::console::risk::plural;
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

pub fn draw(app: &App, areas: &Areas, buf: &mut Buffer, theme: Theme) {
    let Some(dialog) = &app.dialog else { return };
    let space = Rect::new(0, areas.banner.bottom(), app.size.0, areas.status.y.saturating_sub(areas.banner.bottom()));
    let width = space.width.saturating_sub(4).min(100);
    let inner = width - FRAME;
    let height = space.height.saturating_sub(2);
    let sheet = match dialog {
        Dialog::Approve(question) => match app.holds.get(&question.id) {
            Some(entry) if question.tier != Tier::Low => approve(app, question, entry, inner, height, theme),
            Some(_) | None => return,
        },
        Dialog::Reject(question) => match app.holds.get(&question.id) {
            Some(entry) => reject(question, entry, inner, height, theme),
            None => return,
        },
        Dialog::Quit => quit(app, inner, theme),
        Dialog::Help { scroll } => help(*scroll, height, theme),
        Dialog::Notice { title, lines } => notice(title, lines, inner, theme),
    };
    sheet.draw(buf, space, width, theme);
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

fn approve(app: &App, question: &Approve, entry: &Entry, width: u16, height: u16, theme: Theme) -> Sheet {
    let hold = &entry.view;
    let mut end = Vec::new();
    let (seen, must) = app.seen();
    end.push(Line::from(format!("{seen} of {} seen. These bytes are what is sent.", plural(must, "line"))));
    if let Some(signing) = app.signing.as_ref().filter(|_| hold.signature_required) {
        let by = visible::capped(&signing.words(), usize::from(width));
        end.push(Line::from(Span::styled(by, theme.strong())));
    }
    end.push(Line::default());
    if question.tier == Tier::High {
        for (n, field) in question.fields.iter().enumerate() {
            let shown = visible::capped(&field.label, usize::from(width).saturating_sub(24));
            end.push(Line::from(vec![Span::raw("Type to approve: "), Span::styled(shown, theme.strong())]));
            let focused = question.focus == Focus::Field(n);
            let count = format!("{} of {} characters match", field.right(), field.expected.chars().count());
            let room = usize::from(width).saturating_sub(count.len() + 6);
            let typed = tail(&field.typed, room.saturating_sub(1));
            let cursor = if focused { "_" } else { "" };
            let sign = if focused { "> " } else { "  " };
            let style = if focused { theme.strong() } else { Style::new() };
            let text = super::fill(&format!("{typed}{cursor}"), u16::try_from(room).unwrap_or(0));
            end.push(Line::from(vec![Span::styled(sign, style), Span::styled(text, style), Span::raw(count)]));
        }
        end.push(Line::default());
        end.push(buttons(app, question, theme));
    } else {
        let wait = if app.armed() { "y approves" } else { "(a moment…)" };
        end.push(Line::from(vec![Span::styled("[ Back ]", theme.ask()), Span::raw(format!("   {wait}"))]));
    }
    let most = usize::from(height).saturating_sub(end.len() + 1).max(1);
    let mut lines = facts(&describe::brief(hold, &entry.risk), width, most, theme);
    lines.push(Line::default());
    lines.extend(end);
    Sheet {
        title: title("APPROVE", entry, theme),
        right: format!(" hold {} ", hold.id),
        lines,
        double: hold.production && question.tier == Tier::High,
    }
}

fn buttons(app: &App, question: &Approve, theme: Theme) -> Line<'static> {
    let style = |focus: Focus| if question.focus == focus { theme.ask() } else { Style::new() };
    let approve = match (question.matches(), app.armed()) {
        (false, _) => "( Approve: waiting for the value )",
        (true, false) => "( Approve: a moment… )",
        (true, true) => "( Approve )",
    };
    Line::from(vec![
        Span::styled("[ Back ]", style(Focus::Back)),
        Span::raw("   "),
        Span::styled(approve, style(Focus::Approve)),
    ])
}

fn reject(question: &Reject, entry: &Entry, width: u16, height: u16, theme: Theme) -> Sheet {
    let hold = &entry.view;
    let mut doc = Doc::default();
    doc.fact("Call", &format!("{} · {}", hold.server, hold.tool));
    let mut lines = facts(&doc, width, 3, theme);
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
    Sheet { title: title("REJECT", entry, theme), right: format!(" hold {} ", hold.id), lines, double: false }
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
    lines.push(Line::from(Span::styled("[ Close ]", theme.ask())));
    Sheet {
        title: vec![Span::styled(title.to_uppercase(), theme.strong())],
        right: String::new(),
        lines,
        double: false,
    }
}

fn help(scroll: u16, height: u16, theme: Theme) -> Sheet {
    let mut lines = Vec::new();
    for context in Context::ALL {
        lines.push(Line::from(Span::styled(context.title(), theme.strong())));
        for binding in TABLE.iter().filter(|binding| binding.context == context) {
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
