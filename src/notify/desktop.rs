//! A message for the desktop of the account that the daemon runs under: one line, nothing to press.

use std::time::Duration;

use notify_rust::{Notification, Urgency};

use super::Message;

/// A bus that does not answer is given up.
const TIME: Duration = Duration::from_secs(5);

/// Shows it.
///
/// # Errors
/// Why nobody saw it, in words for the log.
pub async fn show(message: &Message) -> Result<(), String> {
    // What a name may have in it is no markup.
    let mut notification = Notification::new();
    notification.appname("countersign").summary("Countersign").body(&message.summary());
    notification.urgency(if message.is_high() { Urgency::Critical } else { Urgency::Normal });
    match tokio::time::timeout(TIME, notification.show_async()).await {
        Err(_) => Err(format!("the desktop did not answer within {} s", TIME.as_secs())),
        Ok(Err(error)) => Err(format!("the desktop cannot be reached: {error}")),
        Ok(Ok(_)) => Ok(()),
    }
}
