//! What the child of a session asks of its vendor's API: each request is a call of its own, decided, held and recorded
//! like those of the session's client, in its name.
//!
//! Invariant: a request leaves by a permit of its own. That a call which runs code was approved says nothing about what
//! the code asks for; it is named in the record, and that is all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::audit::{Answer, Event};
use crate::call::{CallContext, CallId, Class, ClientInfo, Digest, Outcome, PrincipalKind, Refusal, ToolCall};
use crate::catalog::Catalog;
use crate::config::Gate;
use crate::credential::scrub::{Scrubbed, Scrubber};
use crate::credential::secret::SecretCell;
use crate::credential::shape::Kinds;
use crate::gate::{Admission, PermittedCall, Presence, SentCall};
use crate::json::{JsonText, Rules};
use crate::mcp::{definitions, reply};
use crate::transport::api_gate::{Answered, ApiSpec, Asked, Lost, Pass};
use crate::transport::http_upstream::HeaderSource;

use super::guessed::GUESSED;
use super::whereabouts::Whereabouts;
use super::{ServerRuntime, Shared, upstream};

/// One session's side of the gate. The key of its child is good for as long as this lives.
pub(super) struct Api {
    requests: Arc<Requests>,
    _pass: Pass,
}

struct Requests {
    shared: Arc<Shared>,
    catalog: Arc<Catalog>,
    /// Keys of others that are taken out of answers.
    hidden: Kinds,
    spec: Arc<ApiSpec>,
    base: Mutex<CallContext>,
    place: Whereabouts,
    /// Calls of the session's client that are with the child.
    running: Mutex<Vec<CallId>>,
    ending: OnceLock<(Outcome, &'static str)>,
    ended: CancellationToken,
    tracker: TaskTracker,
}

/// A call of the session's client is with the child, until this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    call: CallId,
    leaves: Leaves,
}

#[derive(Clone)]
struct Leaves(Arc<Requests>);

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaves")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.leaves.0.running.lock().unwrap_or_else(PoisonError::into_inner).retain(|call| *call != self.call);
    }
}

impl Api {
    /// Serves the child of a session from now on.
    pub fn serve(
        Opened { pass, from_child, .. }: Opened,
        spec: &Arc<ApiSpec>,
        shared: &Arc<Shared>,
        server: &ServerRuntime,
        base: CallContext,
        place: Whereabouts,
    ) -> Api {
        let requests = Arc::new(Requests {
            shared: Arc::clone(shared),
            catalog: Arc::clone(&server.catalog),
            hidden: server.hidden,
            spec: Arc::clone(spec),
            base: Mutex::new(base),
            place,
            running: Mutex::default(),
            ending: OnceLock::new(),
            ended: CancellationToken::new(),
            tracker: TaskTracker::new(),
        });
        shared.tracker.spawn(Arc::clone(&requests).listen(from_child).in_current_span());
        Api { requests, _pass: pass }
    }

    /// What the session's client says about itself.
    pub fn met(&self, client: &Arc<ClientInfo>) {
        self.requests.base.lock().unwrap_or_else(PoisonError::into_inner).client = Arc::clone(client);
    }

    /// A call of the session's client is with the child.
    pub fn runs(&self, call: &CallId) -> Running {
        self.requests.running.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        Running { call: call.clone(), leaves: Leaves(Arc::clone(&self.requests)) }
    }

    /// Takes nothing any more: what waits is withdrawn, and what was sent gets its grace.
    pub fn stop(&self, outcome: Outcome, why: &'static str) {
        let _ = self.requests.ending.set((outcome, why));
        self.requests.ended.cancel();
    }

    /// After [`Api::stop`]: the end of everything that was under way, which comes within the grace.
    pub async fn ended(&self) {
        self.requests.tracker.close();
        self.requests.tracker.wait().await;
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop(Outcome::Withdrawn, "the session has ended");
    }
}

impl Requests {
    async fn listen(self: Arc<Self>, mut from_child: mpsc::Receiver<Asked>) {
        loop {
            let asked = tokio::select! {
                () = self.ended.cancelled() => return,
                asked = from_child.recv() => asked,
            };
            let Some(asked) = asked else { return };
            if self.tracker.len() >= self.shared.limits.in_flight {
                let said = "countersign: too many requests are not answered yet (limits.in_flight). Nothing was sent.";
                let _ = asked.reply.send(Answered::ours(StatusCode::SERVICE_UNAVAILABLE, said, None));
                continue;
            }
            let work = self.tracker.track_future(Arc::clone(&self).answer(asked));
            self.shared.tracker.spawn(work.in_current_span());
        }
    }

    async fn answer(self: Arc<Self>, asked: Asked) {
        let Asked { call, mut reply } = asked;
        let presence = Presence::default().at(self.place.now());
        let watch = async {
            tokio::select! {
                () = reply.closed() => presence.leave(Outcome::Withdrawn, "the server's process closed the connection"),
                () = self.ended.cancelled() => {
                    let (outcome, why) =
                        self.ending.get().copied().unwrap_or((Outcome::Withdrawn, "the session has ended"));
                    presence.leave(outcome, why);
                }
            }
            std::future::pending::<Answered>().await
        };
        // What was begun is brought to its end, whoever waits for it.
        let answered = tokio::select! {
            answered = self.carry_through(call, &presence) => answered,
            answered = watch => answered,
        };
        // A child that has gone needs no answer.
        let _ = reply.send(answered);
    }

    async fn carry_through(&self, call: ToolCall, presence: &Presence) -> Answered {
        if self.shared.scrubber.has_whole(call.arguments().as_str()) {
            let reason = "refused by countersign: the request contains a key that countersign keeps";
            return self.refuse(StatusCode::BAD_REQUEST, reason).await;
        }
        let ours = self.base().principal.kind == PrincipalKind::Builtin;
        if ours && self.catalog.operation(&call).class != Class::Read {
            let reason = "refused by countersign: it is asked where its key works, and reads are enough for that";
            return self.refuse(StatusCode::FORBIDDEN, reason).await;
        }
        match self.decide(Box::new(call), presence).await {
            Ok(permit) => self.send(permit).await,
            Err(refusal) => refused(&refusal),
        }
    }

    /// A request that no policy is asked about: one that holds a key of ours, which its child cannot have by right, or
    /// that our own question at start does not need.
    async fn refuse(&self, status: StatusCode, reason: &str) -> Answered {
        let base = self.base();
        let event = Event::Refused {
            server: Some(base.server.name.clone()),
            principal: Some(base.principal.name.clone()),
            session: Some(base.session),
            code: i64::from(status.as_u16()),
            reason: reason.to_owned(),
        };
        self.shared.gate.refused(event).await;
        Answered::ours(status, reason, None)
    }

    fn base(&self) -> CallContext {
        self.base.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The call whose code asks, where only one can.
    fn within(&self) -> Option<CallId> {
        match self.running.lock().unwrap_or_else(PoisonError::into_inner).as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        }
    }

    async fn decide(&self, call: Box<ToolCall>, presence: &Presence) -> Result<PermittedCall, Refusal> {
        let operation = self.catalog.operation(&call);
        let context = Box::new(CallContext { tool: definitions::unknown(call.tool()), operation, ..self.base() });
        let gate = &self.shared.gate;
        let permit = match gate.admit_request(call, context, presence, self.within()).await? {
            Admission::Permitted(permit) => permit,
            Admission::Held(held) => {
                if self.base().principal.kind == PrincipalKind::Builtin {
                    presence.leave(Outcome::Unattended, "nobody can rule on what countersign itself asks");
                }
                held.wait(presence, None).await?
            }
        };
        // An operator may have stopped the session while the permit was on its way here.
        match gate.session_stopped(&self.base().session) {
            Some(why) => Err(gate.unsent(permit, Outcome::Denied, &why).await),
            None => Ok(permit),
        }
    }

    async fn send(&self, permit: PermittedCall) -> Answered {
        let shared = &self.shared;
        let (sent, answering) = match upstream::request(permit, &self.spec, &shared.http_client, &shared.limits) {
            Ok(both) => both,
            Err(permit) => {
                let why = "the request cannot be written";
                return refused(&shared.gate.unsent(*permit, Outcome::Unavailable, why).await);
            }
        };
        let grace = async {
            self.ended.cancelled().await;
            tokio::time::sleep(shared.limits.drain).await;
        };
        let answered = tokio::select! {
            answered = answering => answered,
            () = grace => Err(Lost { sent: true, reason: "the session ended before an answer came".to_owned() }),
        };
        match answered {
            Ok(answered) => self.answered(sent, answered).await,
            Err(lost) => self.lost(sent, lost).await,
        }
    }

    async fn answered(&self, mut sent: SentCall, answered: Answered) -> Answered {
        let shared = &self.shared;
        let Answered { status, headers, body } = answered;
        let Scrubbed { text: cleaned, names, pieces } = clean(body, &shared.scrubber, self.hidden);
        sent.without(names);
        let texts = headers.values().filter_map(|value| value.to_str().ok());
        let in_headers = texts.flat_map(|text| shared.scrubber.text(text, Kinds::NONE).pieces);
        let pieces: BTreeSet<String> = pieces.into_iter().chain(in_headers).collect();
        let guessed = shared.is_guessed(&self.base(), pieces).await;
        let Some((body, json)) = cleaned.filter(|_| !guessed) else {
            let note = format!("HTTP {}, and the answer could not be passed on safely", status.as_u16());
            shared.gate.completed(sent, Answer::KeptBack, 0, None, Some(note)).await;
            let said = match guessed {
                true => GUESSED,
                false => "countersign: the request was sent, and its answer could not be passed on safely",
            };
            return Answered::ours(StatusCode::BAD_GATEWAY, said, None);
        };
        if let Some(json) = &json {
            let result = JsonText::empty_object().with(&[("structuredContent", json.view())]);
            let seen = self.catalog.seen(result.view());
            if seen.production || seen.test {
                shared.gate.seen(sent.origin(), sent.id(), &seen).await;
            }
        }
        let result = if status.is_client_error() || status.is_server_error() { Answer::Error } else { Answer::Ok };
        let note = Some(format!("HTTP {}", status.as_u16()));
        shared.gate.completed(sent, result, body.len(), Some(Digest::of_bytes(&body)), note).await;
        let plain = |value: &HeaderValue| {
            let text = value.to_str().ok()?;
            matches!(shared.scrubber.line(text), std::borrow::Cow::Borrowed(_)).then(|| value.clone())
        };
        let headers = headers.iter().filter_map(|(name, value)| Some((name.clone(), plain(value)?)));
        Answered { status, headers: headers.collect::<HeaderMap>(), body }
    }

    async fn lost(&self, sent: SentCall, lost: Lost) -> Answered {
        let reason = self.shared.scrubber.line(&lost.reason).into_owned();
        tracing::warn!(server = self.base().server.name, call = %sent.id(), reason, "no answer of the API");
        if let Some((outcome, why)) = sent.leave().refused() {
            return refused(&self.shared.gate.stayed(sent, outcome, &why).await);
        }
        // What has not left when this is said does not leave after it.
        let lost = Lost { sent: lost.sent && !sent.leave().take_back(Outcome::Unavailable, &reason), ..lost };
        let (answer, fate) = match lost.sent {
            false => (Answer::NotSent, "Nothing was sent."),
            true => (Answer::OutcomeUnknown, "It may have taken effect: look before you try again."),
        };
        self.shared.gate.completed(sent, answer, 0, None, Some(reason.clone())).await;
        Answered::ours(StatusCode::BAD_GATEWAY, &format!("countersign: {reason}. {fate}"), None)
    }
}

/// A policy's or a person's no is final; what cannot be decided now may be later.
fn refused(refusal: &Refusal) -> Answered {
    let status = match refusal.outcome {
        Outcome::Unavailable | Outcome::Overloaded | Outcome::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Outcome::Denied
        | Outcome::Invalid
        | Outcome::Rejected
        | Outcome::Expired
        | Outcome::Unattended
        | Outcome::Withdrawn => StatusCode::FORBIDDEN,
    };
    let (said, decision) = reply::told(refusal);
    Answered::ours(status, &said, Some(decision))
}

/// The body of an answer without keys, and its JSON where it is some. No body where it is no text, or was JSON and could
/// not be kept so.
fn clean(body: Bytes, scrubber: &Scrubber, foreign: Kinds) -> Scrubbed<Option<Cleaned>> {
    let nothing = |text| Scrubbed { text, names: Vec::new(), pieces: Vec::new() };
    if body.is_empty() {
        return nothing(Some((body, None)));
    }
    match JsonText::parse(body.clone(), Rules::UPSTREAM) {
        Ok(text) => {
            let Scrubbed { text, names, pieces } = scrubber.message(&text, foreign);
            Scrubbed { text: text.map(|text| (text.clone().into_bytes(), Some(text))), names, pieces }
        }
        Err(_) => {
            let Ok(text) = std::str::from_utf8(&body) else { return nothing(None) };
            let Scrubbed { text, names, pieces } = scrubber.text(text, foreign);
            Scrubbed { text: Some((text.into_owned().into(), None)), names, pieces }
        }
    }
}

/// A body, and its JSON.
type Cleaned = (Bytes, Option<JsonText>);

/// A key for a session's child.
pub(super) struct Opened {
    /// What the child sees besides what its configuration says.
    pub variables: Vec<(String, String)>,
    pass: Pass,
    from_child: mpsc::Receiver<Asked>,
}

/// A key for the child of a session, where the server has an API behind the gate.
///
/// # Errors
/// Where the system has no randomness.
pub(super) fn open(server: &ServerRuntime, shared: &Shared, principal: &str) -> Result<Option<Opened>, String> {
    let Some((spec, gate)) = server.api.as_ref().zip(shared.api.as_ref()) else { return Ok(None) };
    let opened = gate.open(spec, principal).map_err(|error| format!("no randomness for a key: {error}"))?;
    let (pass, from_child) = opened;
    Ok(Some(Opened { variables: gate.variables(spec, &pass), pass, from_child }))
}

/// The API behind a gate. What a child has for a key looks like the real one from the outside.
pub(super) fn spec(
    server: &str,
    gate: &Gate,
    catalog: &Catalog,
    secrets: &BTreeMap<String, SecretCell>,
) -> Result<ApiSpec, String> {
    let headers = super::servers::fields(&gate.headers, secrets)?;
    let form = headers.iter().find_map(|(_, source)| match source {
        HeaderSource::Secret { value, .. } => catalog.key_prefix(value.current().expose()).map(str::to_owned),
        HeaderSource::Plain(_) => None,
    });
    let variables = (gate.url_env.clone(), gate.key_env.clone());
    ApiSpec::new(server, &gate.url, headers, form, catalog.switches(), variables).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::secret::Secret;

    #[test]
    fn an_answer_is_passed_on_without_keys_or_not_at_all() {
        let key = Secret::new("server-0123456789abcdef".to_owned());
        let scrubber = Scrubber::new([("stigg", &key)]);
        let of = |text: &'static str| {
            clean(Bytes::from_static(text.as_bytes()), &scrubber, Kinds::ALL)
                .text
                .map(|(bytes, _)| String::from_utf8(bytes.to_vec()).unwrap())
        };
        assert_eq!(of(r#"{"n": 1.0}"#).as_deref(), Some(r#"{"n":1.0}"#));
        assert_eq!(of(r#"{"k":"server-0123456789\u0061bcdef"}"#).as_deref(), Some(r#"{"k":"[secret:stigg]"}"#));
        assert_eq!(of("a=server-0123456789abcdef").as_deref(), Some("a=[secret:stigg]"));
        let several = b"{\"k\":1,\"k\":\"server-0123456789abcdef\"}\nwhsec_CANARY7Qm2Zt9XeVb4Lk8Rp1Ws5Yd3";
        let Scrubbed { text: cleaned, names, .. } = clean(Bytes::from_static(several), &scrubber, Kinds::ALL);
        let text = String::from_utf8(cleaned.unwrap().0.to_vec()).unwrap();
        assert!(!text.contains("0123456789abcdef") && !text.contains("CANARY7Qm2Z"), "{text}");
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(of("").as_deref(), Some(""));
        assert!(clean(Bytes::from_static(b"\xff"), &scrubber, Kinds::ALL).text.is_none());
    }
}
