//! Why no answer will come to a request: what became of it, in words that a client can act on.
//!
//! Invariant: "it was not carried out" is said only where no byte left or where the server itself refused the request.

use std::time::Duration;

use serde_json::json;

use super::message::Id;
use super::reply;
use crate::json::JsonText;

/// Our JSON-RPC code for a request that was not sent, because its session has too many open. This and the following are
/// outside the reserved range, and mean one thing each.
pub const OVERLOADED: i64 = 4429;
/// A request whose answer never came.
pub const NO_ANSWER: i64 = 4502;
/// There is no daemon that could take the request.
pub const UNAVAILABLE: i64 = 4503;
/// The server did not accept the operator's key.
pub const KEY_REFUSED: i64 = 4511;
/// The operator has to sign in at the server, or for more than now.
pub const SIGN_IN: i64 = 4512;
/// The server refused the token of a sign-in, which is renewed.
pub const TOKEN_REFUSED: i64 = 4513;
/// The server has too much to do, or has had enough of us.
pub const BUSY: i64 = 4529;
/// The session with the server is over.
pub const SESSION_OVER: i64 = 4540;
/// The server speaks a transport that we do not.
pub const UNSUPPORTED: i64 = 4550;

/// What became of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// No byte of it left.
    NotSent,
    /// The server answered that it does not take it.
    Refused,
    /// It left. Whether it took effect is not known.
    Unknown,
}

/// Whose business it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    Other,
    Key,
    SignIn,
    Token,
    Busy,
    SessionOver,
    Unsupported,
}

/// A request that gets no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    pub fate: Fate,
    pub cause: Cause,
    /// What happened. May hold a server's words: scrub it before it is shown.
    pub reason: String,
    /// When the server wants to be asked again, where it says so.
    pub retry_after: Option<Duration>,
}

impl Loss {
    pub fn new(fate: Fate, cause: Cause, reason: impl Into<String>) -> Loss {
        Loss { fate, cause, reason: reason.into(), retry_after: None }
    }

    pub fn not_sent(reason: impl Into<String>) -> Loss {
        Loss::new(Fate::NotSent, Cause::Other, reason)
    }

    pub fn unknown(reason: impl Into<String>) -> Loss {
        Loss::new(Fate::Unknown, Cause::Other, reason)
    }

    fn code(&self) -> i64 {
        match self.cause {
            Cause::Other => NO_ANSWER,
            Cause::Key => KEY_REFUSED,
            Cause::SignIn => SIGN_IN,
            Cause::Token => TOKEN_REFUSED,
            Cause::Busy => BUSY,
            Cause::SessionOver => SESSION_OVER,
            Cause::Unsupported => UNSUPPORTED,
        }
    }

    /// What was done, and what to do now.
    fn words(&self) -> String {
        let Loss { fate, cause, reason, .. } = self;
        let what = match fate {
            Fate::NotSent => format!("the request was not sent ({reason})."),
            Fate::Refused => format!("the server did not take the request ({reason}). It was not carried out."),
            Fate::Unknown => format!(
                "the request was sent, but no answer came ({reason}). Whether it took effect is not known: look before \
                 you retry."
            ),
        };
        let next = match (cause, fate) {
            (Cause::Key, _) => "Do not retry: the operator of countersign has to see to the server's key.".to_owned(),
            (Cause::SignIn, _) => {
                "Do not retry before that: the operator of countersign has to sign in at the server.".to_owned()
            }
            (Cause::Token, _) => "Retry it once: the next request carries a new one.".to_owned(),
            (Cause::Unsupported, _) => {
                "Do not retry: the operator of countersign has to give the server another address.".to_owned()
            }
            (Cause::SessionOver, _) => {
                "The session is over: connect again; nothing is sent again by itself.".to_owned()
            }
            (Cause::Busy | Cause::Other, Fate::NotSent | Fate::Refused) => match self.retry_after {
                Some(wait) => format!("Retry after {} s.", wait.as_secs()),
                None if *fate == Fate::NotSent || *cause == Cause::Busy => "Retry later.".to_owned(),
                None => "Do not retry it unchanged.".to_owned(),
            },
            (Cause::Busy | Cause::Other, Fate::Unknown) => match self.retry_after {
                Some(wait) => format!("Ask nothing for {} s.", wait.as_secs()),
                None => String::new(),
            },
        };
        format!("countersign: {what} {next}").trim_end().to_owned()
    }

    fn retry(&self) -> &'static str {
        match (self.cause, self.fate) {
            (Cause::Key | Cause::SignIn | Cause::Unsupported, _) => "after_operator",
            (Cause::SessionOver, Fate::NotSent | Fate::Refused) => "in_a_new_session",
            (_, Fate::Unknown) => "look_first",
            (Cause::Busy | Cause::Token, _) | (_, Fate::NotSent) => "later",
            (Cause::Other, Fate::Refused) => "no",
        }
    }

    /// The error that the client gets.
    pub fn answer(&self, id: &Id) -> JsonText {
        let data = json!({
            "sent": self.fate != Fate::NotSent,
            "carried_out": if self.fate == Fate::Unknown { "unknown" } else { "no" },
            "retry": self.retry(),
            "retry_after_seconds": self.retry_after.map(|wait| wait.as_secs()),
        });
        reply::error_with(id, self.code(), &self.words(), &json!({"dev.countersign/no_answer": data}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_fits_what_happened() {
        use Cause::{Busy, Key, Other, SessionOver, SignIn, Token, Unsupported};
        use Fate::{NotSent, Refused, Unknown};
        for (fate, cause, retry, words) in [
            (NotSent, Other, "later", "not sent (x). Retry later."),
            (NotSent, SessionOver, "in_a_new_session", "not sent (x). The session is over"),
            (Refused, Other, "no", "not carried out. Do not retry it unchanged."),
            (Refused, Busy, "later", "not carried out. Retry later."),
            (NotSent, SignIn, "after_operator", "not sent (x). Do not retry before that: the operator"),
            (Refused, Token, "later", "not carried out. Retry it once"),
            (Refused, Key, "after_operator", "not carried out. Do not retry: the operator"),
            (Refused, Unsupported, "after_operator", "another address"),
            (Refused, SessionOver, "in_a_new_session", "not carried out. The session is over"),
            (Unknown, Other, "look_first", "is not known: look before you retry."),
            (Unknown, SessionOver, "look_first", "look before you retry. The session is over"),
        ] {
            let answer = Loss::new(fate, cause, "x").answer(&Id::Number(1));
            let view = answer.view();
            let message = view.pointer("/error/message").unwrap().as_str().unwrap().into_owned();
            assert!(message.contains(words), "{message}");
            assert_eq!(
                message.contains("not carried out") || message.contains("not sent"),
                fate != Unknown,
                "{message}"
            );
            let code = view.pointer("/error/code").unwrap().as_i64().unwrap();
            assert!(!(-32768..=-32000).contains(&code), "{code}");
            let said = |name: &str| {
                view.pointer(&format!("/error/data/dev.countersign~1no_answer/{name}")).unwrap().text().to_owned()
            };
            assert_eq!(said("retry"), format!("\"{retry}\""), "{message}");
            assert_eq!(said("sent"), (fate != NotSent).to_string());
            assert_eq!(said("carried_out") == "\"unknown\"", fate == Unknown);
        }
    }

    #[test]
    fn every_code_has_one_meaning() {
        let of_keys = [KEY_REFUSED, SIGN_IN, TOKEN_REFUSED];
        let others = [reply::REFUSED, OVERLOADED, NO_ANSWER, UNAVAILABLE, BUSY, SESSION_OVER, UNSUPPORTED];
        let codes = [&of_keys[..], &others].concat();
        let different: std::collections::HashSet<_> = codes.iter().collect();
        assert_eq!(different.len(), codes.len());
        assert!(codes.iter().all(|code| !(-32768..=-32000).contains(code)));
    }

    #[test]
    fn a_time_to_wait_is_named() {
        let mut loss = Loss::new(Fate::Refused, Cause::Busy, "429");
        loss.retry_after = Some(Duration::from_secs(30));
        let answer = loss.answer(&Id::String("a".into()));
        assert!(
            answer.as_str().contains("Retry after 30 s.") && answer.as_str().contains("\"retry_after_seconds\":30")
        );
    }
}
