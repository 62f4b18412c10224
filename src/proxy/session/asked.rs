//! What an upstream asks of the client, and what the client answers to it.
//!
//! Invariant: nobody is asked for what the client did not offer, and an answer is passed on only where this session
//! was asked and has not answered yet.

use crate::json::{Json, JsonText};
use crate::mcp::message::{INVALID_REQUEST, Id, METHOD_NOT_FOUND, Malformed, Message};
use crate::mcp::method::{self, Passage};

use super::Session;

impl Session {
    /// A request of the upstream reaches the client only where the client has said that it takes such requests.
    pub(super) async fn asked_by_upstream(&mut self, id: Id, method: String, message: Message, related: Option<Id>) {
        let offered = |name: &str| self.capabilities.as_ref().is_some_and(|offers| offers.view().get(name).is_some());
        let allowed = match method::upstream_request(&method) {
            None => false,
            Some(None) => true,
            Some(Some(capability)) => offered(capability) && safe_elicitation(&message),
        };
        if !allowed || self.asked.contains_key(&id) || self.asked.len() >= self.shared.limits.in_flight {
            tracing::info!(
                session = self.id,
                server = self.server.facts.name,
                method,
                "a request of the server was declined"
            );
            return self.upstream.decline(&id, METHOD_NOT_FOUND, "the client does not offer this");
        }
        match self.shared.scrubber.message(message.text()) {
            Some(text) => {
                self.asked.insert(id, method);
                self.tell(text, related).await;
            }
            None => self.upstream.decline(&id, METHOD_NOT_FOUND, "the request could not be passed on"),
        }
    }

    /// The client answers a request of the upstream.
    pub(super) async fn answer(&mut self, id: &Id, passage: Passage) {
        if self.asked.remove(id).is_none() {
            let reason = "refused by countersign: a response to nothing that was asked";
            return self.refuse(Malformed::new(INVALID_REQUEST, reason).unanswered()).await;
        }
        if let Err(why) = self.upstream.pass(passage) {
            tracing::warn!(session = self.id, %why, "an answer was not passed on");
        }
    }
}

/// True where a modern result asks the client for something that its request did not declare.
pub(super) fn asks_undeclared(text: &JsonText, modern: bool, capabilities: Option<&JsonText>) -> bool {
    let Some(requests) = text.view().pointer("/result/inputRequests").filter(|_| modern) else { return false };
    requests.members().any(|(_, request)| {
        let method = request.get("method").and_then(Json::as_str).unwrap_or_default();
        let offered = match method::upstream_request(&method) {
            Some(Some(capability)) => capabilities.is_some_and(|offers| offers.view().get(capability).is_some()),
            Some(None) | None => false,
        };
        !offered || request.get("params").is_some_and(|params| !safe_url(params))
    })
}

fn safe_elicitation(message: &Message) -> bool {
    message.params().is_none_or(safe_url)
}

/// An elicitation may send a person to an `https` address and to nothing else.
fn safe_url(params: Json<'_>) -> bool {
    params.get("url").is_none_or(|url| url.as_str().is_some_and(|url| url.starts_with("https://")))
}
