//! The event streams of one session, as data: which requests each of them answers, who reads it, and what a client
//! that lost one can have again.
//!
//! Invariant: an event belongs to one stream, and is given out again on that stream only. What is kept is bounded by
//! count and bytes, and by the time that a client has to come back.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::exchange::{Said, Turn};
use crate::json::{Json, JsonText};
use crate::mcp::headers::PROGRESS;
use crate::mcp::message::Id;

/// Turns that wait for one stream.
const TURNS: usize = 16;
/// Events of one session that are kept for clients that lost a stream.
const KEPT_EVENTS: usize = 256;
/// And their bytes; one event may be longer, and is then the only one.
const KEPT_BYTES: usize = 4 << 20;

/// Names a stream of its session. A client's listening streams and those of its requests are told apart by the name,
/// so that a client that comes too late still gets what it wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum StreamId {
    Listening(u64),
    Request(u64),
}

/// Names an event of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EventId {
    pub(super) stream: StreamId,
    /// The first event of a stream is 1; 0 is before it.
    pub(super) place: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, number) = match self.stream {
            StreamId::Listening(number) => ('g', number),
            StreamId::Request(number) => ('p', number),
        };
        write!(f, "{kind}{number}-{}", self.place)
    }
}

impl EventId {
    pub(super) fn parse(text: &str) -> Option<EventId> {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse().ok() } else { None }
        };
        let (stream, place) = text.split_once('-')?;
        let stream = match stream.split_at_checked(1)? {
            ("g", stream) => StreamId::Listening(number(stream)?),
            ("p", stream) => StreamId::Request(number(stream)?),
            _ => return None,
        };
        Some(EventId { stream, place: number(place)? })
    }
}

/// A reader of a stream: of several that come one after the other, the last one counts.
pub(super) type Reader = (u64, mpsc::Sender<Turn>);

#[derive(Debug)]
struct Stream {
    /// Requests that are not answered yet, each with its progress token.
    owes: HashMap<Id, Option<JsonText>>,
    /// False where the client takes nothing but answers.
    events: bool,
    /// It carries the answer that begins the session.
    begins: bool,
    /// The place of its last event.
    place: u64,
    reader: Option<Reader>,
    /// The client knows the id of an event, so it can come back.
    known: bool,
    /// Since when nobody reads it.
    left: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    id: EventId,
    text: JsonText,
    answers: Option<Id>,
}

/// What a reader gets to begin with.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: StreamId,
    pub(super) reader: u64,
    pub(super) turns: mpsc::Receiver<Turn>,
    /// What the client missed.
    pub(super) missed: VecDeque<Turn>,
    /// Requests whose answers are still to come.
    pub(super) owes: Vec<Id>,
    pub(super) begins: bool,
    /// The event that a client can come back after, before there was any other.
    pub(super) start: EventId,
}

/// Why a request has no place in its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoPlace {
    /// Its id is that of a request that is open.
    IdInUse,
    TooMany,
    Ended,
}

/// What becomes of a stream whose reader left.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Another reader has taken over, or nothing was open.
    Nothing,
    /// It may come back for a while.
    Waiting,
    /// It cannot come back: nobody waits for these requests any more.
    Gone(Vec<Id>),
    /// The session's first answer reached nobody: the session is of no use.
    Session,
}

#[derive(Debug)]
pub(super) struct Streams {
    streams: HashMap<StreamId, Stream>,
    /// Which stream answers a request.
    of: HashMap<Id, StreamId>,
    kept: VecDeque<Kept>,
    bytes: usize,
    next: u64,
    in_flight: usize,
    window: Duration,
}

impl Streams {
    /// A client may come back to a stream within `window`.
    pub(super) fn new(in_flight: usize, window: Duration) -> Streams {
        let (streams, of, kept) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Streams { streams, of, kept, bytes: 0, next: 0, in_flight, window }
    }

    /// True where a client waits for something, or may come back for it.
    pub(super) fn in_use(&self) -> bool {
        !self.of.is_empty() || self.streams.values().any(|stream| stream.reader.is_some())
    }

    /// A stream for requests, each with its progress token.
    pub(super) fn open(
        &mut self,
        requests: Vec<(Id, Option<JsonText>)>,
        events: bool,
        begins: bool,
    ) -> Result<Opened, NoPlace> {
        if self.of.len() + requests.len() > self.in_flight {
            return Err(NoPlace::TooMany);
        }
        if requests.iter().any(|(id, _)| self.of.contains_key(id)) {
            return Err(NoPlace::IdInUse);
        }
        self.next += 1;
        let id = StreamId::Request(self.next);
        for (request, _) in &requests {
            self.of.insert(request.clone(), id);
        }
        self.begin(id, requests.into_iter().collect(), events, begins).ok_or(NoPlace::Ended)
    }

    /// A stream for what belongs to no request. There is one: a client that asks again has lost the other.
    pub(super) fn listen(&mut self) -> Option<Opened> {
        let listening: Vec<_> =
            self.streams.keys().copied().filter(|id| matches!(id, StreamId::Listening(_))).collect();
        listening.into_iter().for_each(|id| self.forget(id));
        self.next += 1;
        self.begin(StreamId::Listening(self.next), HashMap::new(), true, false)
    }

    fn begin(
        &mut self,
        id: StreamId,
        owes: HashMap<Id, Option<JsonText>>,
        events: bool,
        begins: bool,
    ) -> Option<Opened> {
        let stream = Stream { owes, events, begins, place: 0, reader: None, known: false, left: None };
        self.streams.insert(id, stream);
        self.read(id, VecDeque::new())
    }

    fn read(&mut self, id: StreamId, missed: VecDeque<Turn>) -> Option<Opened> {
        self.next += 1;
        let number = self.next;
        let stream = self.streams.get_mut(&id)?;
        let (sender, turns) = mpsc::channel(TURNS);
        // The answers are all there: once they are read the stream ends.
        let over = matches!(id, StreamId::Request(_)) && stream.owes.is_empty();
        stream.reader = (!over).then_some((number, sender));
        stream.left = over.then(Instant::now);
        let owes = stream.owes.keys().cloned().collect();
        let start = EventId { stream: id, place: stream.place };
        Some(Opened { stream: id, reader: number, turns, missed, owes, begins: stream.begins, start })
    }

    /// Takes a stream up again after an event of it. Nothing where there is no such stream any more.
    pub(super) fn resume(&mut self, after: EventId) -> Option<Opened> {
        let known = self.streams.get(&after.stream)?.known;
        let missed: VecDeque<_> = self
            .kept
            .iter()
            .filter(|kept| kept.id.stream == after.stream && kept.id.place > after.place)
            .map(|kept| kept.turn())
            .collect();
        let over = self.streams.get(&after.stream).is_some_and(|stream| stream.owes.is_empty());
        let nothing = over && missed.is_empty() && matches!(after.stream, StreamId::Request(_));
        if !known || nothing {
            return None;
        }
        self.read(after.stream, missed)
    }

    /// The client has been told an event's id.
    pub(super) fn known(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.known = true;
        }
    }

    /// True where the client knows how to come back to a stream, and has at least this long for it.
    pub(super) fn may_return(&self, id: StreamId, time: Duration) -> bool {
        self.window >= time && self.streams.get(&id).is_some_and(|stream| stream.known)
    }

    /// A reader has left, for whatever reason.
    pub(super) fn leave(&mut self, id: StreamId, reader: u64) -> Left {
        let may_return = !self.window.is_zero();
        let Some(stream) = self.streams.get_mut(&id) else { return Left::Nothing };
        let ours = stream.reader.as_ref().is_some_and(|(number, _)| *number == reader);
        let over = matches!(id, StreamId::Request(_)) && stream.owes.is_empty();
        if !ours && !over {
            return Left::Nothing;
        }
        stream.reader = None;
        if stream.begins && !stream.owes.is_empty() {
            return Left::Session;
        }
        if stream.known && may_return {
            stream.left = Some(stream.left.unwrap_or_else(Instant::now));
            return Left::Waiting;
        }
        let gone: Vec<Id> = stream.owes.keys().cloned().collect();
        self.forget(id);
        if gone.is_empty() { Left::Nothing } else { Left::Gone(gone) }
    }

    /// When the first client that left runs out of time.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.streams.values().filter_map(|stream| stream.left).min().map(|left| left + self.window)
    }

    /// Forgets streams that nobody came back to. Their requests, which nobody waits for any more.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Id> {
        let window = self.window;
        let late: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.left.is_some_and(|left| left + window <= now))
            .map(|(id, _)| *id)
            .collect();
        let owed = late.iter().filter_map(|id| self.streams.get(id)).flat_map(|stream| stream.owes.keys().cloned());
        let owed = owed.collect();
        late.into_iter().for_each(|id| self.forget(id));
        owed
    }

    /// The client takes a request back: its stream ends where it was the last one, because no answer comes. The
    /// request that begins a session cannot be taken back.
    pub(super) fn cancel(&mut self, request: &Id) {
        let Some(id) = self.of.get(request).copied() else { return };
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.begins) else { return };
        stream.owes.remove(request);
        let over = stream.owes.is_empty();
        self.of.remove(request);
        if over {
            self.forget(id);
        }
    }

    /// An answer, for the stream of its request.
    pub(super) fn answer(&mut self, request: &Id, text: JsonText) -> Option<(Option<Reader>, Turn)> {
        let id = self.of.remove(request)?;
        let stream = self.streams.get_mut(&id)?;
        stream.owes.remove(request);
        let last = stream.owes.is_empty();
        let (reader, said) = self.say(id, text, Some(request.clone()))?;
        Some((reader, Turn::Answer { said, request: request.clone(), last }))
    }

    /// A message that is no answer, for the stream that it belongs on: of its request, else the listening one, else
    /// that of the newest request; one that a client may come back to where none is read.
    pub(super) fn tell(&mut self, text: JsonText, related: Option<&Id>) -> Option<(Option<Reader>, Turn)> {
        let takes = |id: &StreamId| self.streams.get(id).is_some_and(|stream| stream.events);
        let related = related.and_then(|id| self.of.get(id)).or_else(|| self.of_progress(&text)).filter(|id| takes(id));
        let is_read = |stream: &Stream| stream.events && stream.reader.is_some();
        let read = self.streams.iter().filter(|(_, stream)| is_read(stream)).map(|(id, _)| *id);
        let (listening, requests): (Vec<_>, Vec<_>) = read.partition(|id| matches!(id, StreamId::Listening(_)));
        let lost = self.streams.keys().copied().find(|id| matches!(id, StreamId::Listening(_)));
        let id = related.copied().or(listening.first().copied()).or(requests.into_iter().max()).or(lost)?;
        let (reader, said) = self.say(id, text, None)?;
        Some((reader, Turn::Related(said)))
    }

    /// The reader of a request's stream.
    pub(super) fn reader(&self, request: &Id) -> Option<&Reader> {
        self.streams.get(self.of.get(request)?)?.reader.as_ref()
    }

    fn of_progress(&self, text: &JsonText) -> Option<&StreamId> {
        let view = text.view();
        if view.get("method").and_then(Json::as_str)? != PROGRESS {
            return None;
        }
        let token = view.get("params")?.get("progressToken")?;
        let asked = |asked: &Option<JsonText>| {
            let asked = asked.as_ref().map(JsonText::view);
            asked.is_some_and(|asked| asked.kind() == token.kind() && same(asked, token))
        };
        self.streams.iter().find(|(_, stream)| stream.owes.values().any(asked)).map(|(id, _)| id)
    }

    /// Gives an event its place, and keeps it where its client may ask for it again.
    fn say(&mut self, id: StreamId, text: JsonText, answers: Option<Id>) -> Option<(Option<Reader>, Said)> {
        let stream = self.streams.get_mut(&id)?;
        stream.place += 1;
        let (reader, event) = (stream.reader.clone(), EventId { stream: id, place: stream.place });
        if !stream.events {
            return Some((reader, Said { text, id: None }));
        }
        if !self.window.is_zero() {
            self.bytes += text.as_str().len();
            self.kept.push_back(Kept { id: event, text: text.clone(), answers });
            while self.kept.len() > KEPT_EVENTS || (self.bytes > KEPT_BYTES && self.kept.len() > 1) {
                self.drop_oldest();
            }
        }
        Some((reader, Said { text, id: Some(event) }))
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.kept.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(oldest.text.as_str().len());
        let id = oldest.id.stream;
        // Without its last answer a stream that is over has nothing to give.
        let over = self.streams.get(&id).is_some_and(|stream| stream.owes.is_empty() && stream.reader.is_none());
        if over && matches!(id, StreamId::Request(_)) && !self.kept.iter().any(|kept| kept.id.stream == id) {
            self.streams.remove(&id);
        }
    }

    fn forget(&mut self, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else { return };
        for request in stream.owes.keys() {
            self.of.remove(request);
        }
        self.kept.retain(|kept| kept.id.stream != id);
        self.bytes = self.kept.iter().map(|kept| kept.text.as_str().len()).sum();
    }

    pub(super) fn clear(&mut self) {
        *self = Streams::new(self.in_flight, self.window);
    }
}

impl Kept {
    fn turn(&self) -> Turn {
        let said = Said { text: self.text.clone(), id: Some(self.id) };
        match &self.answers {
            None => Turn::Related(said),
            // Whether it is the last one is said by the stream, which has nothing to say after it.
            Some(request) => Turn::Answer { said, request: request.clone(), last: false },
        }
    }
}

/// Strings by their characters, numbers by their spelling.
fn same(one: Json<'_>, other: Json<'_>) -> bool {
    match (one.as_str(), other.as_str()) {
        (Some(one), Some(other)) => one == other,
        _ => one.text() == other.text(),
    }
}

#[cfg(test)]
mod tests;
