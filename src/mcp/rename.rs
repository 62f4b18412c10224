//! A request under a name of ours: where requests of several clients share one connection, each gets a number as its
//! id and as its progress token, and what comes back gets the client's own names again.
//!
//! Invariant: a name is restored as the client spelled it, and a message that names no request of ours is nobody's.

use super::headers::{CANCELLED, PROGRESS};
use super::message::Message;
use crate::json::{Json, JsonText, Kind};

const ID: &str = "/id";
const TOKEN: &str = "/params/_meta/progressToken";
const LOG_LEVEL: &str = "/params/_meta/io.modelcontextprotocol~1logLevel";
const ABOUT_TOKEN: &str = "/params/progressToken";
const ABOUT_REQUEST: &str = "/params/requestId";
/// The subscription that a notification belongs to is named by the id of the request that opened it.
const SUBSCRIPTION: &str = "/params/_meta/io.modelcontextprotocol~1subscriptionId";
const OWN_SUBSCRIPTION: &str = "/result/_meta/io.modelcontextprotocol~1subscriptionId";

/// What a client called its request.
#[derive(Clone, Debug)]
pub struct Names {
    number: i64,
    id: JsonText,
    token: Option<JsonText>,
    logs: bool,
}

impl Names {
    /// The request with the number instead of its id and, where it has one, of its progress token: whatever the token
    /// is, because an upstream could read an odd one as the number of somebody else. Nothing for what is no request.
    pub fn take(request: &Message, number: i64) -> Option<(Message, Names)> {
        let spelled = number.to_string();
        let text = request.text();
        let id = text.view().get("id")?;
        let token = text.view().pointer(TOKEN).map(JsonText::owned);
        let logs = text.view().pointer(LOG_LEVEL).is_some();
        let mut renamed = text.replaced(id, &spelled)?;
        if let Some(token) = renamed.view().pointer(TOKEN) {
            renamed = renamed.replaced(token, &spelled)?;
        }
        Some((Message::ours(renamed)?, Names { number, id: JsonText::owned(id), token, logs }))
    }

    /// True where the client wants to be sent log messages about this request.
    pub fn wants_logs(&self) -> bool {
        self.logs
    }

    /// A message for the client with its own names. Nothing where it cannot be written.
    pub fn restore(&self, text: &JsonText) -> Option<JsonText> {
        let method = text.view().get("method").and_then(Json::as_str);
        let (id, token) = (Some(&self.id), self.token.as_ref());
        let places: &[(&str, Option<&JsonText>)] = match method.as_deref() {
            None => &[(ID, id), (OWN_SUBSCRIPTION, id)],
            Some(PROGRESS) => &[(ABOUT_TOKEN, token), (SUBSCRIPTION, id)],
            Some(CANCELLED) => &[(ABOUT_REQUEST, id), (SUBSCRIPTION, id)],
            Some(_) => &[(SUBSCRIPTION, id)],
        };
        let mut restored = text.clone();
        for (place, name) in places {
            let Some(found) = restored.view().pointer(place).filter(|found| number(*found) == Some(self.number)) else {
                continue;
            };
            restored = restored.replaced(found, (*name)?.as_str())?;
        }
        Some(restored)
    }
}

/// The number of the request that a notification of the upstream belongs to.
pub fn belongs_to(notification: &JsonText) -> Option<i64> {
    let view = notification.view();
    let place = match view.get("method").and_then(Json::as_str)?.as_ref() {
        PROGRESS => ABOUT_TOKEN,
        CANCELLED => ABOUT_REQUEST,
        _ => SUBSCRIPTION,
    };
    view.pointer(place).and_then(number)
}

/// Some upstreams write `1` as `1.0`.
fn number(value: Json<'_>) -> Option<i64> {
    let spelled = Some(value).filter(|value| value.kind() == Kind::Number)?.text();
    spelled.strip_suffix(".0").unwrap_or(spelled).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Rules;
    use crate::mcp::message::Id;

    fn text(text: &str) -> JsonText {
        JsonText::parse(text, Rules::UPSTREAM).unwrap()
    }

    fn taken(id: &str, token: &str) -> (Message, Names) {
        let request = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x","_meta":{{"progressToken":{token}}}}}}}"#
        );
        Names::take(&Message::from_client(request).unwrap(), 7).unwrap()
    }

    #[test]
    fn a_request_gets_a_number_and_keeps_everything_else() {
        let (message, _) = taken("\"a\"", "\"t\"");
        assert_eq!(message.id(), Some(&Id::Number(7)));
        let expected =
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":7}}}"#;
        assert_eq!(message.text().as_str(), expected);
        let plain = r#"{"params":{"a":1.0},"method":"x","id":9,"jsonrpc":"2.0"}"#;
        let (message, names) = Names::take(&Message::from_client(plain).unwrap(), 1).unwrap();
        assert_eq!(message.text().as_str(), plain.replace('9', "1"));
        assert!(!names.wants_logs());
        assert!(Names::take(&Message::from_client(r#"{"jsonrpc":"2.0","method":"x"}"#).unwrap(), 1).is_none());
    }

    #[test]
    fn names_come_back_as_they_were_spelled() {
        for (id, token) in
            [("3", "\"3\""), ("\"3\"", "3"), ("\"\\u00e9\\/\"", "\"\\u0061\""), ("0", "7.0"), ("-1", "null")]
        {
            let (_, names) = taken(id, token);
            let restored = |body: &str| names.restore(&text(body)).unwrap().as_str().to_owned();
            assert_eq!(
                restored(r#"{"jsonrpc":"2.0","id":7,"result":{"id":7,"_meta":{"progressToken":7}}}"#),
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"id":7,"_meta":{{"progressToken":7}}}}}}"#)
            );
            assert_eq!(
                restored(r#"{"jsonrpc":"2.0","error":{"code":7,"message":"7"},"id":7.0}"#),
                format!(r#"{{"jsonrpc":"2.0","error":{{"code":7,"message":"7"}},"id":{id}}}"#)
            );
            let progress =
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":7}}"#;
            assert_eq!(
                restored(progress),
                progress.replacen("\"progressToken\":7", &format!("\"progressToken\":{token}"), 1)
            );
            let subscribed =
                r#"{"jsonrpc":"2.0","method":"x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#;
            assert_eq!(restored(subscribed), subscribed.replace(":7}", &format!(":{id}}}")));
            let over = r#"{"jsonrpc":"2.0","id":7,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#;
            assert_eq!(restored(over), over.replace(":7", &format!(":{id}")));
            let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
            assert_eq!(restored(cancelled), cancelled.replace(":7", &format!(":{id}")));
        }
    }

    #[test]
    fn a_notification_belongs_to_whom_it_names() {
        let of = |method: &str, params: &str| {
            belongs_to(&text(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)))
        };
        assert_eq!(of(PROGRESS, r#"{"progressToken":4}"#), Some(4));
        assert_eq!(of(CANCELLED, r#"{"requestId":4.0}"#), Some(4));
        assert_eq!(of("notifications/x", r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":4}}"#), Some(4));
        // Another type is another name.
        assert_eq!(of(PROGRESS, r#"{"progressToken":"4"}"#), None);
        assert_eq!(of("notifications/message", r#"{"progressToken":4,"requestId":4}"#), None);
        assert_eq!(of(PROGRESS, "{}"), None);
    }

    #[test]
    fn progress_without_a_token_goes_nowhere() {
        let plain = r#"{"jsonrpc":"2.0","id":9,"method":"x"}"#;
        let (_, names) = Names::take(&Message::from_client(plain).unwrap(), 7).unwrap();
        let progress =
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#;
        assert!(names.restore(&text(progress)).is_none());
    }
}
