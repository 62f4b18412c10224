//! Tokens that servers have given out in their answers: a vendor's word that a person agreed counts where the server
//! gave it, in an answer to the same arguments, to the same principal.
//!
//! Invariant: only digests are kept, bounded in number and time. What found no room was not given.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::call::{CallContext, Confirmation, ConfirmedBy, Digest};
use crate::json::{Json, Kind, Token};

/// Answers that are remembered; the oldest make room.
const MAX_ANSWERS: usize = 512;
/// Words of one answer, and the bytes that they are looked for in.
const MAX_WORDS: usize = 256;
const MAX_BYTES: usize = 256 << 10;
/// Bytes of a token: a shorter one could be guessed, or be any word.
const TOKEN: std::ops::RangeInclusive<usize> = 8..=512;
/// Texts in what a call carries as confirmation.
const MAX_TEXTS: usize = 8;
const KEPT: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Answered {
    /// Of principal, server, tool and the arguments without what the vendor issues.
    to: Digest,
    words: HashSet<Digest>,
    until: Instant,
}

/// What servers have given to all principals.
#[derive(Debug, Default)]
pub(super) struct Issued(Mutex<VecDeque<Answered>>);

impl Issued {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Answered>> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        answers.retain(|answer| answer.until > now);
        answers
    }

    /// Remembers what could be a token in the answer to a call. What the call said itself is no word of the server's,
    /// but where an answer to the same arguments gave it before.
    pub fn learn(&self, tool: &str, params: Json<'_>, context: &CallContext, result: Json<'_>) {
        if result.text().len() > MAX_BYTES || params.text().len() > MAX_BYTES {
            return;
        }
        let to = asked(tool, params.get("arguments"), context);
        let before = self.lock().iter().find(|answer| answer.to == to).map(|answer| answer.words.clone());
        let (own, mut words) = (Own::of(params), HashSet::new());
        for token in result.tokens() {
            let Token::Scalar(scalar) = token else { continue };
            let Some(text) = scalar.as_str() else { continue };
            for word in words_of(&text) {
                if words.len() >= MAX_WORDS {
                    break;
                }
                let digest = Digest::of_bytes(word.as_bytes());
                if !own.holds(word) || before.as_ref().is_some_and(|before| before.contains(&digest)) {
                    words.insert(digest);
                }
            }
        }
        if words.is_empty() {
            return;
        }
        let mut answers = self.lock();
        answers.retain(|answer| answer.to != to);
        if answers.len() >= MAX_ANSWERS {
            answers.pop_front();
        }
        answers.push_back(Answered { to, words, until: Instant::now() + KEPT });
    }

    /// The confirmations of a call, each with whether the server gave it.
    pub fn checked(&self, tool: &str, arguments: Json<'_>, context: &CallContext) -> Vec<Confirmation> {
        if context.confirmations.is_empty() {
            return Vec::new();
        }
        let to = asked(tool, Some(arguments), context);
        let answers = self.lock();
        let given = answers.iter().find(|answer| answer.to == to).map(|answer| &answer.words);
        let check = |confirmation: &Confirmation| {
            let issued = confirmation.by == ConfirmedBy::Vendor
                && given
                    .is_some_and(|given| arguments.pointer(&confirmation.at).is_some_and(|value| is_in(value, given)));
            Confirmation { issued, ..confirmation.clone() }
        };
        context.confirmations.iter().map(check).collect()
    }
}

/// What a call says, in pieces as long as the shortest token, whatever their case.
struct Own(HashSet<[u8; *TOKEN.start()]>);

impl Own {
    fn of(params: Json<'_>) -> Own {
        let mut own = HashSet::new();
        for token in params.tokens() {
            let Token::Scalar(scalar) = token else { continue };
            let text = scalar.as_str().unwrap_or_else(|| scalar.text().into()).to_ascii_lowercase();
            own.extend(text.as_bytes().array_windows().copied());
        }
        Own(own)
    }

    /// Whether every piece of a word is among them, as they are where the word stands in the call.
    fn holds(&self, word: &str) -> bool {
        word.to_ascii_lowercase().as_bytes().array_windows().all(|piece| self.0.contains(piece))
    }
}

/// Whether a value is made of tokens that were given: at least one text, and nothing but such texts.
fn is_in(value: Json<'_>, given: &HashSet<Digest>) -> bool {
    let (mut texts, mut waiting) = (0, vec![value]);
    while let Some(value) = waiting.pop() {
        match value.kind() {
            Kind::String => {
                let text = value.as_str().unwrap_or_default();
                texts += 1;
                if texts > MAX_TEXTS || !given.contains(&Digest::of_bytes(text.as_bytes())) {
                    return false;
                }
            }
            Kind::Object => waiting.extend(value.members().map(|(_, value)| value)),
            Kind::Array | Kind::Number | Kind::Bool | Kind::Null => return false,
        }
    }
    texts > 0
}

/// The words of a text that could be tokens: by themselves, with the signs that tokens have inside, and as parts of
/// addresses.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let dotted = move |c: char| plain(c) || ".=+~".contains(c);
    let wide = move |c: char| dotted(c) || "/:".contains(c);
    let words = text.split(move |c| !plain(c)).chain(text.split(move |c| !dotted(c)));
    let words = words.chain(text.split(move |c| !wide(c))).map(|word| word.trim_end_matches(['.', ':', '/']));
    words.filter(|word| TOKEN.contains(&word.len()))
}

/// What was asked, whatever the vendor's confirmation in it is.
fn asked(tool: &str, arguments: Option<Json<'_>>, context: &CallContext) -> Digest {
    let vendor = context.confirmations.iter().filter(|confirmation| confirmation.by == ConfirmedBy::Vendor);
    let skip: Vec<&str> = vendor.map(|confirmation| confirmation.at.as_str()).collect();
    let mut same = String::new();
    if let Some(arguments) = arguments {
        write_without(arguments, "", &skip, &mut same);
    }
    let names = [&context.principal.name, &context.server.name, &context.environment.name].map(|name| name.as_bytes());
    let [principal, server, environment] = names;
    let fields = [principal, server, environment, tool.as_bytes(), same.as_bytes()];
    Digest::of_fields("countersign.issued/v1", &fields)
}

/// A value with sorted keys, without what stands at these pointers.
fn write_without(value: Json<'_>, at: &str, skip: &[&str], out: &mut String) {
    let inside = |path: &str| skip.iter().any(|skip| skip.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
    if value.kind() != Kind::Object || !inside(at) {
        return value.write_sorted(out);
    }
    let mut members: Vec<_> =
        value.members().map(|(key, value)| (key.as_str().unwrap_or_default(), key, value)).collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    out.push('{');
    for (name, key, value) in members {
        let path = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        if skip.contains(&path.as_str()) {
            continue;
        }
        if !out.ends_with('{') {
            out.push(',');
        }
        out.extend([key.text(), ":"]);
        write_without(value, &path, skip, out);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Class, fixtures};
    use crate::json::{JsonText, Rules};

    fn text(text: &str) -> JsonText {
        JsonText::parse(text, Rules::UPSTREAM).unwrap()
    }

    fn context(principal: &str, confirmed: &[&str]) -> CallContext {
        let confirmation = |at: &&str| Confirmation { at: (*at).into(), by: ConfirmedBy::Vendor, issued: false };
        CallContext {
            principal: fixtures::principal(principal, &[]),
            confirmations: confirmed.iter().map(confirmation).collect(),
            ..fixtures::context("pay", Class::Financial)
        }
    }

    const ANSWER: &str = r#"{"content":[{"type":"text","text":"{\"request_id\":\"apr_12345678\",\"url\":\"https://x.example/approve/tok.en-87654321?a=1\"}"}]}"#;

    fn learn(issued: &Issued, arguments: Json<'_>, context: &CallContext, answer: Json<'_>) {
        let params = text(&format!(r#"{{"name":"pay","arguments":{}}}"#, arguments.text()));
        issued.learn("pay", params.view(), context, answer);
    }

    fn given(issued: &Issued, principal: &str, arguments: &str) -> bool {
        let context = context(principal, &["/human_confirmation"]);
        issued.checked("pay", text(arguments).view(), &context)[0].issued
    }

    #[test]
    fn a_token_counts_for_the_same_arguments_and_principal() {
        let issued = Issued::default();
        let asked = text(r#"{"a":{"b":1},"amount":100}"#);
        learn(&issued, asked.view(), &context("agent", &[]), text(ANSWER).view());
        let with = |token: &str| format!(r#"{{"human_confirmation":{token},"amount":100,"a":{{"b":1}}}}"#);
        for token in [
            r#"{"approval_token":"apr_12345678"}"#,
            r#""apr_12345678""#,
            r#"{"approval_token":"tok.en-87654321"}"#,
            r#"{"approval_token":"apr_1234567\u0038"}"#,
        ] {
            assert!(given(&issued, "agent", &with(token)), "{token}");
        }
        for token in [
            r#"{"approval_token":"apr_123456789"}"#,
            r#"{"approval_token":"pr_12345678"}"#,
            r#"{"approval_token":"content"}"#,
            r#"{"approval_token":"apr_12345678","confirmed":true}"#,
            r#"{"approval_token":["apr_12345678"]}"#,
            r#"{"confirmed":true}"#,
            "{}",
            "null",
            "true",
            "7",
        ] {
            assert!(!given(&issued, "agent", &with(token)), "{token}");
        }
        let token = with(r#""apr_12345678""#);
        assert!(!given(&issued, "other", &token));
        for other in [token.replace("100", "101"), token.replace("100", "100.0"), token.replace(r#""b":1"#, "")] {
            assert!(!given(&issued, "agent", &other), "{other}");
        }
        let elsewhere = context("agent", &["/human_confirmation"]);
        assert!(!issued.checked("other", text(&token).view(), &elsewhere)[0].issued);
    }

    #[test]
    fn a_token_deeper_inside_is_left_out_of_what_was_asked_too() {
        let issued = Issued::default();
        let asked = text(r#"{"parameters":{"amount":1}}"#);
        learn(&issued, asked.view(), &context("agent", &[]), text(ANSWER).view());
        let context = context("agent", &["/parameters/human_confirmation"]);
        let again = text(r#"{"parameters":{"human_confirmation":"apr_12345678","amount":1}}"#);
        assert!(issued.checked("pay", again.view(), &context)[0].issued);
        // The answer to this may give another one.
        learn(&issued, again.view(), &context, text(r#"{"x":"apr_second99"}"#).view());
        assert!(!issued.checked("pay", again.view(), &context)[0].issued, "the newest answer counts");
    }

    #[test]
    fn what_the_call_says_itself_is_not_issued_by_an_echo() {
        let issued = Issued::default();
        let asked = text(r#"{"amount":1,"note":"see to\u006b_fake1234!","of":{"key_fake1234":12345678}}"#);
        let answer =
            text(r#"{"said":["see tok_fake1234!","TOK_FAKE1234","key_fake1234","12345678"],"id":"apr_12345678"}"#);
        learn(&issued, asked.view(), &context("agent", &[]), answer.view());
        let with = |token: &str| format!(r#"{{"human_confirmation":"{token}",{}"#, &asked.as_str()[1..]);
        for token in ["tok_fake1234", "TOK_FAKE1234", "key_fake1234", "12345678", "ok_fake1234"] {
            assert!(!given(&issued, "agent", &with(token)), "{token}");
        }
        let token = with("apr_12345678");
        assert!(given(&issued, "agent", &token));
        // A server that is not content yet names its own token again.
        learn(&issued, text(&token).view(), &context("agent", &["/human_confirmation"]), answer.view());
        assert!(given(&issued, "agent", &token));
        let made_up = with("apr_made_up99");
        let echo = text(r#"{"unknown":"apr_made_up99"}"#);
        learn(&issued, text(&made_up).view(), &context("agent", &["/human_confirmation"]), echo.view());
        assert!(!given(&issued, "agent", &made_up));
    }

    #[test]
    fn the_agents_own_word_is_never_issued() {
        let issued = Issued::default();
        let arguments = text(r#"{"confirmation":"apr_12345678"}"#);
        let by = |by| CallContext {
            confirmations: vec![Confirmation { at: "/confirmation".into(), by, issued: true }],
            ..context("agent", &[])
        };
        learn(&issued, text("{}").view(), &context("agent", &[]), text(ANSWER).view());
        assert!(issued.checked("pay", arguments.view(), &by(ConfirmedBy::Vendor))[0].issued);
        assert!(!issued.checked("pay", arguments.view(), &by(ConfirmedBy::Agent))[0].issued);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let issued = Issued::default();
        for n in 0..=MAX_ANSWERS {
            let asked = text(&format!(r#"{{"n":{n}}}"#));
            learn(&issued, asked.view(), &context("agent", &[]), text(ANSWER).view());
        }
        assert_eq!(issued.lock().len(), MAX_ANSWERS);
        let with = |n: usize| format!(r#"{{"n":{n},"human_confirmation":"apr_12345678"}}"#);
        assert!(!given(&issued, "agent", &with(0)) && given(&issued, "agent", &with(MAX_ANSWERS)));
        let long = format!(r#"{{"x":"{}apr_12345678"}}"#, "x ".repeat(MAX_BYTES));
        learn(&issued, text(r#"{"n":0}"#).view(), &context("agent", &[]), text(&long).view());
        assert!(!given(&issued, "agent", &with(0)));
        tokio::time::advance(KEPT).await;
        assert!(!given(&issued, "agent", &with(MAX_ANSWERS)) && issued.lock().is_empty());
    }
}
