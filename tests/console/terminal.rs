//! The real binary in a terminal of its own, against a daemon on a real socket. The verdict is taken from the bytes that
//! reach the terminal and from what the daemon heard.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use countersign::console::terminal::{Guard, inside};
use countersign::control::wire::{HoldView, RulingKind};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::fake::Fake;
use crate::support::{json, refund, sandbox};

const A: &str = "H7K2QW0A1B2C";
/// Longer than any machine needs; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal with a program in it.
pub struct Pty {
    child: Child,
    keyboard: File,
    /// Kept open, so that the state of the line can be read when the program is gone.
    line: File,
    before: Termios,
    seen: Arc<Seen>,
}

struct Seen {
    state: Mutex<(vt100::Parser, Vec<u8>)>,
    more: Condvar,
}

impl Pty {
    pub fn start(mut command: Command) -> Pty {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let line = OpenOptions::new().read(true).write(true).open(name).unwrap();
        tcsetwinsize(&line, size(80, 24)).unwrap();
        let before = tcgetattr(&line).unwrap();
        let end = || line.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let seen = Arc::new(Seen {
            state: Mutex::new((vt100::Parser::new(cells(24), cells(80), 0), Vec::new())),
            more: Condvar::new(),
        });
        let keyboard = File::from(master);
        let (mut screen, to) = (keyboard.try_clone().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                let mut state = to.state.lock().unwrap();
                state.0.process(&buffer[..count]);
                state.1.extend_from_slice(&buffer[..count]);
                to.more.notify_all();
            }
        });
        Pty { child, keyboard, line, before, seen }
    }

    /// Waits until the screen is as it should be.
    pub fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        let state = self.seen.state.lock().unwrap();
        let waited = self.seen.more.wait_timeout_while(state, PATIENCE, |state| !is(&state.0.screen().contents()));
        let (state, timeout) = waited.unwrap();
        let screen = state.0.screen().contents();
        drop(state);
        assert!(!timeout.timed_out(), "never: {what}\n{screen}");
    }

    pub fn until_text(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    pub fn keys(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Somebody looks at the screen: the time that this takes is what is tested.
    pub fn look(&self) {
        std::thread::sleep(Duration::from_millis(1200));
    }

    pub fn screen(&self) -> String {
        self.seen.state.lock().unwrap().0.screen().contents()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.seen.state.lock().unwrap().1.clone()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the program, and for the terminal to be as it was.
    pub fn ended(&mut self) -> i32 {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "still there:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        };
        // What the program wrote last may still be on its way.
        self.until("the other screen is left", |_| true);
        let state = self.seen.state.lock().unwrap();
        let restored = |state: &(vt100::Parser, Vec<u8>)| {
            let screen = state.0.screen();
            !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
        };
        let (state, timeout) = self.seen.more.wait_timeout_while(state, PATIENCE, |state| !restored(state)).unwrap();
        assert!(!timeout.timed_out(), "the terminal is not restored: {:?}", state.0.screen().contents());
        let after = tcgetattr(&self.line).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        status.code().unwrap_or(-1)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The hold as if it had just come.
pub fn lately(hold: HoldView) -> HoldView {
    let now = Timestamp::now();
    let expires = now + Duration::from_secs(300);
    HoldView { created_at: now.to_string(), expires_at: expires.to_string(), ..hold }
}

fn console(fake: &Fake) -> Pty {
    console_with(fake, |_| {})
}

pub fn console_with(fake: &Fake, more: impl FnOnce(&mut Command)) -> Pty {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("console").arg("--socket").arg(fake.socket());
    command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
    // Nothing of whoever runs the tests.
    command.env("XDG_CONFIG_HOME", fake.dir());
    command.env_remove("NO_COLOR").env_remove("CLICOLOR").env_remove("CLICOLOR_FORCE");
    more(&mut command);
    Pty::start(command)
}

#[test]
fn a_hold_of_the_highest_tier_is_approved_by_typing() {
    let fake = Fake::start(vec![lately(refund(A))]);
    let mut pty = console(&fake);
    pty.until_text("seen 5/5 lines");
    pty.look();
    pty.keys("a");
    pty.until_text("Type to approve: arguments/amount");
    pty.look();
    pty.keys("125000");
    pty.until_text("6 of 6 characters match");
    pty.keys("\t");
    pty.until_text("( Approve )");
    pty.look();
    assert_eq!(fake.rulings(), []);
    pty.keys("\r");
    pty.until_text("approved, the call is released");
    assert_eq!(fake.rulings(), [(A.to_owned(), RulingKind::Approve, None)]);
    pty.keys("q");
    assert_eq!(pty.ended(), 0);
}

/// OpenSSH asks on a terminal that is itself, and what was typed meanwhile reaches nobody.
#[test]
fn an_approval_is_signed_outside_of_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    let (key, asked) = (folder.path().join("key"), folder.path().join("askpass"));
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "correct horse", "-f"]).arg(&key).status();
    assert!(made.expect("OpenSSH's ssh-keygen").success());
    // It gives the passphrase when the test says so.
    let script = "#!/bin/sh\nwhile ! [ -e \"$0.go\" ]; do sleep 0.05; done\necho 'correct horse'\n";
    std::fs::write(&asked, script).unwrap();
    std::fs::set_permissions(&asked, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let fake = Fake::start(vec![HoldView { signature_required: true, ..lately(sandbox(A)) }]);
    let mut pty = console_with(&fake, |command| {
        command.arg("--sign-with").arg(&key).args(["--operator", "ana"]);
        command.env("SSH_ASKPASS", &asked).env("SSH_ASKPASS_REQUIRE", "force");
    });
    pty.until_text("lines ──");
    pty.look();
    pty.keys("a");
    pty.until_text("Then signed as ana");
    pty.look();
    pty.keys("y");
    pty.until_text("OpenSSH signs this as ana");
    assert!(pty.screen().contains("countersign ruling 1"), "{}", pty.screen());
    assert_eq!(fake.rulings(), []);
    // Whatever is typed here is not for the console: no quitting, no interrupt, no ruling on what comes next.
    pty.keys("qqq\u{3}aaa\r");
    std::fs::write(folder.path().join("askpass.go"), "").unwrap();
    pty.until_text("approved, the call is released");
    assert_eq!(fake.rulings(), [(A.to_owned(), RulingKind::Approve, None)]);
    pty.look();
    pty.keys("q");
    assert_eq!(pty.ended(), 0);
}

/// The title counts what waits, in words that are not the call's, and `--no-bell` is silent.
#[test]
fn a_new_call_is_told_by_title_bell_and_message() {
    for (silent, told) in [(false, true), (true, false)] {
        let fake = Fake::start(vec![lately(refund(A))]);
        let mut pty = console_with(&fake, |command| {
            command.env("LC_TERMINAL", "iTerm2").env_remove("TMUX").env_remove("KITTY_WINDOW_ID");
            if silent {
                command.arg("--no-bell");
            }
        });
        pty.until_text("seen 5/5 lines");
        fake.put(lately(sandbox("H7K5T6V7X8YZ")));
        pty.until_text("H7K5");
        pty.look();
        pty.keys("\x03");
        pty.until_text("QUIT?");
        pty.look();
        pty.keys("y");
        assert_eq!(pty.ended(), 0);
        let bytes = String::from_utf8_lossy(&pty.bytes()).into_owned();
        assert!(bytes.contains("\x1b]2;(1!) countersign") && bytes.contains("\x1b]2;(2!) countersign"), "{bytes:?}");
        assert!(bytes.contains("\x1b[23;0t"), "the old title comes back");
        let message = "\x07\x1b]9;2 waiting: [TEST] provision_subscription on stigg, low risk, H7K5T6V7X8YZ\x1b\\";
        assert_eq!(bytes.contains(message), told, "{bytes:?}");
        assert!(!bytes.contains("\x1b]9;1 waiting"), "what was there before is no news");
    }
}

#[test]
fn a_hold_is_rejected_with_a_reason() {
    let fake = Fake::start(vec![lately(refund(A))]);
    let mut pty = console(&fake);
    pty.until_text("seen 5/5 lines");
    pty.look();
    pty.keys("r");
    pty.until_text("The agent reads this");
    pty.look();
    pty.keys("wrong pi");
    pty.until_text("> wrong pi_");
    pty.keys("\r");
    pty.until_text("rejected, nothing is sent");
    assert_eq!(fake.rulings(), [(A.to_owned(), RulingKind::Reject, Some("wrong pi".to_owned()))]);
}

/// C1, C4: bursts and pastes, with and without the terminal's help, rule nothing.
#[test]
fn a_burst_of_keys_and_a_paste_rule_nothing() {
    let fake = Fake::start(vec![lately(sandbox(A))]);
    let mut pty = console(&fake);
    pty.until_text("seen 4/4 lines");
    pty.look();
    pty.keys("ay");
    pty.until_text("not so fast");
    pty.look();
    pty.keys("\x1b");
    pty.until("the question is gone", |screen| !screen.contains("y/N"));
    pty.look();
    pty.keys("a");
    pty.until_text("y/N");
    pty.look();
    pty.keys("\x1b[200~y\r\x1b[201~");
    pty.until_text("paste is off here");
    pty.keys("\r");
    pty.until("the question is gone", |screen| !screen.contains("y/N"));
    assert_eq!(fake.rulings(), []);
}

/// C1, in a real terminal: every key that a keyboard sends, the mouse and a paste, one after the other, each with a way
/// back. Nothing is approved, and the console is still there.
#[test]
fn no_key_of_a_keyboard_approves() {
    let fake = Fake::start(vec![lately(sandbox(A))]);
    let mut pty = console(&fake);
    pty.until_text("seen 4/4 lines");
    pty.look();
    let letters = (' '..='~').map(String::from);
    // Ctrl-c would quit in the end, Ctrl-z would suspend, and Ctrl-j and Ctrl-m are Enter.
    let controls = ('\u{1}'..='\u{1f}').filter(|key| !matches!(key, '\u{3}' | '\u{1a}' | '\u{1b}')).map(String::from);
    let more = ["\x1b[A", "\x1b[B", "\x1b[5~", "\x1b[6~", "\x1b[Z", "\x1bOP", "\x1b[3~", "\x7f", "\x1by", "\x1ba"];
    let mouse = ["\x1b[<0;10;4M", "\x1b[<0;10;4m", "\x1b[<64;10;4M", "\x1b[<2;10;20M", "\x1b[200~y\ry\x1b[201~"];
    for keys in letters.chain(controls).chain(more.into_iter().chain(mouse).map(str::to_owned)) {
        pty.keys(&keys);
        // Time for one read: an Esc right behind it would be another key.
        std::thread::sleep(Duration::from_millis(30));
        pty.keys("\x1b");
        std::thread::sleep(Duration::from_millis(30));
    }
    pty.keys("1");
    pty.until_text("Waiting 1");
    assert_eq!(fake.rulings().into_iter().filter(|(_, ruling, _)| *ruling == RulingKind::Approve).count(), 0);
}

/// Suspended, the console leaves the terminal as it was; what is typed meanwhile is for others.
#[test]
fn a_suspended_console_gives_the_terminal_back_and_comes_back() {
    let fake = Fake::start(vec![lately(sandbox(A))]);
    let mut pty = console(&fake);
    pty.until_text("seen 4/4 lines");
    pty.look();
    pty.keys("\x1a");
    let stat = format!("/proc/{}/stat", pty.child.id());
    let stopped = || std::fs::read_to_string(&stat).unwrap().rsplit(')').next().unwrap().starts_with(" T");
    let start = Instant::now();
    while !stopped() {
        assert!(start.elapsed() < PATIENCE, "not stopped:\n{}", pty.screen());
        std::thread::sleep(Duration::from_millis(5));
    }
    pty.until("the other screen is left", |screen| !screen.contains("seen 4/4"));
    assert_eq!(tcgetattr(&pty.line).unwrap().local_modes, pty.before.local_modes);
    pty.keys("a\ny\n");
    pty.signal(Signal::CONT);
    pty.until_text("seen 4/4 lines");
    pty.look();
    assert_eq!(fake.rulings(), []);
    assert!(!pty.screen().contains("Approve stigg"), "{}", pty.screen());
    pty.keys("ay");
    pty.until_text("Approve stigg");
    pty.keys("\x1b");
    pty.keys("1");
    pty.until_text("Waiting 1");
    assert_eq!(fake.rulings(), [], "a key that came with the one before is too early");
}

/// `--read-only` says so to the daemon, which obeys nothing of it; an approval can be taken back with one key.
#[test]
fn a_console_that_only_watches_says_so() {
    let fake = Fake::start(vec![lately(sandbox(A))]);
    let mut pty = console_with(&fake, |command| {
        command.args(["--read-only", "--theme", "high-contrast", "--ascii", "--no-mouse"]);
    });
    pty.until_text("READ ONLY");
    pty.look();
    pty.keys("a");
    pty.until_text("this console only watches");
    pty.keys("3");
    pty.until_text("s-19");
    assert!(pty.screen().is_ascii(), "{}", pty.screen());
    assert!(!String::from_utf8_lossy(&pty.bytes()).contains("\x1b[?1000h"), "the mouse is the terminal's");
    pty.keys("q");
    assert_eq!(pty.ended(), 0);
    assert_eq!(fake.rulings(), []);
}

#[test]
fn quitting_over_a_waiting_hold_asks() {
    let fake = Fake::start(vec![lately(refund(A))]);
    let mut pty = console(&fake);
    pty.until_text("seen 5/5 lines");
    pty.keys("\x03");
    pty.until_text("QUIT?");
    pty.look();
    pty.keys("y");
    assert_eq!(pty.ended(), 0);
    assert_eq!(fake.rulings(), []);
}

/// prc-010: a signal ends the console and nothing else.
#[test]
fn signals_give_the_terminal_back() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let fake = Fake::start(vec![lately(refund(A))]);
        let mut pty = console(&fake);
        pty.until_text("seen 5/5 lines");
        pty.signal(signal);
        assert_eq!(pty.ended(), 0);
        assert_eq!(fake.rulings(), []);
    }
}

/// A panic of the console: the terminal is restored before the message is printed. The child is this test, told to panic.
#[test]
fn tui_024() {
    const TOLD: &str = "COUNTERSIGN_TEST_PANIC";
    if std::env::var_os(TOLD).is_some() {
        let _guard = Guard::take(true).unwrap();
        inside(|| panic!("drawn and quartered"));
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "terminal::tui_024", "--nocapture"]);
    command.env(TOLD, "1").env("RUST_BACKTRACE", "0");
    let mut pty = Pty::start(command);
    assert_ne!(pty.ended(), 0);
    pty.until_text("drawn and quartered");
    let bytes = String::from_utf8_lossy(&pty.bytes()).into_owned();
    let (left, said) = (bytes.find("\x1b[?1049l").unwrap(), bytes.find("drawn and quartered").unwrap());
    assert!(left < said);
}

#[test]
fn a_daemon_that_comes_back_is_found_again() {
    let mut fake = Fake::start(vec![lately(sandbox(A))]);
    let mut pty = console(&fake);
    pty.until_text("seen 4/4 lines");
    fake.down();
    pty.until_text("DAEMON LOST");
    pty.keys("a");
    pty.until_text("nothing can be ruled");
    fake.put(lately(refund("H7K3M5N8P9RS")));
    fake.up();
    pty.until("both holds are there", |screen| screen.contains("Waiting 2") && !screen.contains("DAEMON LOST"));
    assert_eq!(fake.rulings(), []);
}

#[test]
fn a_resize_is_followed() {
    let fake = Fake::start(vec![lately(refund(A))]);
    let mut pty = console(&fake);
    pty.until_text("seen 5/5 lines");
    for (columns, rows, text) in [(58, 12, "the console needs 60x16"), (80, 24, "seen 5/5 lines")] {
        pty.seen.state.lock().unwrap().0.screen_mut().set_size(cells(rows), cells(columns));
        tcsetwinsize(&pty.line, size(columns, rows)).unwrap();
        pty.signal(Signal::WINCH);
        pty.until_text(text);
    }
    pty.keys("\x03");
    pty.until_text("QUIT?");
}

/// tui-001 to tui-005: no control, bidi or escape sequence of an argument reaches the terminal.
#[test]
fn no_byte_of_a_hostile_argument_reaches_the_terminal_raw() {
    let text = "\\u001b]52;c;cm0=\\u0007 \\u001b[2J \\u0085 \u{9b}31m \u{202E}evil\u{202C} \u{E0041} \u{200B} ok";
    let tool = "pay\u{1b}]0;owned\u{7}\u{9d}".to_owned();
    let hold = HoldView { arguments: json(&format!("{{\"note\":\"{text}\"}}")), tool, ..sandbox(A) };
    let fake = Fake::start(vec![lately(hold)]);
    let mut pty = console(&fake);
    pty.until_text("Waiting 1");
    for _ in 0..3 {
        pty.keys("\x1b[6~");
    }
    pty.until_text("⟨U+202E⟩evil");
    pty.until_text("⟨U+E0041⟩");
    pty.keys("\x03");
    pty.until_text("QUIT?");
    // Our own title and nothing else, in these very bytes.
    let bytes = pty.bytes();
    // The rest of the frame may still be on its way: its last character may be cut, and none may be wrong.
    let whole = std::str::from_utf8(&bytes).or_else(|error| match error.error_len() {
        None => std::str::from_utf8(&bytes[..error.valid_up_to()]),
        Some(_) => Err(error),
    });
    let text = whole.unwrap().replace("\x1b]2;(1!) countersign\x1b\\", "").replace("\x1b]2;countersign\x1b\\", "");
    let allowed = text.chars().filter(|c| !matches!(c, '\u{1b}' | '\r' | '\n' | '\u{7}')).collect::<String>();
    assert_eq!(countersign::console::visible::hidden_count(&allowed), 0);
    assert!(!text.contains("\x1b]") && !text.contains("\x1bP") && !text.contains("\x1b_"));
}

#[test]
fn no_color_is_obeyed() {
    let is_colour = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        ["\x1b[38;", "\x1b[48;", "\x1b[3", "\x1b[9"].iter().any(|start| {
            text.match_indices(start).any(|(at, _)| {
                let rest = &text[at + 2..];
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(0);
                rest[end..].starts_with('m') && !matches!(&rest[..end], "39" | "39;49")
            })
        })
    };
    for (no_color, colours) in [("", true), ("1", false)] {
        let fake = Fake::start(vec![lately(refund(A))]);
        let pty = console_with(&fake, |command| {
            command.env("NO_COLOR", no_color);
        });
        pty.until_text("seen 5/5 lines");
        assert_eq!(is_colour(&pty.bytes()), colours);
        assert!(pty.screen().contains("[LIVE]"));
    }
}

#[test]
fn a_dumb_terminal_gets_plain_mode() {
    let fake = Fake::start(Vec::new());
    let mut pty = console_with(&fake, |command| {
        command.env("TERM", "dumb");
    });
    pty.until_text("Command (list, help, quit): ");
    pty.look();
    pty.keys("quit\r");
    assert_eq!(pty.ended(), 0);
}
