//! Plain mode: the console as a conversation, for screen readers, dumb terminals and those who like it. Lines are added
//! and never redrawn, each is `Field: value`, and every answer is a whole word.
//!
//! Only this file and `keyboard` touch the world; the others are pure. What may be ruled on and with
//! what gesture is `barrier`'s and `dialog`'s word, as it is for the screen.

mod answers;
mod keyboard;
mod look;
mod news;
mod outside;
mod record;
mod rule;
pub mod talk;
mod typed;
pub mod vocabulary;
pub mod words;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::app::Now;
use super::sign::Signing;
use super::terminal::{self, Lent};
use super::{ConsoleError, Ended, Signals, link, visible};
use crate::console;
use crate::control::wire::SignedBy;
use keyboard::Keyboard;
use talk::{Effect, Talk, What};

/// A line that comes so soon after its question was typed before it: nobody reads and answers faster.
const TOO_SOON: Duration = Duration::from_millis(100);

/// How plain mode is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub stop: CancellationToken,
    /// End on SIGTERM, SIGHUP and SIGINT.
    pub signals: bool,
    /// Watch and rule nothing.
    pub read_only: bool,
    /// The terminal has nothing but ASCII.
    pub ascii: bool,
    /// Ring.
    pub bell: bool,
    pub signing: Option<Signing>,
    /// What the operator wants to be called by others who look at the same daemon.
    pub name: Option<String>,
    /// Where policies are loaded from, as far as that is known here: no draft is put there.
    pub loaded: Vec<PathBuf>,
}

/// Whether plain mode is what this process's terminal and environment ask for. Without any terminal nobody is there to
/// talk to, and it has to be asked for by name.
pub fn is_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let (typed, shown) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    (typed || shown) && (dumb || set("COUNTERSIGN_ACCESSIBLE") || !shown)
}

/// Runs plain mode until somebody ends it. Where stdin is no terminal it watches and rules nothing: what comes from a
/// pipe was not typed in answer to anything.
///
/// # Errors
/// Where no daemon answers at first. A daemon that goes away later is waited for.
pub async fn run(socket: &Path, options: Options) -> Result<Ended, ConsoleError> {
    let keyboard = Keyboard::open();
    let watching = match (&keyboard, options.read_only) {
        (_, true) => Some("it was started with --read-only.".to_owned()),
        (Err(_), false) => Some(
            "its input is no terminal, and answers from a pipe do not count. Scripts use countersign pending approve."
                .to_owned(),
        ),
        (Ok(_), false) => None,
    };
    let read_only = watching.is_some();
    let who = link::Who { read_only, name: options.name.clone() };
    let operator = link::connect(socket, &who).await?;
    let (line, keep) = link::keep(socket.to_owned(), who, operator);
    let mut tasks = JoinSet::new();
    tasks.spawn(keep);
    let clock = Instant::now();
    let keyboard = keyboard.ok();
    let talk = Talk::new(now(clock), TimeZone::system(), options.signing.clone(), watching, keyboard.is_some());
    let (ascii, todo) = (options.ascii, VecDeque::new());
    let desk = Desk { line, keyboard, talk, clock, asked: None, open: false, ascii, todo };
    let ended = desk.talk(&options).await;
    tasks.shutdown().await;
    ended
}

fn now(clock: Instant) -> Now {
    Now { mono: clock.elapsed(), wall: Timestamp::now() }
}

struct Desk {
    line: link::Line,
    keyboard: Option<Keyboard>,
    talk: Talk,
    clock: Instant,
    /// When the question that is open got to the terminal.
    asked: Option<Instant>,
    /// The cursor stands behind a question.
    open: bool,
    ascii: bool,
    todo: VecDeque<Effect>,
}

impl Desk {
    async fn talk(mut self, options: &Options) -> Result<Ended, ConsoleError> {
        let mut signals = Signals::new(options.signals)?;
        loop {
            let Some(effect) = self.todo.pop_front() else {
                let what = tokio::select! {
                    () = options.stop.cancelled() => return Ok(Ended::Stopped),
                    () = signals.any() => return Ok(Ended::Signal),
                    link = self.line.notices.recv() => match link {
                        Some(link) => What::Link(Box::new(link)),
                        None => return Ok(Ended::Stopped),
                    },
                    typed = next(&mut self.keyboard) => match typed {
                        Some(typed) if self.is_too_soon(typed.at) => {
                            self.open = false;
                            self.say("Dropped: that was typed before the question.")?;
                            continue;
                        }
                        Some(typed) => {
                            self.open = false;
                            What::Line(typed.line)
                        }
                        None => What::Eof,
                    },
                    () = tokio::time::sleep(Duration::from_secs(1)) => What::Tick,
                };
                self.happened(what);
                continue;
            };
            match effect {
                Effect::Say(line) => self.say(&line)?,
                Effect::Ask { question, fresh } => self.ask(&question, fresh)?,
                // In a file or a pipe it would only be noise.
                Effect::Bell if options.bell && io::stdout().is_terminal() => self.write("\x07")?,
                Effect::Bell => {}
                Effect::Send { connection, command } => super::send(&self.line, connection, command),
                Effect::Export { name, text } => {
                    let did = terminal::write_new(&name, &text);
                    self.happened(What::Did(did));
                }
                Effect::Draft { draft, loaded, edit } => {
                    let loaded = [loaded, options.loaded.clone()].concat();
                    let (did, shown) = console::outside::write(&draft, &loaded, |name| std::env::var_os(name));
                    self.happened(What::Did(did));
                    if let Some(console::app::Effect::Edit { file, line }) = shown.filter(|_| edit) {
                        // What is asked next stands below what the editor shows.
                        let at = self.todo.iter().position(|effect| matches!(effect, Effect::Ask { .. }));
                        self.todo.insert(at.unwrap_or(self.todo.len()), Effect::Edit { file, line });
                    }
                }
                Effect::Edit { file, line } => {
                    let lent = Lent::out();
                    let mut ended = None;
                    let over = async {
                        ended = Some(tokio::select! {
                            () = options.stop.cancelled() => Ended::Stopped,
                            () = signals.any() => Ended::Signal,
                        });
                    };
                    let did = self.meanwhile(terminal::edit(&file, line, over)).await;
                    drop(lent);
                    if let Some(ended) = ended {
                        return Ok(ended);
                    }
                    self.happened(What::Did(did));
                }
                Effect::Quit => return Ok(Ended::Quit),
                Effect::Sign { seq, signing, text } => {
                    let lent = Lent::out();
                    let outcome = tokio::select! {
                        () = options.stop.cancelled() => return Ok(Ended::Stopped),
                        () = signals.any() => return Ok(Ended::Signal),
                        outcome = self.sign(&signing, &text) => outcome,
                    };
                    drop(lent);
                    self.happened(What::Signed(seq, outcome));
                }
            }
        }
    }

    /// One step of the talk. A line is judged by the newest news, so that it cannot hit what is gone.
    fn happened(&mut self, what: What) {
        if matches!(what, What::Line(_) | What::Signed(..)) {
            while let Ok(link) = self.line.notices.try_recv() {
                self.todo.extend(self.talk.update(now(self.clock), What::Link(Box::new(link))));
            }
            // The question has changed meanwhile: the line was not for this one.
            if matches!(what, What::Line(_)) && self.todo.iter().any(|e| matches!(e, Effect::Ask { fresh: true, .. })) {
                return;
            }
        }
        self.todo.extend(self.talk.update(now(self.clock), what));
    }

    fn is_too_soon(&self, at: Instant) -> bool {
        self.asked.is_none_or(|asked| at < asked + TOO_SOON)
    }

    /// Has the operator sign, while the daemon is listened to. Nothing of ours reads the terminal meanwhile.
    async fn sign(&mut self, signing: &Signing, text: &str) -> Result<SignedBy, String> {
        terminal::say(&signing.prompt(text, self.talk.clocks_of_signing()));
        let signed = self.meanwhile(signing.sign(text)).await;
        signed.map_err(|error| error.to_string())
    }

    /// Waits for what happens outside of the talk, while the daemon is listened to.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                Some(link) = self.line.notices.recv() => {
                    self.todo.extend(self.talk.update(now(self.clock), What::Link(Box::new(link))));
                }
            }
        }
    }

    /// A question that is new voids what was typed before it.
    fn ask(&mut self, question: &str, fresh: bool) -> io::Result<()> {
        let question = if self.ascii { visible::ascii(question) } else { question.to_owned() };
        if fresh && let Some(keyboard) = &mut self.keyboard {
            keyboard.drain();
        }
        if std::mem::take(&mut self.open) {
            self.write("\n")?;
        }
        self.write(&question)?;
        self.open = true;
        if fresh {
            self.asked = Some(Instant::now());
        }
        Ok(())
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        if std::mem::take(&mut self.open) {
            self.write("\n")?;
        }
        let line = if self.ascii { visible::ascii(line) } else { line.to_owned() };
        let rows = match terminal::columns() {
            Some(width) => words::wrap(&line, usize::from(width)),
            None => vec![line],
        };
        rows.iter().try_for_each(|row| self.write(&format!("{row}\n")))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

async fn next(keyboard: &mut Option<Keyboard>) -> Option<keyboard::Typed> {
    match keyboard {
        Some(keyboard) => keyboard.next().await,
        None => std::future::pending().await,
    }
}
