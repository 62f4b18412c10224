//! A message for a server: JSON, signed. Its answer is a status, and nothing else of it is read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Message;
use crate::credential::secret::{Secret, SecretCell};

/// Attempts, and the pause before the second one; each further pause is twice as long.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Header fields of a message.
pub const SIGNATURE: &str = "countersign-signature";

/// Posts a body with these header fields, once: the status, or why there is none. Given from outside, with an end of
/// its own.
pub type Post = Arc<dyn Fn(Vec<(&'static str, String)>, String) -> Posted + Send + Sync>;
type Posted = Pin<Box<dyn Future<Output = Result<u16, String>> + Send>>;

pub struct Webhook {
    pub secret: SecretCell,
    /// The arguments of calls are sent along.
    pub arguments: bool,
    pub post: Post,
}

impl Webhook {
    /// # Errors
    /// Why no attempt was answered with a status of 2xx.
    pub async fn deliver(&self, message: &Message) -> Result<(), String> {
        let body = message.body(self.arguments);
        let mut why = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
            }
            let time = jiff::Timestamp::now().as_second();
            let fields = vec![
                ("content-type", "application/json".to_owned()),
                (SIGNATURE, format!("t={time},v1={}", signature(&self.secret.current(), time, &body))),
            ];
            match (self.post)(fields, body.clone()).await {
                Ok(200..300) => return Ok(()),
                // It has understood and does not want it: the same again is no better.
                Ok(status @ 400..500) if status != 408 && status != 429 => {
                    return Err(format!("it answered with status {status}"));
                }
                Ok(status) => why = format!("it answered with status {status}"),
                Err(error) => why = error,
            }
        }
        Err(format!("{ATTEMPTS} attempts, the last: {why}"))
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

/// HMAC-SHA256 of `TIME.BODY`, in hex.
pub(super) fn signature(secret: &Secret, time: i64, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = ring::hmac::sign(&key, format!("{time}.{body}").as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
