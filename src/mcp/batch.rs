//! Several messages in one array, as the one revision has them that [`BATCHES`] names: split here and nowhere else, so
//! that every item is a message like one that came alone. The array itself is never judged, recorded or sent.
//!
//! Invariant: of what a client sends, all is accepted or none. An array of which a part cannot be read, or that names
//! one request twice, has not been understood as it was meant. Of what a server answers, every member is its own.
//!
//! [`BATCHES`]: super::headers::BATCHES

use std::collections::HashSet;

use super::headers::{BATCHES, INITIALIZE};
use super::message::{INVALID_REQUEST, Id, Malformed, Message, PARSE_ERROR, Shape, client_text};
use crate::json::{JsonText, Kind, Rules};

/// Most items of one array.
pub const ITEMS: usize = 64;

/// True where the bytes cannot be one message but may be an array of them.
pub fn is_array(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !b" \t\r\n".contains(byte)) == Some(&b'[')
}

/// The items, in order: requests and notifications, or responses.
///
/// # Errors
/// [`Malformed`] without an id: nothing of the array is accepted.
pub fn split(bytes: impl Into<Vec<u8>>) -> Result<Vec<Message>, Malformed> {
    let refused = |reason: &str| Malformed::new(INVALID_REQUEST, format!("refused by countersign: {reason}"));
    let text = client_text(bytes)?;
    let view = text.view();
    if view.kind() != Kind::Array {
        return Err(refused("a batch is an array"));
    }
    let count = view.items().take(ITEMS + 1).count();
    if count == 0 || count > ITEMS {
        return Err(refused(&format!("a batch has 1 to {ITEMS} messages")));
    }
    let mut messages = Vec::with_capacity(count);
    let mut ids: HashSet<Id> = HashSet::new();
    let mut responses = 0;
    for item in view.items() {
        let message = Message::from_item(item).map_err(|malformed| {
            let reason = format!("{}; nothing of this batch was accepted", malformed.reason);
            Malformed::new(malformed.code, reason)
        })?;
        if message.is_modern() || message.method() == Some(INITIALIZE) {
            return Err(refused("a batch belongs to a session: initialize and stateless requests come alone"));
        }
        match message.shape() {
            Shape::Response { .. } => responses += 1,
            Shape::Request { id, .. } if !ids.insert(id.clone()) => {
                return Err(refused("two requests of a batch have the same id"));
            }
            Shape::Request { .. } | Shape::Notification { .. } => {}
        }
        messages.push(message);
    }
    if responses != 0 && responses != messages.len() {
        return Err(refused("a batch holds requests and notifications, or responses, and not both"));
    }
    Ok(messages)
}

/// The members of an array that an upstream sent, in the revision that both sides agreed on. Each is read as if it had
/// come alone: one that is no message is lost, and nothing with it.
///
/// # Errors
/// [`Malformed`] where there are no members to read: not JSON (-32700); ambiguous, too many, another revision (-32600).
pub fn members(
    bytes: impl Into<Vec<u8>>,
    revision: Option<&str>,
) -> Result<Vec<Result<Message, Malformed>>, Malformed> {
    let text = JsonText::parse(bytes, Rules::UPSTREAM).map_err(|error| {
        let code = if error.fault.is_ambiguity() { INVALID_REQUEST } else { PARSE_ERROR };
        Malformed::new(code, error.to_string())
    })?;
    let count = text.view().items().take(ITEMS + 1).count();
    if revision != Some(BATCHES) {
        return Err(Malformed::new(INVALID_REQUEST, format!("an array of messages, which belongs to {BATCHES} alone")));
    }
    if count == 0 || count > ITEMS {
        return Err(Malformed::new(INVALID_REQUEST, format!("an array that has not 1 to {ITEMS} messages")));
    }
    Ok(text.view().items().map(Message::from_member).collect())
}

/// The requests among them.
pub fn requests(messages: &[Message]) -> Vec<Id> {
    let id = |message: &Message| match message.shape() {
        Shape::Request { id, .. } => Some(id.clone()),
        Shape::Notification { .. } | Shape::Response { .. } => None,
    };
    messages.iter().filter_map(id).collect()
}

/// Answers as one array.
pub fn join<'a>(answers: impl Iterator<Item = &'a JsonText>) -> String {
    let answers: Vec<&str> = answers.map(JsonText::as_str).collect();
    format!("[{}]", answers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    const REPLY: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

    fn array(items: &[&str]) -> String {
        format!("[{}]", items.join(" ,\n"))
    }

    #[test]
    fn every_item_is_a_message_like_one_that_came_alone() {
        let call = r#"{"params":{"name":"x","arguments":{"n":1.0}},"id":"é","jsonrpc":"2.0","method":"tools/call"}"#;
        let messages = split(array(&[PING, NOTE, call])).unwrap();
        let alone: Vec<_> = [PING, NOTE, call].into_iter().map(|text| Message::from_client(text).unwrap()).collect();
        assert_eq!(messages, alone);
        assert_eq!(requests(&messages), [Id::Number(1), Id::String("é".into())]);
        assert_eq!(split(array(&[REPLY])).unwrap().len(), 1);
    }

    #[test]
    fn an_array_that_is_not_understood_whole_is_refused_whole() {
        let modern = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let many = vec![NOTE; ITEMS + 1];
        let refused = [
            array(&[]),
            array(&[PING, PING]),
            array(&[PING, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#]),
            array(&[PING, REPLY]),
            array(&[PING, "null"]),
            array(&[PING, "[]"]),
            array(&[&array(&[PING])]),
            array(&[PING, r#"{"jsonrpc":"2.0","id":2,"id":3,"method":"x"}"#]),
            array(&[PING, r#"{"jsonrpc":"2.0","id":2}"#]),
            array(&[r#"{"jsonrpc":"2.0","id":2,"method":"initialize"}"#]),
            array(&[r#"{"jsonrpc":"2.0","id":2,"method":"server/discover"}"#]),
            array(&[PING, modern]),
            array(&many),
            PING.to_owned(),
        ];
        for text in refused {
            let malformed = split(text.as_str()).unwrap_err();
            assert!(malformed.code == INVALID_REQUEST && malformed.id.is_none() && malformed.answer, "{text}");
        }
        assert_eq!(split("[").unwrap_err().code, super::super::message::PARSE_ERROR);
        assert_eq!(split(array(&many[1..])).unwrap().len(), ITEMS);
    }

    #[test]
    fn the_members_of_a_servers_array_are_read_one_by_one() {
        let odd = [
            REPLY,
            "null",
            NOTE,
            r#"{"jsonrpc":"2.0","id":2,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":4.0,"result":{"x":1.50},"y":1}"#,
        ];
        let read = members(array(&odd), Some(BATCHES)).unwrap();
        let alone: Vec<_> = odd.iter().map(|text| Message::from_upstream(*text)).collect();
        assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false, true]);
        assert_eq!(
            read.into_iter().map(Result::ok).collect::<Vec<_>>(),
            alone.into_iter().map(Result::ok).collect::<Vec<_>>()
        );
        for revision in [None, Some("2024-11-05"), Some("2025-06-18"), Some("2026-07-28")] {
            assert_eq!(members(array(&[REPLY]), revision).unwrap_err().code, INVALID_REQUEST);
        }
        let many = vec![NOTE; ITEMS + 1];
        assert_eq!(members(array(&many), Some(BATCHES)).unwrap_err().code, INVALID_REQUEST);
        assert_eq!(members(array(&many[1..]), Some(BATCHES)).unwrap().len(), ITEMS);
        let twice = array(&[REPLY, r#"{"jsonrpc":"2.0","id":2,"id":3,"result":{}}"#]);
        assert_eq!(members(twice, Some(BATCHES)).unwrap_err().code, INVALID_REQUEST);
        assert_eq!(members("[]", Some(BATCHES)).unwrap_err().code, INVALID_REQUEST);
        assert_eq!(members("[INFO] ready", Some(BATCHES)).unwrap_err().code, PARSE_ERROR);
    }

    #[test]
    fn an_array_is_told_by_its_first_character() {
        assert!(is_array(b" \r\n\t[]") && !is_array(b"{}") && !is_array(b"") && !is_array(b"\xef\xbb\xbf[]"));
    }
}
