//! The channels of `notify`, and what they are told: every change of a hold, as operators see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::config::{Config, Notify, NotifyTo};
use crate::control::server::Control;
use crate::credential::secret::SecretCell;
use crate::gate::{Change, Told};
use crate::notify::{self, Channel, News, Post, Quiet, To, Webhook};
use crate::transport::http_client::HttpClient;
use crate::transport::post::{self, Target};

/// The holds of the gate, for one channel.
pub(super) struct Feed {
    control: Arc<Control>,
    changes: broadcast::Receiver<Change>,
}

/// Every configured channel and its feed.
///
/// # Errors
/// Where a secret, a URL or a zone that the configuration names is not there.
pub(super) fn channels(
    config: &Config,
    secrets: &BTreeMap<String, SecretCell>,
    client: &HttpClient,
    control: &Arc<Control>,
) -> Result<Vec<(Channel, Feed)>, StartError> {
    let entries = config.notify.iter().enumerate();
    let channels = entries.map(|(index, entry)| {
        let channel = channel(index, entry, secrets, client).map_err(|reason| StartError::Notify { index, reason })?;
        Ok((channel, Feed { control: Arc::clone(control), changes: control.gate.holds().changes() }))
    });
    channels.collect()
}

fn channel(
    index: usize,
    entry: &Notify,
    secrets: &BTreeMap<String, SecretCell>,
    client: &HttpClient,
) -> Result<Channel, String> {
    let to = match &entry.to {
        NotifyTo::Command { argv, inherit } => To::Command { argv: argv.clone(), inherit: inherit.clone() },
        NotifyTo::Webhook { url, secret, arguments } => {
            let target = Target::new(url).ok_or("its URL is neither https nor http on this machine")?;
            let secret = super::servers::find(secret, secrets)?;
            To::Webhook(Webhook { secret, arguments: *arguments, post: poster(client, target) })
        }
        #[cfg(all(target_os = "linux", feature = "desktop"))]
        NotifyTo::Desktop => To::Desktop,
        #[cfg(not(all(target_os = "linux", feature = "desktop")))]
        NotifyTo::Desktop => return Err("this countersign cannot reach a desktop".to_owned()),
    };
    let quiet = match &entry.quiet {
        None => None,
        Some(quiet) => Some(Quiet {
            from: quiet.from,
            to: quiet.to,
            zone: notify::zone(&quiet.zone).ok_or_else(|| {
                format!("this system does not know the zone {}; install its time zones (tzdata)", quiet.zone)
            })?,
            high_too: quiet.high_too,
        }),
    };
    Ok(Channel { name: format!("notify[{index}]"), to, after: entry.after, quiet })
}

fn poster(client: &HttpClient, target: Target) -> Post {
    let (client, target) = (client.clone(), Arc::new(target));
    Arc::new(move |fields, body| {
        let (client, target) = (client.clone(), Arc::clone(&target));
        Box::pin(async move { post::post(&client, &target, fields, body).await })
    })
}

impl Feed {
    /// Tells the channel until it is gone. One that is behind gets everything anew.
    pub(super) async fn run(mut self, news: mpsc::Sender<News>, stop: CancellationToken) {
        loop {
            let told = tokio::select! {
                () = stop.cancelled() => return,
                change = self.changes.recv() => match change.map(|change| self.control.gate.holds().told(&change)) {
                    Ok(Told::Hold(hold)) => News::One(Box::new(self.control.view(&hold))),
                    Ok(Told::Later) => continue,
                    Ok(Told::Forgotten) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.changes = self.changes.resubscribe();
                        let holds = self.control.gate.holds().all();
                        News::All(holds.iter().map(|hold| self.control.view(hold)).collect())
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            };
            if news.send(told).await.is_err() {
                return;
            }
        }
    }
}
