//! The form of an answer: one JSON text or an event stream, and the status that goes with it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::PATIENCE;
use super::exchange::{Exchange, Said, Turn};
use super::guard::Accepts;
use super::sse::{self, Answer, Events};
use crate::json::Json;
use crate::mcp::batch;
use crate::mcp::headers;
use crate::mcp::message::{HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, Message};
use crate::transport::answer::{self, Outgoing};

/// Waits for what decides the form of the answer, and gives it that form.
pub(super) async fn respond(
    mut exchange: Exchange,
    accepts: Accepts,
    status: impl Fn(Outgoing) -> StatusCode,
) -> Response<Answer> {
    if !accepts.json {
        return event_stream(exchange, Vec::new());
    }
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    loop {
        let turn = if accepts.events { timeout_at(deadline, exchange.next()).await } else { Ok(exchange.next().await) };
        match turn {
            Ok(Some(Turn::Answer { said: answer, last, .. })) => {
                said.push(answer);
                if last {
                    return whole(&exchange, said, status);
                }
            }
            Ok(Some(Turn::Related(related))) if accepts.events => {
                said.push(related);
                return event_stream(exchange, said);
            }
            Ok(Some(Turn::Waiting | Turn::Later)) | Err(_) if accepts.events => {
                return event_stream(exchange, said);
            }
            // This client takes one JSON text and nothing else: whatever comes before it goes nowhere.
            Ok(Some(Turn::Related(_) | Turn::Waiting | Turn::Later)) | Err(_) => {}
            Ok(None) => {
                let ended: Vec<Said> =
                    exchange.unanswered().iter().map(|id| Said { text: sse::session_ended(id), id: None }).collect();
                said.extend(ended);
                let none = said.is_empty();
                return if none { accepted() } else { whole(&exchange, said, |_| StatusCode::SERVICE_UNAVAILABLE) };
            }
        }
    }
}

/// All answers in one JSON text. A request that was taken back has none, and nothing says so in HTTP but an empty body.
fn whole(exchange: &Exchange, said: Vec<Said>, status: impl Fn(Outgoing) -> StatusCode) -> Response<Answer> {
    if exchange.batch {
        return json(StatusCode::OK, batch::join(said.iter().map(|said| &said.text)));
    }
    match said.into_iter().next() {
        Some(Said { text, .. }) => json(status(answer::kind(&text)), text.into_bytes()),
        None => accepted(),
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

pub(super) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
    let mut response = response(status, Answer::whole(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn event_stream(exchange: Exchange, first: Vec<Said>) -> Response<Answer> {
    events(Events::new(exchange, first))
}

/// A stream that a client listens to, for as long as the evidence of who it is lasts.
pub(super) fn listening(exchange: Exchange, until: Option<Instant>) -> Response<Answer> {
    events(Events::new(exchange, Vec::new()).until(until))
}

fn events(events: Events) -> Response<Answer> {
    let mut response = response(StatusCode::OK, Answer::Events(Box::new(events)));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
