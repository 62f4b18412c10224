//! The task behind a session of this front: it hands on what the session's other end says, and notices when nobody
//! comes any more.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::transport::ToClient;

/// A session whose other end is pumped.
pub(super) trait Pumped: Sync {
    fn ended(&self) -> &CancellationToken;

    /// When to look again; `None` where nobody came for long enough: then nobody can come any more.
    fn idle_until(&self, idle: Duration) -> Option<Instant>;

    /// Takes what is said to the stream that it belongs on.
    fn deliver(&self, event: ToClient) -> impl Future<Output = ()> + Send;
}

/// Goes on until either end is gone, or until nobody came for `idle`.
pub(super) async fn carry(session: &impl Pumped, mut outbound: mpsc::Receiver<ToClient>, idle: Duration) {
    let mut check = std::pin::pin!(sleep(idle));
    loop {
        tokio::select! {
            () = session.ended().cancelled() => return,
            event = outbound.recv() => match event {
                Some(event) => session.deliver(event).await,
                None => return,
            },
            () = &mut check => match session.idle_until(idle) {
                Some(deadline) => check.as_mut().reset(deadline),
                None => return,
            },
        }
    }
}

/// When to look again at a session that was `used` last; `None` where nobody came for long enough.
pub(super) fn look_again(in_use: bool, used: Instant, idle: Duration) -> Option<Instant> {
    let now = Instant::now();
    let deadline = if in_use { now } else { used } + idle;
    (deadline > now).then_some(deadline)
}
