//! The pictures and tables of the documents, made from the real screen and the real key table. `UPDATE=1` writes them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use countersign::console::keymap::Keymap;
use crossterm::event::KeyCode;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use crate::support::{Desk, done, refund, rejected, sandbox, three};

const CELL: (u32, u32) = (9, 19);
const PAD: u32 = 12;
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d7dae0";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// Compares a file with what it should be, or writes it.
fn same(name: &str, wanted: &str) {
    let path = docs(name);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{} is out of date: run this test with UPDATE=1", path.display());
}

#[test]
fn the_picture_of_the_console_is_the_console() {
    let mut holds = three();
    holds.push(done(sandbox("H7J9XQ4T2B6M")));
    holds.push(rejected(refund("H7J4C8D3F5G9"), "wrong payment"));
    let mut desk = Desk::new((112, 30), holds);
    desk.read_all();
    same("console.svg", &svg(&desk.draw()));
}

#[test]
fn the_picture_of_an_approval_is_the_approval() {
    let mut desk = Desk::new((80, 24), three());
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.letters("1250");
    same("approve.svg", &svg(&desk.draw()));
}

#[test]
fn the_guide_has_the_keys_of_the_table() {
    const START: &str = "<!-- keys: made from the table in src/console/keys.rs -->\n";
    const END: &str = "<!-- end of keys -->";
    let guide = std::fs::read_to_string(docs("console.md")).unwrap();
    let (before, rest) = guide.split_once(START).expect("the guide has a place for the keys");
    let (_, after) = rest.split_once(END).expect("and an end of it");
    same("console.md", &format!("{before}{START}\n{}{END}{after}", Keymap::default().markdown()));
}

fn svg(buffer: &Buffer) -> String {
    let (columns, rows) = (u32::from(buffer.area.width), u32::from(buffer.area.height));
    let (width, height) = (columns * CELL.0 + 2 * PAD, rows * CELL.1 + 2 * PAD);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" \
         font-size=\"15\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for y in 0..buffer.area.height {
        let mut x = 0;
        while x < buffer.area.width {
            let first = &buffer[(x, y)];
            let start = x;
            let mut text = String::new();
            while x < buffer.area.width && alike(&buffer[(x, y)], first) {
                text.push_str(buffer[(x, y)].symbol());
                x += 1;
            }
            run(&mut out, first, &text, u32::from(start), u32::from(x - start), u32::from(y));
        }
    }
    out.push_str("</svg>\n");
    out
}

fn alike(a: &Cell, b: &Cell) -> bool {
    (a.fg, a.bg, a.modifier) == (b.fg, b.bg, b.modifier)
}

fn run(out: &mut String, cell: &Cell, text: &str, x: u32, columns: u32, y: u32) {
    let reversed = cell.modifier.contains(Modifier::REVERSED);
    if text.trim().is_empty() && !reversed {
        return;
    }
    let (left, top) = (PAD + x * CELL.0, PAD + y * CELL.1);
    let mut ink = colour(cell.fg);
    let width = columns * CELL.0;
    if reversed {
        let _ =
            writeln!(out, "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{}\" fill=\"{ink}\"/>", CELL.1);
        ink = BACKGROUND;
    }
    let bold = if cell.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let dim = if cell.modifier.contains(Modifier::DIM) { " opacity=\"0.55\"" } else { "" };
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"{}\" textLength=\"{width}\" xml:space=\"preserve\" fill=\"{ink}\"{bold}{dim}>{text}</text>",
        top + 14
    );
}

fn colour(colour: Color) -> &'static str {
    match colour {
        Color::Magenta => "#e17be0",
        Color::Cyan => "#5fc9d6",
        Color::Yellow => "#e2c15d",
        Color::Reset => FOREGROUND,
        other => panic!("a colour without a place in the picture: {other:?}"),
    }
}
