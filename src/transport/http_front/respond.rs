//! The form of an answer: one JSON text or an event stream, and the status that goes with it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use tokio::time::timeout;

use super::PATIENCE;
use super::answer::{self, Outgoing};
use super::exchange::{Exchange, Turn};
use super::guard::Accepts;
use super::sse::{self, Answer, Events, Feed};
use crate::json::{Json, JsonText};
use crate::mcp::headers;
use crate::mcp::message::{HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, Message};

/// Waits for what decides the form of the answer, and gives it that form.
pub(super) async fn respond(
    mut exchange: Exchange,
    accepts: Accepts,
    status: impl Fn(Outgoing) -> StatusCode,
) -> Response<Answer> {
    let first = if !accepts.json {
        Some(Turn::Waiting)
    } else if accepts.events {
        timeout(PATIENCE, exchange.next()).await.unwrap_or(Some(Turn::Waiting))
    } else {
        // This client takes one JSON text and nothing else: whatever comes before it goes nowhere.
        loop {
            match exchange.next().await {
                Some(Turn::Waiting | Turn::Related(_)) => {}
                last => break last,
            }
        }
    };
    match first {
        Some(Turn::Answer(text)) => json(status(answer::kind(&text)), text),
        Some(Turn::Related(text)) => event_stream(Feed::Exchange(exchange), Some(text)),
        Some(Turn::Waiting) => event_stream(Feed::Exchange(exchange), None),
        None => json(StatusCode::SERVICE_UNAVAILABLE, sse::session_ended(&exchange)),
    }
}

/// How the stateless era says in HTTP what an error says.
pub(super) fn modern_status(kind: Outgoing, lacks_meta: bool) -> StatusCode {
    let Outgoing::Error(Some(code)) = kind else { return StatusCode::OK };
    match code {
        METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        HEADER_MISMATCH | headers::MISSING_CAPABILITY | headers::UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
        INVALID_PARAMS if lacks_meta => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// A modern request that lacks what `_meta` has to carry besides the revision.
pub(super) fn lacks_meta(message: &Message) -> bool {
    let capabilities =
        |params: Json<'_>| params.get("_meta")?.get("io.modelcontextprotocol/clientCapabilities").map(|_| ());
    message.params().and_then(capabilities).is_none()
}

fn response(status: StatusCode, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Answer> {
    response(status, Answer::whole(Bytes::new()))
}

pub(super) fn accepted() -> Response<Answer> {
    empty(StatusCode::ACCEPTED)
}

pub(super) fn json(status: StatusCode, text: JsonText) -> Response<Answer> {
    let mut response = response(status, Answer::whole(text.into_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn event_stream(feed: Feed, first: Option<JsonText>) -> Response<Answer> {
    let mut response = response(StatusCode::OK, Answer::Events(Box::new(Events::new(feed, first))));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
