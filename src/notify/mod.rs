//! Telling people that a call waits: a program is started, a message posted, or shown on the desktop. Nothing comes back:
//! what a program prints and a server answers is not read, so no notification can rule, and one that fails or hangs harms
//! nobody.
//!
//! Every channel has a task of its own that keeps a plan and at most one message on its way. What is in a message is
//! decided here; names in it come from calls, so they are shortened and stripped of whatever is not a plain character.
//! Invariant: no argument of a call is in a message unless the configuration says so.

#[cfg(all(target_os = "linux", feature = "desktop"))]
mod desktop;
mod hook;
mod plan;
mod words;
mod webhook;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::wire::HoldView;
use plan::Plan;
pub use plan::Quiet;
pub use webhook::{Post, Webhook};
pub use words::Message;

/// A channel says something at most so often.
const COALESCE: Duration = Duration::from_secs(10);

/// Where messages go.
#[derive(Debug)]
pub enum To {
    /// argv and names of variables that the program gets; never a shell. `{summary}` in an argument is replaced.
    Command {
        argv: Vec<String>,
        inherit: Vec<String>,
    },
    Webhook(Webhook),
    #[cfg(all(target_os = "linux", feature = "desktop"))]
    Desktop,
}

/// A channel.
#[derive(Debug)]
pub struct Channel {
    /// For the log: `notify[0]`.
    pub name: String,
    pub to: To,
    /// Only holds that nobody has claimed or ruled on so long after they came.
    pub after: Duration,
    pub quiet: Option<Quiet>,
}

/// What became of holds.
#[derive(Debug)]
pub enum News {
    One(Box<HoldView>),
    /// All there are: what came before was missed.
    All(Vec<HoldView>),
}

/// Serves a channel until the news end or it is told to stop. What is on its way then is given up.
pub async fn serve(channel: Channel, mut news: mpsc::Receiver<News>, stop: CancellationToken) {
    let Channel { name, to, after, quiet } = channel;
    let to = std::sync::Arc::new(to);
    let mut plan = Plan::new(after, quiet);
    let mut on_its_way = JoinSet::new();
    loop {
        let due = if on_its_way.is_empty() { plan.next() } else { None };
        tokio::select! {
            () = stop.cancelled() => break,
            told = news.recv() => match told {
                Some(News::One(hold)) => plan.heard(&hold, Instant::now()),
                Some(News::All(holds)) => plan.replaced(&holds, Instant::now()),
                None => break,
            },
            () = until(due) => {
                let holds = plan.take(Instant::now(), &jiff::Timestamp::now());
                if let Some(message) = Message::of(&holds) {
                    on_its_way.spawn(send(name.clone(), std::sync::Arc::clone(&to), message));
                }
            }
            Some(_) = on_its_way.join_next(), if !on_its_way.is_empty() => {}
        }
    }
    on_its_way.shutdown().await;
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Every way ends by itself.
async fn send(name: String, to: std::sync::Arc<To>, message: Message) {
    let sent = match &*to {
        To::Command { argv, inherit } => hook::run(argv, inherit, &message).await,
        To::Webhook(webhook) => webhook.deliver(&message).await,
        #[cfg(all(target_os = "linux", feature = "desktop"))]
        To::Desktop => desktop::show(&message).await,
    };
    match sent {
        Ok(()) => tracing::debug!(channel = name, holds = message.count(), "notified"),
        Err(why) => tracing::warn!(channel = name, holds = message.count(), why, "a notification was not delivered"),
    }
}

/// The zone of a name, as this system knows it.
pub fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() }
}
