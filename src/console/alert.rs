//! How the terminal itself tells that a call waits: the bell, its title, and a message where it has one. Pure: bytes
//! come out, and what is in them has plain characters only.

use base64::Engine as _;

use crate::console::app::App;
use crate::console::describe;
use crate::console::holds::Entry;

/// Longest title and longest message, in characters: terminals cut what is longer, each in its own way.
const TITLE: usize = 48;
const MESSAGE: usize = 180;

/// The way of a terminal to show a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// `OSC 9`: iTerm2.
    Nine,
    /// `OSC 99`: kitty.
    NinetyNine,
    /// `OSC 777`: foot, Ghostty, urxvt, WezTerm, VTE.
    SevenSevenSeven,
}

/// What this terminal understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alert {
    way: Option<Way>,
    /// Behind tmux, which has to pass on what is not for it.
    tmux: bool,
    on: bool,
}

impl Alert {
    /// By the variables that terminals set. `on` is false for an operator who wants silence: then there is only the title.
    pub fn of(variable: impl Fn(&str) -> Option<String>, on: bool) -> Alert {
        let has = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let term = variable("TERM").unwrap_or_default();
        // Behind tmux the program is tmux; some terminals leave a name that survives it.
        let program = variable("LC_TERMINAL").or_else(|| variable("TERM_PROGRAM")).unwrap_or_default();
        let way = match program.as_str() {
            _ if has("KITTY_WINDOW_ID") || term == "xterm-kitty" => Some(Way::NinetyNine),
            "iTerm2" | "iTerm.app" => Some(Way::Nine),
            "ghostty" | "WezTerm" => Some(Way::SevenSevenSeven),
            _ if has("GHOSTTY_RESOURCES_DIR") || has("WEZTERM_PANE") || has("VTE_VERSION") => {
                Some(Way::SevenSevenSeven)
            }
            _ if term.starts_with("foot") || term.starts_with("rxvt-unicode") => Some(Way::SevenSevenSeven),
            // Nothing is sent that a terminal might print.
            _ => None,
        };
        Alert { way, tmux: has("TMUX"), on }
    }

    /// The bell, and the message where the terminal has a way to show it.
    pub fn ring(self, message: &str) -> Vec<u8> {
        if !self.on {
            return Vec::new();
        }
        let message = plain(message, MESSAGE);
        let osc = self.way.map(|way| match way {
            Way::Nine => format!("\x1b]9;{message}\x1b\\"),
            Way::NinetyNine => {
                format!("\x1b]99;i=countersign:d=0;countersign\x1b\\\x1b]99;i=countersign:p=body;{message}\x1b\\")
            }
            Way::SevenSevenSeven => format!("\x1b]777;notify;countersign;{}\x1b\\", message.replace(';', ":")),
        });
        // tmux rings its own bell for this one, whatever it does with the other.
        format!("\x07{}", osc.map(|osc| self.through(&osc)).unwrap_or_default()).into_bytes()
    }

    /// Puts a text on the clipboard, where the terminal has a way.
    pub fn copy(self, text: &str) -> Vec<u8> {
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        self.through(&format!("\x1b]52;c;{text}\x07")).into_bytes()
    }

    fn through(self, sequence: &str) -> String {
        if self.tmux {
            format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"))
        } else {
            sequence.to_owned()
        }
    }
}

/// `(2!) countersign` while calls wait.
pub fn title(waiting: usize) -> String {
    let count = if waiting > 0 { format!("({waiting}!) ") } else { String::new() };
    plain(&format!("{count}countersign"), TITLE)
}

/// How many calls wait, and of the newest its environment, server, operation, risk and id; never an argument.
pub fn words(app: &App) -> String {
    let newest = app.holds.pending().max_by(|a, b| a.view.created_at.cmp(&b.view.created_at));
    let about = newest.map(|Entry { view, risk, .. }| {
        let tier = describe::tier_word(risk.tier).to_lowercase();
        format!(": {} {} on {}, {tier} risk, {}", describe::badge(view), view.operation, view.server, view.id)
    });
    let count = app.holds.pending().count();
    format!("{count} waiting{}", about.unwrap_or_default())
}

/// Sets the title of the terminal; the one from before comes back with [`RESTORE`].
pub fn set(title: &str) -> String {
    format!("\x1b]2;{}\x1b\\", plain(title, TITLE))
}

/// Has the terminal remember its title, and take it back.
pub const REMEMBER: &str = "\x1b[22;0t";
pub const RESTORE: &str = "\x1b[23;0t";

/// Printable ASCII, and so much of it: nothing in it can end the sequence that it stands in.
fn plain(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|letter| if matches!(letter, ' '..='~') { letter } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(variables: &[(&str, &str)]) -> Alert {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Alert::of(find, true)
    }

    fn rung(variables: &[(&str, &str)], message: &str) -> String {
        String::from_utf8(alert(variables).ring(message)).unwrap()
    }

    #[test]
    fn every_terminal_gets_what_it_understands() {
        let kitty = rung(&[("TERM", "xterm-kitty")], "1 waiting");
        assert_eq!(
            kitty,
            "\x07\x1b]99;i=countersign:d=0;countersign\x1b\\\x1b]99;i=countersign:p=body;1 waiting\x1b\\"
        );
        assert_eq!(rung(&[("TERM_PROGRAM", "iTerm.app")], "1 waiting"), "\x07\x1b]9;1 waiting\x1b\\");
        let foot = rung(&[("TERM", "foot")], "1 waiting; x");
        assert_eq!(foot, "\x07\x1b]777;notify;countersign;1 waiting: x\x1b\\");
        assert_eq!(rung(&[("TERM", "xterm-256color")], "1 waiting"), "\x07");
        assert_eq!(rung(&[("TERM", "linux")], "1 waiting"), "\x07");
    }

    #[test]
    fn tmux_passes_it_on() {
        let rung = rung(&[("TMUX", "/tmp/t"), ("TERM_PROGRAM", "tmux"), ("LC_TERMINAL", "iTerm2")], "x");
        assert_eq!(rung, "\x07\x1bPtmux;\x1b\x1b]9;x\x1b\x1b\\\x1b\\");
    }

    #[test]
    fn what_is_copied_is_encoded() {
        assert_eq!(alert(&[]).copy("H7K2"), b"\x1b]52;c;SDdLMg==\x07");
        assert_eq!(alert(&[("TMUX", "/tmp/t")]).copy("x"), b"\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\");
    }

    #[test]
    fn silence_is_silence() {
        assert_eq!(Alert::of(|_| Some("xterm-kitty".to_owned()), false).ring("x"), b"");
    }

    /// C7: a name from a call cannot end the sequence and begin another.
    #[test]
    fn nothing_in_a_message_ends_it() {
        let evil = "a\x1b\\\x1b]0;owned\x07\u{9c}\u{202E}".repeat(50);
        for variables in [[("TERM", "xterm-kitty")], [("TERM", "foot")], [("LC_TERMINAL", "iTerm2")]] {
            let rung = rung(&variables, &evil);
            let body =
                rung.replace("\x1b]99;", "").replace("\x1b]9;", "").replace("\x1b]777;", "").replace("\x1b\\", "");
            assert!(!body[1..].contains(['\x1b', '\x07', '\u{9c}']), "{rung:?}");
            assert!(rung.len() < 300);
        }
        assert!(!set(&evil)[4..].trim_end_matches("\x1b\\").contains('\x1b'));
    }

    #[test]
    fn the_title_counts() {
        assert_eq!((title(0).as_str(), title(2).as_str()), ("countersign", "(2!) countersign"));
        assert_eq!(set(&title(2)), "\x1b]2;(2!) countersign\x1b\\");
    }
}
