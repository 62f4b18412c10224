//! The terminal: taken with a guard and given back on every way out, a panic included.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::future::Future;
use std::io::{self, IsTerminal, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell as ScreenCell;
use ratatui::layout::{Position, Size};
use rustix::termios::{LocalModes, OptionalActions, Termios};

use crate::console::{alert, outside};

/// What an editor has to end in.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// This thread is running code of the console.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Raw mode, the other screen, bracketed paste, the mouse where it is wanted, no cursor; undone when it is dropped.
#[derive(Debug)]
pub struct Guard(());

impl Guard {
    /// # Errors
    /// Where the terminal cannot be set up; whatever was done before is undone.
    pub fn take(with_mouse: bool) -> io::Result<Guard> {
        install_hook();
        TAKEN.store(true, Ordering::SeqCst);
        let guard = Guard(());
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        if with_mouse {
            mouse(true)?;
        }
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// True where both ends are a terminal.
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Has the terminal report the mouse, or leave it to whoever selects text.
///
/// # Errors
/// Where the terminal cannot be written to.
pub fn mouse(on: bool) -> io::Result<()> {
    if on { execute!(io::stdout(), EnableMouseCapture) } else { execute!(io::stdout(), DisableMouseCapture) }
}

/// Whether the environment says that the terminal has more than ASCII: the first of `LC_ALL`, `LC_CTYPE` and `LANG` that
/// is set. One that names no language (`C`, `POSIX`) says nothing of the terminal where it names UTF-8.
pub fn is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    set.is_none_or(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

/// Columns of the terminal that this process prints to; nothing where it prints elsewhere, and then nobody is asked.
pub fn columns() -> Option<u16> {
    let size = io::stdout().is_terminal().then(crossterm::terminal::size)?;
    size.ok().map(|(columns, _)| columns)
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Best effort: there is nobody left to tell.
        let _ = execute!(io::stdout(), DisableMouseCapture, DisableBracketedPaste, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

/// The title of the terminal's window: how many calls wait. The one from before comes back when this is dropped, where
/// the terminal remembers it.
#[derive(Debug)]
pub struct Title(Option<usize>);

impl Title {
    /// # Errors
    /// Where the terminal is gone.
    pub fn take() -> io::Result<Title> {
        io::stdout().write_all(alert::REMEMBER.as_bytes())?;
        Ok(Title(None))
    }

    /// # Errors
    /// Where the terminal is gone.
    pub fn show(&mut self, waiting: usize) -> io::Result<()> {
        if self.0.replace(waiting) != Some(waiting) {
            let mut out = io::stdout();
            out.write_all(alert::set(&alert::title(waiting)).as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }
}

impl Drop for Title {
    fn drop(&mut self) {
        let mut out = io::stdout();
        // Best effort: there is nobody left to tell.
        let _ = out.write_all(alert::RESTORE.as_bytes());
        let _ = out.flush();
    }
}

/// The terminal as another program asks its question there: no key of it is a signal, which would end the daemon where
/// that runs in this process. Undone when it is dropped.
#[derive(Debug)]
pub struct Lent(Option<Termios>);

impl Lent {
    pub fn out() -> Lent {
        let before = rustix::termios::tcgetattr(io::stdin()).ok();
        if let Some(mut lent) = before.clone() {
            lent.local_modes.remove(LocalModes::ISIG);
            // Best effort: without it the question can still be answered.
            let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &lent);
        }
        Lent(before)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// Stops this process as the terminal's own key would, and throws away what was typed before it went on: that was meant
/// for others.
pub fn suspend() {
    // Where the process cannot be stopped it goes on at once.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP);
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
}

/// Waits until nothing of ours reads the terminal any more. A stream of events that was dropped may still be about to: what
/// is typed next would be its own and not the editor's.
pub fn let_go() {
    // Best effort: this waits for the reader that the stream had, and has nothing to say of what it reads.
    let _ = crossterm::event::poll(Duration::from_millis(100));
}

/// Has the operator's editor show a line of a file, on this process's terminal. Where `over` comes first it is asked to
/// end, and the terminal is what a program finds that was just started.
///
/// # Errors
/// Where there is no such editor, or it fails.
pub async fn edit(file: &Path, line: usize, over: impl Future<Output = ()>) -> Result<String, String> {
    let argv = outside::editor(|name| std::env::var(name).ok(), file, line);
    let (program, arguments) = argv.split_first().ok_or("no editor is named")?;
    let failed = |error: io::Error| format!("{program} cannot be run: {error}; set VISUAL or EDITOR");
    let mut child = tokio::process::Command::new(program).args(arguments).kill_on_drop(true).spawn().map_err(failed)?;
    let status = tokio::select! {
        status = child.wait() => status.map_err(failed)?,
        () = over => {
            let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(pid) = pid {
                // It may keep what was not saved.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
            let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
            return Err(format!("{program} was ended"));
        }
    };
    if status.success() { Ok(format!("{program} has ended")) } else { Err(format!("{program}: {status}")) }
}

/// Rings where the screen is not ours.
pub fn ring() {
    let mut out = io::stdout();
    // Best effort: the list tells when it is back.
    let _ = out.write_all(b"\x07");
    let _ = out.flush();
}

/// Writes a file that is not there yet into the current folder, for its owner alone.
///
/// # Errors
/// Where it is there, or cannot be written.
pub fn write_new(name: &str, text: &str) -> Result<String, String> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(name);
    let written = made.and_then(|mut file| {
        // Half of it would be taken for the whole, and be in the way of the next try.
        file.write_all(text.as_bytes()).inspect_err(|_| drop(std::fs::remove_file(name)))
    });
    match written {
        Ok(()) => Ok(format!("written: {name}, {} bytes, in the folder where the console was started", text.len())),
        Err(error) => Err(format!("{name} was not written: {error}")),
    }
}

/// Says something on a terminal that is not ours at the moment.
pub fn say(text: &str) {
    let mut out = io::stdout();
    // Best effort: the question that follows says enough.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Runs a part of the console: a panic in it gives the terminal back before its message is printed.
pub fn inside<T>(part: impl FnOnce() -> T) -> T {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    let _leave = Leave(INSIDE.replace(true));
    part()
}

/// A panic of the console prints on a terminal that is itself again. One elsewhere in the process, while the console
/// goes on, goes to the log: on the screen it would only be noise.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if INSIDE.get() {
                give_back();
            }
            if TAKEN.load(Ordering::SeqCst) {
                tracing::error!("{info}");
            } else {
                before(info);
            }
        }));
    });
}

/// A backend that puts the cursor in its place again after every character that terminals may draw in another width,
/// so that no character can push what follows it.
#[derive(Debug)]
pub struct Steady<W: Write>(CrosstermBackend<W>);

impl Steady<Stdout> {
    pub fn stdout() -> Steady<Stdout> {
        Steady(CrosstermBackend::new(io::stdout()))
    }
}

impl<W: Write> Steady<W> {
    pub fn new(writer: W) -> Steady<W> {
        Steady(CrosstermBackend::new(writer))
    }
}

/// ASCII, and the box drawing of our own frames.
fn is_steady(symbol: &str) -> bool {
    symbol.chars().all(|character| character.is_ascii() || matches!(character, '\u{2500}'..='\u{257F}'))
}

impl<W: Write> Backend for Steady<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a ScreenCell)>,
    {
        // Every call of the inner `draw` starts with a move of the cursor.
        let mut run = Vec::new();
        for cell in content {
            let steady = is_steady(cell.2.symbol());
            run.push(cell);
            if !steady {
                self.0.draw(run.drain(..))?;
            }
        }
        self.0.draw(run.into_iter())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.0.hide_cursor()
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.0.show_cursor()
    }

    /// Never asks: the answer would come as input, to whoever reads that, or not at all. The cursor is hidden, so any
    /// place is as good.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.0.set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.0.clear()
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        self.0.clear_region(region)
    }

    fn size(&self) -> io::Result<Size> {
        self.0.size()
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        self.0.window_size()
    }

    fn flush(&mut self) -> io::Result<()> {
        Backend::flush(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_doubtful_character_has_its_own_place() {
        let mut out = Vec::new();
        let cells: Vec<_> = ["a", "手", "b", "─", "c"].map(ScreenCell::new).into_iter().collect();
        let places = [0, 1, 3, 4, 5];
        Steady::new(&mut out).draw(places.into_iter().zip(&cells).map(|(x, cell)| (x, 2, cell))).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("\x1b[3;1Ha手"), "{out:?}");
        assert!(out.contains("\x1b[3;4Hb─c"), "{out:?}");
    }
}
