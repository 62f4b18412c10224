//! The one escape function: whatever comes from outside passes here before a terminal sees it.
//!
//! What comes out is one line of characters that every terminal draws, each in its own place. Everything else becomes
//! an escape between `⟨` and `⟩`. Two different texts never look the same: a `⟨` of the text is escaped too, so what is
//! shown reads back to the one text that it was made of; and what is shown is in Unicode's form NFC, so two spellings of
//! one letter (`é`, and `e` with a mark) are not drawn alike either. What remains are letters of different alphabets that
//! fonts draw alike: `lookalike` names those.
//!
//! | in the text | shown |
//! |---|---|
//! | line feed, tab, carriage return | `⟨\n⟩` `⟨\t⟩` `⟨\r⟩` |
//! | a control, bidi, zero-width, tag, private or unassigned character, a blank other than the space | `⟨U+202E⟩` |
//! | the same character again and again | `⟨U+200B×40⟩` |
//! | a letter with a mark that has a shorter spelling, a letter that stands for another | `e⟨U+0301⟩` `⟨U+212A⟩` |
//! | more than two combining marks on a letter | `⟨+3 marks⟩⟨U+0301×2⟩⟨U+0302⟩` |
//! | more than eight spaces in a row | `⟨space×150⟩` |
//! | a bracket that looks like ours | `⟨U+27E8⟩` |
//!
//! What may not live here: anything that knows what the text means.

use std::fmt::Write as _;

use ratatui::style::{Modifier, Style};
use ratatui::text::Span;
use unicode_normalization::is_nfc;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_width::UnicodeWidthChar;

/// Combining marks that are drawn on one letter.
const MARKS: usize = 2;
/// One space more than are drawn in a row: padding is the oldest way to push something off a screen.
const PADDING: &str = "         ";

/// Columns of `…`, where terminals disagree the larger number.
const ELLIPSIS: usize = 2;

const OPEN: char = '⟨';
const CLOSE: char = '⟩';

/// How a character is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As itself.
    Plain,
    /// As itself on a letter, within the limit.
    Mark,
    /// Escaped, though nobody would call it hidden: a line feed, a look-alike of our brackets, half a flag.
    Escaped,
    /// Escaped, and counted: a reader would not see it, or would see something else.
    Hidden,
}

/// The text on one line, with every character visible.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    write_line(text, &mut out);
    out
}

/// Appends [`line()`] of a text.
pub fn write_line(text: &str, out: &mut String) {
    walk(text, |piece| match piece {
        Piece::Plain(plain) => out.push_str(plain),
        Piece::Spaces(count) => escape(out, "space", count),
        Piece::Marks(count) => {
            let _ = write!(out, "{OPEN}+{count} marks{CLOSE}");
        }
        Piece::Character { character, count, .. } => match character {
            '\n' => escape(out, "\\n", count),
            '\t' => escape(out, "\\t", count),
            '\r' => escape(out, "\\r", count),
            other => {
                let _ = write!(out, "{OPEN}U+{:04X}", u32::from(other));
                times(out, count);
            }
        },
    });
}

/// How many characters of the text a reader would not have seen.
pub fn hidden_count(text: &str) -> usize {
    let mut hidden = 0;
    walk(text, |piece| {
        if let Piece::Character { count, kind: Kind::Hidden, .. } = piece {
            hidden += count;
        }
    });
    hidden
}

/// Whether a character may stand alone as itself. False for combining marks, which belong to what is before them.
pub fn is_visible(character: char) -> bool {
    kind(character) == Kind::Plain
}

/// A text that has passed [`line()`], styled: the escapes in reverse video, so that they cannot be mistaken for text.
pub fn spans(shown: &str, style: Style) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let mut rest = shown;
    while let Some((plain, from)) = rest.find(OPEN).map(|at| rest.split_at(at)) {
        let end = from.find(CLOSE).map_or(from.len(), |at| at + CLOSE.len_utf8());
        let (escape, after) = from.split_at(end);
        if !plain.is_empty() {
            spans.push(Span::styled(plain.to_owned(), style));
        }
        spans.push(Span::styled(escape.to_owned(), style.add_modifier(Modifier::REVERSED)));
        rest = after;
    }
    if !rest.is_empty() {
        spans.push(Span::styled(rest.to_owned(), style));
    }
    spans
}

/// The same in ASCII, for terminals and readers that have nothing else, of a text that has passed [`line()`]: escapes
/// stand between `<` and `>`, and so does every other character that is not ASCII. A `<` of the text is escaped, so this
/// reads back too.
pub fn ascii(shown: &str) -> String {
    if shown.is_ascii() && !shown.contains('<') {
        return shown.to_owned();
    }
    let mut out = String::with_capacity(shown.len());
    for character in shown.chars() {
        match character {
            OPEN => out.push('<'),
            CLOSE => out.push('>'),
            '×' if inside(&out) => out.push('x'),
            '<' => out.push_str("<U+003C>"),
            other if other.is_ascii() => out.push(other),
            other => {
                let _ = write!(out, "<U+{:04X}>", u32::from(other));
            }
        }
    }
    out
}

/// Whether an escape is open at the end of a text of [`ascii`]'s.
fn inside(out: &str) -> bool {
    out.rfind('<') > out.rfind('>')
}

/// At most so many columns of [`line()`] of a text; a cut is shown as `…` and never splits an escape. For lists and
/// titles only: a payload is wrapped and never cut.
pub fn capped(text: &str, limit: usize) -> String {
    let shown = line(text);
    if columns(&shown) <= limit {
        return shown;
    }
    let mut out = String::new();
    let mut used = 0;
    for atom in atoms(&shown) {
        if used + atom.columns + ELLIPSIS > limit {
            break;
        }
        used += atom.columns;
        out.push_str(atom.text);
    }
    if limit >= ELLIPSIS {
        out.push('…');
    }
    out
}

/// Columns that a text takes which has passed [`line()`]; where terminals disagree, the larger number.
pub fn columns(shown: &str) -> usize {
    if shown.is_ascii() { shown.len() } else { atoms(shown).map(|atom| atom.columns).sum() }
}

/// What a line may not be broken in: a letter with its marks, or an escape.
#[derive(Clone, Copy, Debug)]
pub struct Atom<'a> {
    pub text: &'a str,
    pub columns: usize,
}

/// The atoms of a text that has passed [`line()`].
pub fn atoms(shown: &str) -> impl Iterator<Item = Atom<'_>> {
    let mut rest = shown;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = if first == OPEN {
            rest.find(CLOSE).map_or(rest.len(), |at| at + CLOSE.len_utf8())
        } else if first.is_ascii() && rest.as_bytes().get(1).is_none_or(u8::is_ascii) {
            1
        } else {
            let marks = |(_, character): &(usize, char)| kind(*character) != Kind::Mark;
            rest.char_indices().skip(1).find(marks).map_or(rest.len(), |(at, _)| at)
        };
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Atom { text, columns: text.chars().map(character_columns).sum() })
    })
}

fn character_columns(character: char) -> usize {
    if character.is_ascii() {
        return 1;
    }
    character.width().unwrap_or(0).max(character.width_cjk().unwrap_or(0))
}

fn escape(out: &mut String, name: &str, count: usize) {
    out.push(OPEN);
    out.push_str(name);
    times(out, count);
}

fn times(out: &mut String, count: usize) {
    if count > 1 {
        let _ = write!(out, "×{count}");
    }
    out.push(CLOSE);
}

enum Piece<'a> {
    Plain(&'a str),
    /// More spaces than are drawn.
    Spaces(usize),
    /// Announces a run of more marks than are drawn; the marks follow.
    Marks(usize),
    Character {
        character: char,
        count: usize,
        kind: Kind,
    },
}

/// Cuts a text into what is drawn and what is escaped.
fn walk<'a>(text: &'a str, mut piece: impl FnMut(Piece<'a>)) {
    let mut rest = text;
    // What a mark would be drawn on.
    let mut letter = None;
    while let Some(first) = rest.chars().next() {
        let (taken, after) = match kind(first) {
            Kind::Plain => {
                let end = plain_end(rest);
                let (plain, after) = rest.split_at(end);
                split_spaces(plain, &mut piece);
                letter = plain.chars().next_back().filter(|last| last.is_alphabetic());
                rest = after;
                continue;
            }
            Kind::Mark => split_while(rest, |character| kind(character) == Kind::Mark),
            Kind::Escaped | Kind::Hidden => split_while(rest, |character| character == first),
        };
        rest = after;
        match kind(first) {
            Kind::Mark if letter.is_some_and(|letter| is_drawn(letter, taken)) => piece(Piece::Plain(taken)),
            Kind::Mark => {
                if letter.is_some() && taken.chars().nth(MARKS).is_some() {
                    piece(Piece::Marks(taken.chars().count()));
                }
                runs(taken, &mut piece);
            }
            kind => piece(Piece::Character { character: first, count: taken.chars().count(), kind }),
        }
        letter = None;
    }
}

/// Whether marks on a letter are drawn: few of them, and no other spelling looks like this one.
fn is_drawn(letter: char, marks: &str) -> bool {
    marks.chars().nth(MARKS).is_none() && is_nfc(&format!("{letter}{marks}"))
}

/// Where the plain characters at the start of a text end.
fn plain_end(text: &str) -> usize {
    let ascii = text.bytes().take_while(|byte| matches!(byte, b' '..=b'~')).count();
    if ascii > 0 {
        return ascii;
    }
    text.char_indices().find(|(_, character)| kind(*character) != Kind::Plain).map_or(text.len(), |(at, _)| at)
}

/// A run of marks that is not drawn, the same marks together.
fn runs<'a>(marks: &'a str, piece: &mut impl FnMut(Piece<'a>)) {
    let mut rest = marks;
    while let Some(character) = rest.chars().next() {
        let (taken, after) = split_while(rest, |next| next == character);
        piece(Piece::Character { character, count: taken.chars().count(), kind: Kind::Hidden });
        rest = after;
    }
}

fn split_spaces<'a>(plain: &'a str, piece: &mut impl FnMut(Piece<'a>)) {
    let mut rest = plain;
    while let Some(at) = rest.find(PADDING) {
        let (before, from) = rest.split_at(at);
        let (spaces, after) = split_while(from, |character| character == ' ');
        if !before.is_empty() {
            piece(Piece::Plain(before));
        }
        piece(Piece::Spaces(spaces.len()));
        rest = after;
    }
    if !rest.is_empty() {
        piece(Piece::Plain(rest));
    }
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|character| !keep(character)).unwrap_or(text.len());
    text.split_at(end)
}

fn kind(character: char) -> Kind {
    match character {
        ' '..='~' => Kind::Plain,
        '\n' | '\t' => Kind::Escaped,
        // Ours, and those that look like ours.
        OPEN | CLOSE | '\u{2329}' | '\u{232A}' | '\u{3008}' | '\u{3009}' | '\u{276C}' | '\u{276D}' | '\u{29FC}'
        | '\u{29FD}' => Kind::Escaped,
        // Halves of flags and skin tones: terminals disagree about how wide they are together.
        '\u{1F1E6}'..='\u{1F1FF}' | '\u{1F3FB}'..='\u{1F3FF}' => Kind::Escaped,
        _ if draws_nothing(character) => Kind::Hidden,
        _ => by_category(character),
    }
}

fn by_category(character: char) -> Kind {
    match character.general_category() {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::PrivateUse
        | GeneralCategory::Unassigned
        | GeneralCategory::Surrogate
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::SpaceSeparator
        | GeneralCategory::EnclosingMark => Kind::Hidden,
        GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark => Kind::Mark,
        // It is drawn like the character that it stands for: the sign of kelvin like a K.
        _ if !is_nfc(character.encode_utf8(&mut [0; 4])) => Kind::Hidden,
        _ if character.width().unwrap_or(0) == 0 => Kind::Hidden,
        _ => Kind::Plain,
    }
}

/// Default-ignorable characters and blanks whose category does not say so.
fn draws_nothing(character: char) -> bool {
    matches!(
        character,
        '\u{034F}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{2065}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFC}'
            | '\u{13441}'..='\u{13442}'
            | '\u{16FE4}'
            | '\u{1D159}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads [`line()`] back.
    pub fn read_back(shown: &str) -> String {
        let mut out = String::new();
        let mut rest = shown;
        while let Some((plain, from)) = rest.split_once(OPEN) {
            out.push_str(plain);
            let (name, after) = from.split_once(CLOSE).expect("an escape has an end");
            rest = after;
            if name.starts_with('+') {
                continue;
            }
            let (name, count) = name.split_once('×').map_or((name, 1), |(name, count)| (name, count.parse().unwrap()));
            let character = match name {
                "space" => ' ',
                "\\n" => '\n',
                "\\t" => '\t',
                "\\r" => '\r',
                name => {
                    let hex = name.strip_prefix("U+").expect("a code point");
                    char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap()
                }
            };
            out.extend(std::iter::repeat_n(character, count));
        }
        out.push_str(rest);
        out
    }

    /// Reads [`ascii`] of [`line()`] back.
    fn read_ascii(shown: &str) -> String {
        assert!(shown.is_ascii(), "{shown}");
        let mut out = String::new();
        let mut rest = shown;
        while let Some((plain, from)) = rest.split_once('<') {
            let (name, after) = from.split_once('>').expect("an escape has an end");
            out.push_str(plain);
            out.push_str(&read_back(&format!("{OPEN}{}{CLOSE}", name.replace('x', "×"))));
            rest = after;
        }
        out + rest
    }

    fn every_character() -> impl Iterator<Item = char> {
        (0..=0x10_FFFF).filter_map(char::from_u32)
    }

    /// The Unicode property Default_Ignorable_Code_Point, from its definition file.
    fn default_ignorable(character: char) -> bool {
        matches!(u32::from(character),
            0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFF8
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
    }

    /// I10, G11: over all code points, alone and between letters, nothing invisible is drawn as itself.
    #[test]
    fn no_hidden_character_gets_through_raw() {
        use GeneralCategory as C;
        for character in every_character() {
            let category = character.general_category();
            let must_escape = default_ignorable(character)
                || matches!(category, C::Control | C::Format | C::PrivateUse | C::Unassigned | C::Surrogate)
                || matches!(category, C::LineSeparator | C::ParagraphSeparator | C::EnclosingMark)
                || (category == C::SpaceSeparator && character != ' ');
            let text = format!("a{character}b");
            let shown = line(&text);
            if must_escape {
                assert!(!shown.contains(character), "U+{:04X} is drawn", u32::from(character));
                assert_eq!(hidden_count(&text), usize::from(!matches!(character, '\n' | '\t')));
            }
            let alone = line(&character.to_string());
            if shown.contains(character) {
                let mark = matches!(category, C::NonspacingMark | C::SpacingMark);
                assert!(mark || character.width() > Some(0), "U+{:04X} has no width", u32::from(character));
            }
            assert!(!alone.chars().next().is_some_and(|first| kind(first) == Kind::Mark), "a mark on nothing");
            assert_eq!(read_back(&shown), text);
            assert_eq!(read_back(&alone), character.to_string());
            assert!(is_nfc(&shown), "U+{:04X} looks like something else", u32::from(character));
            assert_eq!(read_ascii(&ascii(&shown)), text);
        }
    }

    #[test]
    fn text_that_looks_like_an_escape_stays_distinguishable() {
        assert_eq!(line("a⟨U+202E⟩"), "a⟨U+27E8⟩U+202E⟨U+27E9⟩");
        assert_eq!(line("a\u{202E}"), "a⟨U+202E⟩");
        assert_eq!(line("a\\nb"), "a\\nb");
        assert_eq!(line("a\nb\r\tc"), "a⟨\\n⟩b⟨\\r⟩⟨\\t⟩c");
        assert_eq!(hidden_count("a⟨b\n\tc"), 0);
        assert_eq!(hidden_count("a\rb\u{200B}\u{200B}c"), 3);
    }

    #[test]
    fn marks_are_drawn_up_to_two_and_only_on_letters() {
        assert_eq!(line("q\u{301}"), "q\u{301}");
        assert_eq!(line("q\u{301}\u{302}"), "q\u{301}\u{302}");
        assert_eq!(line("e\u{301}\u{301}\u{302}"), "e⟨+3 marks⟩⟨U+0301×2⟩⟨U+0302⟩");
        assert_eq!(line("=\u{338}"), "=⟨U+0338⟩");
        assert_eq!(line("\u{338}"), "⟨U+0338⟩");
        assert_eq!(line("1\u{20E3}"), "1⟨U+20E3⟩");
        let bomb = format!("a{}", "\u{301}".repeat(100_000));
        assert_eq!(line(&bomb), "a⟨+100000 marks⟩⟨U+0301×100000⟩");
        assert_eq!(hidden_count(&bomb), 100_000);
    }

    /// Two texts that fonts draw alike by Unicode's own rules never look the same here.
    #[test]
    fn of_two_spellings_of_a_letter_one_is_drawn() {
        for (drawn, other, shown) in [
            ("caf\u{E9}", "cafe\u{301}", "cafe⟨U+0301⟩"),
            ("K", "\u{212A}", "⟨U+212A⟩"),
            ("\u{3A9}", "\u{2126}", "⟨U+2126⟩"),
            ("豈", "\u{F900}", "⟨U+F900⟩"),
            ("a\u{323}\u{304}", "a\u{304}\u{323}", "a⟨U+0304⟩⟨U+0323⟩"),
            ("가", "\u{1100}\u{1161}", "\u{1100}⟨U+1161⟩"),
        ] {
            assert_eq!(line(other), shown);
            assert_ne!(line(drawn), line(other));
            assert!(hidden_count(other) > 0);
        }
        assert_eq!(line("caf\u{E9} 가 豈"), "caf\u{E9} 가 豈");
    }

    #[test]
    fn ascii_says_the_same_in_ascii() {
        let shown = line("a<b> \u{E9}⟨\n\u{200B}\u{200B}");
        assert_eq!(ascii(&shown), "a<U+003C>b> <U+00E9><U+27E8><\\n><U+200Bx2>");
        assert_eq!(ascii("×"), "<U+00D7>");
    }

    #[test]
    fn runs_are_counted() {
        assert_eq!(line(&" ".repeat(8)), "        ");
        assert_eq!(line(&format!("a{}b", " ".repeat(150))), "a⟨space×150⟩b");
        assert_eq!(line(&"\u{200B}".repeat(40)), "⟨U+200B×40⟩");
        assert_eq!(line("\u{1F468}\u{200D}\u{1F469}"), "\u{1F468}⟨U+200D⟩\u{1F469}");
    }

    #[test]
    fn a_cut_is_visible_and_never_inside_an_escape() {
        assert_eq!(capped("create_refund", 13), "create_refund");
        assert_eq!(capped("create_refund", 8), "create…");
        assert_eq!(capped("ab\u{202E}cd", 8), "ab…");
        assert_eq!(capped("ab", 0), "");
        assert_eq!(capped("abc", 1), "");
    }

    #[test]
    fn escapes_are_in_reverse_video() {
        let spans = spans(&line("a\u{202E}b"), Style::new());
        let reversed: Vec<_> = spans.iter().map(|span| span.style.add_modifier.contains(Modifier::REVERSED)).collect();
        assert_eq!(reversed, [false, true, false]);
        assert_eq!(spans[1].content, "⟨U+202E⟩");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(text in any::<String>(), pick in prop::collection::vec(0..25_usize, 0..40)) {
            let nasty = ["⟨", "⟩", " ", "          ", "\u{301}", "\u{301}\u{301}\u{301}", "e", "\u{200B}", "\u{202E}",
                "\n", "\\n", "×", "U+0301", "\u{FE0F}", "+3 marks", "क्ष",
                "<", ">", "\u{1100}", "\u{1161}", "\u{11A8}", "가", "\u{212A}", "\u{323}", "\u{958}"];
            let text = pick.iter().fold(text, |text, n| text + nasty[*n]);
            let shown = line(&text);
            prop_assert_eq!(read_back(&shown), text.as_str());
            prop_assert!(is_nfc(&shown), "{shown:?}");
            prop_assert_eq!(read_ascii(&ascii(&shown)), read_back(&shown));
            prop_assert_eq!(atoms(&shown).map(|atom| atom.text).collect::<String>(), shown);
        }
    }
}
