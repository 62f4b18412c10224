//! The operator's terminal. It only asks: whatever it shows came over the operator socket, whatever it decides goes
//! back over it, and the daemon is the judge of both.
//!
//! `app` is pure, and so is `update`: an event goes in, effects come out, and time is part of the event. `view` is pure too. Only this file,
//! `link` and `terminal` touch the world. Reading order: `visible`, `doc`, `app`, `update`, `ruling`,
//! `dialog`, `view`.

pub mod visible;
pub mod lookalike;
pub mod preview;
pub mod money;
pub mod risk;
pub mod doc;
pub mod describe;
pub mod diff;
pub mod spark;
pub mod retry;
pub mod tabs;
pub mod filter;
pub mod holds;
pub mod rows;
pub mod chord;
pub mod keys;
pub mod keymap;
pub mod barrier;
pub mod alert;
pub mod wish;
pub mod batch;
pub mod palette;
pub mod dialog;
pub mod guard;
pub mod pages;
pub mod theme;
pub mod app;
pub mod update;
mod news;
mod ruling;
pub mod sweep;
mod acts;
mod mouse;
mod pan;
pub mod outside;
pub mod draft;
pub mod view;
pub mod sign;
pub mod terminal;
pub mod plain;
mod link;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crossterm::event::{Event as Input, EventStream};
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::control::client::ControlError;
use crate::control::wire::Command;
use alert::Alert;
use app::{App, Effect, Event, Now, What};
use keymap::Keymap;
use sign::Signing;
use terminal::{Guard, Lent, Steady, Title};
use theme::{Colour, Theme};

/// How the console is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Cancelled from outside: the console gives the terminal back and ends.
    pub stop: CancellationToken,
    pub theme: Theme,
    /// The terminal has nothing but ASCII.
    pub ascii: bool,
    /// Have the terminal report the mouse.
    pub mouse: bool,
    /// Ring, and show a message where the terminal can.
    pub bell: bool,
    /// Watch and rule nothing.
    pub read_only: bool,
    /// The daemon runs in this process and ends with the console; the question before quitting says so.
    pub owns_daemon: bool,
    /// End on SIGTERM, SIGHUP and SIGINT. False where the caller listens for them and cancels `stop`.
    pub signals: bool,
    /// Who signs approvals, and with what.
    pub signing: Option<Signing>,
    /// What the operator wants to be called by others who look at the same daemon.
    pub name: Option<String>,
    /// Where policies are loaded from, as far as that is known here: no draft is put there.
    pub loaded: Vec<PathBuf>,
    pub keys: Keymap,
}

impl Options {
    /// For a process that is a console and nothing else.
    pub fn alone() -> Options {
        Options { owns_daemon: false, signals: true, ..Options::default() }
    }

    /// A theme, as far as colours are wanted here.
    #[must_use]
    pub fn coloured(self, theme: Theme, colour: Colour) -> Options {
        let wanted = colour.wanted(|name| std::env::var(name).ok());
        Options { theme: if wanted { theme } else { Theme::Mono }, ..self }
    }
}

/// For the process that runs the daemon too. Colours and characters as the environment says.
impl Default for Options {
    fn default() -> Options {
        let options = Options {
            stop: CancellationToken::new(),
            theme: Theme::Auto,
            ascii: !terminal::is_utf8(),
            mouse: true,
            bell: true,
            read_only: false,
            owns_daemon: true,
            signals: false,
            signing: None,
            name: None,
            loaded: Vec::new(),
            keys: Keymap::default(),
        };
        options.coloured(Theme::Auto, Colour::Auto)
    }
}

/// Why the console ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The operator quit.
    Quit,
    /// `stop` was cancelled.
    Stopped,
    /// A signal, or the terminal went away.
    Signal,
}

#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the terminal failed: {0}")]
    Terminal(#[from] io::Error),
    /// stdin or stdout is not a terminal, or it is one that cannot place a cursor.
    #[error("the console needs a terminal that can place its cursor")]
    NoTerminal,
    #[error("the console stopped on an error of its own: nothing was ruled by that")]
    Panicked,
}

/// Runs the console until somebody ends it. The terminal is as it was on every way out.
///
/// # Errors
/// Where no daemon answers at first, or the terminal cannot be used. A daemon that goes away later is waited for.
pub async fn run(socket: &Path, options: Options) -> Result<Ended, ConsoleError> {
    if !terminal::is_there() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(ConsoleError::NoTerminal);
    }
    let who = link::Who { read_only: options.read_only, name: options.name.clone() };
    let operator = link::connect(socket, &who).await?;
    let (line, keep) = link::keep(socket.to_owned(), who, operator);
    let mut tasks = JoinSet::new();
    tasks.spawn(keep);
    let looped = AssertUnwindSafe(watch(line, options)).catch_unwind().await;
    tasks.shutdown().await;
    looped.unwrap_or(Err(ConsoleError::Panicked))
}

/// Signals that end the console, where it is the one to listen.
struct Signals(Vec<Signal>);

impl Signals {
    fn new(listen: bool) -> io::Result<Signals> {
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        kinds.into_iter().filter(|_| listen).map(signal).collect::<io::Result<_>>().map(Signals)
    }

    async fn any(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let waits = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(waits).await;
    }
}

async fn watch(mut line: link::Line, options: Options) -> Result<Ended, ConsoleError> {
    let mut signals = Signals::new(options.signals)?;
    let mut guard = Some(Guard::take(options.mouse)?);
    let mut screen = Terminal::new(Steady::stdout())?;
    let alert = Alert::of(|name| std::env::var(name).ok(), options.bell);
    let mut title = Title::take()?;
    let mut input = EventStream::new();
    let size = screen.size()?;
    let clock = Clock(Instant::now());
    let mut app = App::new(clock.now(), (size.width, size.height), TimeZone::system());
    (app.theme, app.ascii) = (options.theme, options.ascii);
    (app.mouse, app.read_only) = (options.mouse, options.read_only);
    app.owns_daemon = options.owns_daemon;
    app.signing = options.signing.clone();
    app.keys = options.keys.clone();
    let mut effects = VecDeque::new();
    loop {
        if effects.is_empty() {
            effects.extend(terminal::inside(|| show(&mut app, &mut screen, clock))?);
            if !effects.is_empty() {
                continue;
            }
            title.show(app.holds.pending().count())?;
            let what = tokio::select! {
                () = options.stop.cancelled() => return Ok(Ended::Stopped),
                () = signals.any() => return Ok(Ended::Signal),
                link = line.notices.recv() => match link {
                    Some(link) => What::Link(Box::new(link)),
                    None => return Ok(Ended::Stopped),
                },
                event = input.next() => match event {
                    Some(Ok(event)) => match what(event) {
                        Some(what) => what,
                        None => continue,
                    },
                    Some(Err(_)) | None => return Ok(Ended::Signal),
                },
                () = tokio::time::sleep(app.tick_after()) => What::Tick,
            };
            terminal::inside(|| {
                // A key is judged by the newest news, so that it cannot hit what is gone.
                if !matches!(what, What::Link(_)) {
                    while let Ok(link) = line.notices.try_recv() {
                        effects
                            .extend(app::update(&mut app, Event { at: clock.now(), what: What::Link(Box::new(link)) }));
                    }
                }
                effects.extend(app::update(&mut app, Event { at: clock.now(), what }));
            });
        }
        match effects.pop_front() {
            Some(Effect::Send { connection, command }) => send(&line, connection, command),
            Some(Effect::Sign { seq, signing, text }) => {
                // The terminal is OpenSSH's for as long as it asks; nothing of ours reads it.
                drop(input);
                terminal::let_go();
                drop(guard.take());
                let lent = Lent::out();
                terminal::say(&signing.prompt(&text, app.flight_clocks()));
                send_first(&line, &mut effects);
                let signed = meanwhile(signing.sign(&text), &mut line, &mut app, &mut effects, clock);
                let outcome = tokio::select! {
                    () = options.stop.cancelled() => return Ok(Ended::Stopped),
                    () = signals.any() => return Ok(Ended::Signal),
                    outcome = signed => outcome.map_err(|error| error.to_string()),
                };
                // What was typed meanwhile and not read was not meant for the screen: it is thrown away.
                drop(lent);
                guard = Some(Guard::take(app.mouse)?);
                input = EventStream::new();
                screen.clear()?;
                let size = screen.size()?;
                // The window may have changed while nobody listened.
                for what in [What::Resize(size.width, size.height), What::Signed(seq, outcome)] {
                    effects.extend(app::update(&mut app, Event { at: clock.now(), what }));
                }
            }
            Some(Effect::Edit { file, line: number }) => {
                drop(input);
                terminal::let_go();
                drop(guard.take());
                let lent = Lent::out();
                send_first(&line, &mut effects);
                let mut ended = None;
                let over = async {
                    ended = Some(tokio::select! {
                        () = options.stop.cancelled() => Ended::Stopped,
                        () = signals.any() => Ended::Signal,
                    });
                };
                let edited = terminal::edit(&file, number, over);
                let outcome = meanwhile(edited, &mut line, &mut app, &mut effects, clock).await;
                drop(lent);
                if let Some(ended) = ended {
                    return Ok(ended);
                }
                guard = Some(Guard::take(app.mouse)?);
                input = EventStream::new();
                screen.clear()?;
                let size = screen.size()?;
                for what in [What::Resize(size.width, size.height), What::Did(outcome)] {
                    effects.extend(app::update(&mut app, Event { at: clock.now(), what }));
                }
            }
            Some(Effect::Export { name, text }) => {
                let what = What::Did(terminal::write_new(&name, &text));
                effects.extend(app::update(&mut app, Event { at: clock.now(), what }));
            }
            Some(Effect::Draft { draft, loaded }) => {
                let loaded = [loaded, options.loaded.clone()].concat();
                let (what, edit) = outside::write(&draft, &loaded, |name| std::env::var_os(name));
                effects.extend(app::update(&mut app, Event { at: clock.now(), what: What::Did(what) }));
                // Under the daemon's own console an editor that is suspended would stop the daemon.
                effects.extend(edit.filter(|_| !options.owns_daemon));
            }
            Some(Effect::Quit) => return Ok(Ended::Quit),
            Some(Effect::Redraw) => screen.clear()?,
            Some(Effect::Mouse(on)) => terminal::mouse(on)?,
            Some(Effect::Bell) => {
                let mut out = io::stdout();
                out.write_all(&alert.ring(&alert::words(&app)))?;
                out.flush()?;
            }
            Some(Effect::Copy(text)) => {
                let mut out = io::stdout();
                out.write_all(&alert.copy(&text))?;
                out.flush()?;
            }
            Some(Effect::Suspend) => {
                drop(input);
                drop(guard.take());
                terminal::suspend();
                guard = Some(Guard::take(app.mouse)?);
                input = EventStream::new();
                screen.clear()?;
                let size = screen.size()?;
                let what = What::Resize(size.width, size.height);
                effects.extend(app::update(&mut app, Event { at: clock.now(), what }));
            }
            None => {}
        }
    }
}

fn send(line: &link::Line, connection: u64, command: Command) {
    if line.commands.try_send((connection, command)).is_err() {
        tracing::warn!("the daemon takes no commands: one was dropped");
    }
}

/// What was to be said is said before the terminal is somebody else's.
fn send_first(line: &link::Line, effects: &mut VecDeque<Effect>) {
    for effect in std::mem::take(effects) {
        match effect {
            Effect::Send { connection, command } => send(line, connection, command),
            other => effects.push_back(other),
        }
    }
}

/// Waits for what happens outside of the screen, while the daemon is listened to and spoken to as before. The terminal
/// rings, and shows nothing of ours.
async fn meanwhile<T>(
    work: impl Future<Output = T>,
    line: &mut link::Line,
    app: &mut App,
    effects: &mut VecDeque<Effect>,
    clock: Clock,
) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => return outcome,
            Some(link) = line.notices.recv() => {
                for effect in app::update(app, Event { at: clock.now(), what: What::Link(Box::new(link)) }) {
                    match effect {
                        Effect::Send { connection, command } => send(line, connection, command),
                        Effect::Bell => terminal::ring(),
                        other => effects.push_back(other),
                    }
                }
            }
        }
    }
}

/// Draws. The frame has the size that the terminal has at that moment, which need not be the app's: then nothing of it
/// counts as seen.
fn show(app: &mut App, screen: &mut Terminal<Steady<io::Stdout>>, clock: Clock) -> io::Result<Vec<Effect>> {
    let area = screen.draw(|frame| view::render(app, frame))?.area;
    let what = app.was_drawn(area);
    Ok(app::update(app, Event { at: clock.now(), what }))
}

fn what(event: Input) -> Option<What> {
    match event {
        Input::Key(key) => Some(What::Key(key)),
        Input::Paste(text) => Some(What::Paste(text)),
        Input::Resize(width, height) => Some(What::Resize(width, height)),
        Input::Mouse(event) => Some(What::Mouse(event)),
        Input::FocusGained | Input::FocusLost => None,
    }
}

#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Now {
        Now { mono: self.0.elapsed(), wall: Timestamp::now() }
    }
}
