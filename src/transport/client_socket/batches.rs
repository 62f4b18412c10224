//! Arrays of messages on a line transport: they go to the session one by one, and their answers come back in one
//! array each. Other messages pass as they are.
//!
//! Invariant: an id that is open names one request, so an answer belongs to one array or to none. What is collected
//! is bounded for all arrays together: where it would become too much an array is sent in parts, and no answer is lost.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::json::{Json, JsonText, Rules};
use crate::mcp::headers::{BATCHES, CANCELLED, INITIALIZE};
use crate::mcp::message::{INVALID_REQUEST, Id, Malformed, Message, Shape};
use crate::mcp::{batch, method};
use crate::transport::answer::{self, Outgoing};
use crate::transport::lock;

#[derive(Debug)]
pub(super) struct Batches {
    state: Mutex<State>,
    /// An array became complete without an answer.
    completed: Notify,
    /// Bytes of answers that may wait for others.
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The request that begins the session.
    first: Option<Id>,
    /// The session's revision has arrays.
    takes: bool,
    /// Requests that are not answered, and the array that their answer belongs in. Kept only where there are arrays.
    open: HashMap<Id, Option<u64>>,
    collected: HashMap<u64, Collected>,
    ready: Vec<JsonText>,
    next: u64,
}

#[derive(Debug, Default)]
struct Collected {
    missing: HashSet<Id>,
    answers: Vec<JsonText>,
    bytes: usize,
}

impl Batches {
    pub(super) fn new(limit: usize) -> Batches {
        Batches { state: Mutex::default(), completed: Notify::new(), limit }
    }

    /// The messages of a line.
    pub(super) fn read(&self, line: Vec<u8>) -> Result<Vec<Message>, Malformed> {
        if lock(&self.state).takes && batch::is_array(&line) {
            let messages = batch::split(line)?;
            let mut state = lock(&self.state);
            state.begin(&messages)?;
            if !state.ready.is_empty() {
                self.completed.notify_one();
            }
            return Ok(messages);
        }
        let message = Message::from_client(line)?;
        let mut state = lock(&self.state);
        match message.shape() {
            Shape::Request { id, method } if method == INITIALIZE => state.first = Some(id.clone()),
            Shape::Request { id, .. } if state.takes => state.single(id)?,
            Shape::Notification { method } if method == CANCELLED => {
                let ready = method::cancelled(&message).is_some_and(|id| state.cancel(&id));
                if ready {
                    self.completed.notify_one();
                }
            }
            Shape::Request { .. } | Shape::Notification { .. } | Shape::Response { .. } => {}
        }
        drop(state);
        Ok(vec![message])
    }

    /// What has to be written for a message of the session.
    pub(super) fn write(&self, text: JsonText, related: Option<Id>) -> Vec<JsonText> {
        let mut state = lock(&self.state);
        if (state.first.is_none() && state.open.is_empty()) || answer::kind(&text) == Outgoing::Call {
            return vec![text];
        }
        let Some(id) = related.or_else(|| answer::id(&text)) else { return vec![text] };
        if state.first.as_ref() == Some(&id) {
            let revision = text.view().pointer("/result/protocolVersion").and_then(Json::as_str);
            state.takes = revision.is_some_and(|revision| revision == BATCHES);
            state.first = None;
            return vec![text];
        }
        match state.open.remove(&id).flatten() {
            None => vec![text],
            Some(number) => state.collect(number, &id, text, self.limit),
        }
    }

    /// Arrays that became complete without an answer. Waits for one.
    pub(super) async fn completed(&self) -> Vec<JsonText> {
        loop {
            let ready = std::mem::take(&mut lock(&self.state).ready);
            if !ready.is_empty() {
                return ready;
            }
            self.completed.notified().await;
        }
    }
}

/// Without an id: with one it would be taken for the answer to the other request.
fn in_use() -> Malformed {
    Malformed::new(INVALID_REQUEST, "refused by countersign: a request with this id is not answered yet")
}

impl State {
    fn single(&mut self, id: &Id) -> Result<(), Malformed> {
        if self.open.contains_key(id) {
            return Err(in_use());
        }
        self.open.insert(id.clone(), None);
        Ok(())
    }

    fn begin(&mut self, messages: &[Message]) -> Result<(), Malformed> {
        let requests = batch::requests(messages);
        if requests.iter().any(|id| self.open.contains_key(id)) {
            return Err(in_use());
        }
        if !requests.is_empty() {
            self.next += 1;
            let number = self.next;
            self.open.extend(requests.iter().map(|id| (id.clone(), Some(number))));
            self.collected
                .insert(number, Collected { missing: requests.into_iter().collect(), ..Collected::default() });
        }
        // One that takes back another of the same array keeps the others from waiting for it.
        for message in messages {
            if message.method() == Some(CANCELLED)
                && let Some(id) = method::cancelled(message)
            {
                self.cancel(&id);
            }
        }
        Ok(())
    }

    /// No answer comes to a request that is taken back. True where its array is complete without it.
    fn cancel(&mut self, id: &Id) -> bool {
        let Some(Some(number)) = self.open.remove(id) else { return false };
        let Some(collected) = self.collected.get_mut(&number) else { return false };
        collected.missing.remove(id);
        if !collected.missing.is_empty() {
            return false;
        }
        let answers = self.collected.remove(&number).map(|collected| collected.answers).unwrap_or_default();
        let ready = lines(answers);
        self.ready.extend(ready);
        !self.ready.is_empty()
    }

    fn collect(&mut self, number: u64, id: &Id, text: JsonText, limit: usize) -> Vec<JsonText> {
        let Some(collected) = self.collected.get_mut(&number) else { return vec![text] };
        collected.missing.remove(id);
        collected.bytes += text.as_str().len();
        collected.answers.push(text);
        if collected.missing.is_empty() {
            let answers = self.collected.remove(&number).map(|collected| collected.answers);
            return lines(answers.unwrap_or_default());
        }
        if self.collected.values().map(|collected| collected.bytes).sum::<usize>() <= limit {
            return Vec::new();
        }
        let Some(collected) = self.collected.get_mut(&number) else { return Vec::new() };
        collected.bytes = 0;
        lines(std::mem::take(&mut collected.answers))
    }
}

/// The array of these answers; where it would be nested too deeply to be read, the answers one by one.
fn lines(answers: Vec<JsonText>) -> Vec<JsonText> {
    if answers.is_empty() {
        return answers;
    }
    match JsonText::parse(batch::join(answers.iter()), Rules::UPSTREAM) {
        Ok(array) => vec![array],
        Err(_) => answers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(revision: &str, limit: usize) -> Batches {
        let batches = Batches::new(limit);
        batches.read(br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#.to_vec()).unwrap();
        let hello = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"{revision}"}}}}"#);
        assert_eq!(say(&batches, &hello), [hello]);
        batches
    }

    fn say(batches: &Batches, text: &str) -> Vec<String> {
        let text = JsonText::parse(text, Rules::UPSTREAM).unwrap();
        batches.write(text, None).into_iter().map(|text| text.as_str().to_owned()).collect()
    }

    fn ask(id: i64) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#)
    }

    fn result(id: i64) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
    }

    fn cancel(id: i64) -> String {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
    }

    fn read(batches: &Batches, line: &str) -> usize {
        batches.read(line.as_bytes().to_vec()).unwrap().len()
    }

    #[tokio::test]
    async fn answers_of_an_array_come_in_one_array_and_others_alone() {
        let batches = started(BATCHES, 1000);
        assert_eq!(read(&batches, &format!("[{},{}]", ask(1), ask(2))), 2);
        assert_eq!(read(&batches, &ask(3)), 1);
        assert_eq!(read(&batches, &format!("[{}]", ask(4))), 1);
        assert!(say(&batches, &result(2)).is_empty());
        assert_eq!(say(&batches, &result(3)), [result(3)]);
        let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
        assert_eq!(say(&batches, note), [note]);
        assert_eq!(say(&batches, &result(4)), [format!("[{}]", result(4))]);
        assert_eq!(say(&batches, &result(1)), [format!("[{},{}]", result(2), result(1))]);
        assert!(lock(&batches.state).open.is_empty() && lock(&batches.state).collected.is_empty());
    }

    #[tokio::test]
    async fn other_revisions_have_no_arrays() {
        for revision in ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"] {
            let batches = started(revision, 1000);
            let refused = batches.read(format!("[{}]", ask(1)).into_bytes()).unwrap_err();
            assert_eq!(refused.code, INVALID_REQUEST, "{revision}");
        }
        let early = Batches::new(1000).read(format!("[{}]", ask(1)).into_bytes()).unwrap_err();
        assert_eq!(early.code, INVALID_REQUEST);
    }

    #[tokio::test]
    async fn an_id_that_is_open_is_refused_without_naming_it() {
        let batches = started(BATCHES, 1000);
        read(&batches, &format!("[{}]", ask(1)));
        read(&batches, &ask(2));
        for line in [ask(1), ask(2), format!("[{}]", ask(1)), format!("[{},{}]", ask(3), ask(2))] {
            let refused = batches.read(line.clone().into_bytes()).unwrap_err();
            assert!(refused.id.is_none() && refused.answer, "{line}");
        }
        assert_eq!(say(&batches, &result(1)), [format!("[{}]", result(1))]);
        assert_eq!(read(&batches, &format!("[{},{}]", ask(3), ask(1))), 2);
    }

    #[tokio::test]
    async fn what_is_taken_back_is_not_waited_for() {
        let batches = started(BATCHES, 1000);
        read(&batches, &format!("[{},{}]", ask(1), ask(2)));
        assert!(say(&batches, &result(1)).is_empty());
        read(&batches, &cancel(2));
        let completed = batches.completed().await;
        assert_eq!(completed.len(), 1);
        assert_eq!(completed[0].as_str(), format!("[{}]", result(1)));
        // The answer was on its way already: it comes alone.
        assert_eq!(say(&batches, &result(2)), [result(2)]);
        read(&batches, &format!("[{},{},{}]", ask(1), ask(2), cancel(1)));
        assert_eq!(say(&batches, &result(2)), [format!("[{}]", result(2))]);
        read(&batches, &format!("[{}]", ask(1)));
        read(&batches, &cancel(1));
        assert!(lock(&batches.state).ready.is_empty(), "nothing to say is no array");
        // From within another array.
        read(&batches, &format!("[{},{}]", ask(1), ask(2)));
        assert!(say(&batches, &result(1)).is_empty());
        read(&batches, &format!("[{},{}]", ask(3), cancel(2)));
        assert_eq!(batches.completed().await[0].as_str(), format!("[{}]", result(1)));
    }

    #[tokio::test]
    async fn arrays_that_wait_are_bounded_together() {
        let batches = started(BATCHES, 2 * result(10).len());
        for first in [10, 20, 30, 40] {
            read(&batches, &format!("[{},{}]", ask(first), ask(first + 1)));
        }
        let kept = |id: i64| say(&batches, &result(id)).is_empty();
        assert!(kept(10) && kept(20));
        assert_eq!(say(&batches, &result(30)), [format!("[{}]", result(30))]);
        assert_eq!(say(&batches, &result(40)), [format!("[{}]", result(40))]);
        // There is room again, and nothing is lost.
        assert_eq!(say(&batches, &result(11)), [format!("[{},{}]", result(10), result(11))]);
        assert_eq!(say(&batches, &result(31)), [format!("[{}]", result(31))]);
        assert_eq!(say(&batches, &result(21)), [format!("[{},{}]", result(20), result(21))]);
    }

    #[tokio::test]
    async fn answers_that_are_too_long_together_come_in_parts() {
        let batches = started(BATCHES, 2 * result(1).len());
        read(&batches, &format!("[{},{},{},{}]", ask(1), ask(2), ask(3), ask(4)));
        assert!(say(&batches, &result(1)).is_empty());
        assert!(say(&batches, &result(2)).is_empty());
        assert_eq!(say(&batches, &result(3)), [format!("[{},{},{}]", result(1), result(2), result(3))]);
        assert_eq!(say(&batches, &result(4)), [format!("[{}]", result(4))]);
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{}{}}}"#, "[".repeat(127), "]".repeat(127));
        read(&batches, &format!("[{}]", ask(1)));
        assert_eq!(say(&batches, &deep), [deep]);
    }
}
