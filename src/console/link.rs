//! The connection to the daemon, and the next one where it breaks. The app hears of both; what it sends is bound to one
//! connection and dropped with it, so that no ruling waits for a daemon that comes back.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::app::Link;
use crate::control::client::{ControlError, Notices, Operator};
use crate::control::wire::{Command, Notice};

/// Notices that wait for the screen.
const QUEUE: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The app's end.
#[derive(Debug)]
pub struct Line {
    pub notices: mpsc::Receiver<Link>,
    /// A command and the number of the connection that it is for.
    pub commands: mpsc::Sender<(u64, Command)>,
}

/// As whom a console connects, each time.
#[derive(Clone, Debug)]
pub struct Who {
    /// Watch and rule nothing.
    pub read_only: bool,
    /// What the operator wants to be called.
    pub name: Option<String>,
}

/// Connects as a console that may rule, or that only watches.
///
/// # Errors
/// Where no daemon answers, or one that cannot be talked to.
pub async fn connect(socket: &std::path::Path, who: &Who) -> Result<Operator, ControlError> {
    Operator::connect_as(socket, true, who.read_only, who.name.clone()).await
}

/// Keeps a connection until the app's end is dropped. Returns the future that does it.
pub fn keep(socket: PathBuf, who: Who, first: Operator) -> (Line, impl Future<Output = ()> + Send + 'static) {
    let (to_app, notices) = mpsc::channel(QUEUE);
    let (commands, from_app) = mpsc::channel(QUEUE);
    (Line { notices, commands }, run(socket, who, first, from_app, to_app))
}

async fn run(
    socket: PathBuf,
    who: Who,
    first: Operator,
    mut commands: mpsc::Receiver<(u64, Command)>,
    notices: mpsc::Sender<Link>,
) {
    let mut operator = first;
    for number in 1.. {
        let Some(why) = serve(number, operator, &mut commands, &notices).await else { return };
        if notices.send(Link::Down { why }).await.is_err() {
            return;
        }
        let Some(next) = again(&socket, &who, &notices).await else { return };
        operator = next;
    }
}

/// Tries until a daemon answers; nothing where the app is gone.
async fn again(socket: &std::path::Path, who: &Who, notices: &mpsc::Sender<Link>) -> Option<Operator> {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::select! {
            () = notices.closed() => return None,
            () = tokio::time::sleep(pause) => {}
        }
        match connect(socket, who).await {
            Ok(operator) => return Some(operator),
            Err(error) => notices.send(Link::Down { why: error.to_string() }).await.ok()?,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection, to its end: why it ended, or nothing where the app is gone.
async fn serve(
    number: u64,
    operator: Operator,
    commands: &mut mpsc::Receiver<(u64, Command)>,
    notices: &mpsc::Sender<Link>,
) -> Option<String> {
    if let Notice::Welcome { operator: name, daemon, .. } = operator.welcome().clone() {
        notices.send(Link::Up { number, operator: name, daemon }).await.ok()?;
    }
    let (reader, mut writer) = operator.split();
    let write = async {
        loop {
            let (connection, command) = commands.recv().await?;
            if connection != number {
                continue;
            }
            if let Err(error) = writer.send(&command).await {
                return Some(error.to_string());
            }
        }
    };
    // Both go on side by side: the reader answers pings, so that each may wait for the other to have written.
    tokio::select! {
        ended = read(reader, notices) => ended,
        ended = write => ended,
    }
}

async fn read(mut reader: Notices, notices: &mpsc::Sender<Link>) -> Option<String> {
    loop {
        match reader.next().await {
            Ok(notice) => notices.send(Link::Notice(notice)).await.ok()?,
            Err(error) => return Some(error.to_string()),
        }
    }
}
