//! What a message says: how many calls wait, and of each its environment, server, operation, tier and id.

use serde_json::{Value, json};

use crate::call::Tier;
use crate::control::wire::HoldView;
use crate::json::JsonText;

pub const SCHEMA: &str = "countersign.notice/v1";
/// Holds that are listed; the others are counted.
const LISTED: usize = 20;
/// Longest name.
const NAME: usize = 64;
/// Longest arguments that are sent along, in bytes, where they are sent at all.
const ARGUMENTS: usize = 16 << 10;

/// Something to say.
#[derive(Clone, Debug)]
pub struct Message {
    holds: Vec<HoldView>,
    count: usize,
}

impl Message {
    /// Nothing where there is nothing to say.
    pub fn of(holds: &[HoldView]) -> Option<Message> {
        let listed = holds.iter().take(LISTED).cloned().collect();
        (!holds.is_empty()).then_some(Message { holds: listed, count: holds.len() })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// One line for people. Starts with a digit, whatever is called.
    pub fn summary(&self) -> String {
        let Some(first) = self.holds.first() else { return String::new() };
        let about = format!(
            "{} on {} ({}), {} risk, {}",
            plain(&first.operation),
            plain(&first.server),
            plain(&first.environment.name),
            word(first.tier),
            first.id
        );
        match self.count {
            1 => format!("1 call waits: {about}"),
            count => format!("{count} calls wait, the highest tier: {about}"),
        }
    }

    /// Whether one of the calls is of tier high: the first is of the highest.
    pub fn is_high(&self) -> bool {
        self.holds.first().is_some_and(|first| first.tier == Tier::High)
    }

    /// As JSON, with its `schema`.
    pub fn body(&self, arguments: bool) -> String {
        let holds: Vec<Value> = self.holds.iter().map(|hold| listed(hold, arguments)).collect();
        let body = json!({
            "schema": SCHEMA,
            "count": self.count,
            "summary": self.summary(),
            "more": self.count - self.holds.len(),
            "holds": holds,
        });
        body.to_string()
    }
}

fn listed(hold: &HoldView, arguments: bool) -> Value {
    let mut listed = json!({
        "id": hold.id.as_str(),
        "environment": plain(&hold.environment.name),
        "production": hold.production,
        "server": plain(&hold.server),
        "operation": plain(&hold.operation),
        "tier": word(hold.tier),
        "created_at": hold.created_at,
        "expires_at": hold.expires_at,
    });
    if arguments && let Some(object) = listed.as_object_mut() {
        let (value, complete) = shortened(&hold.arguments);
        object.insert("arguments".to_owned(), value);
        object.insert("arguments_complete".to_owned(), Value::Bool(complete));
    }
    listed
}

/// The exact text, as a text: a number keeps its spelling. Cut where it is too long, and then it says so.
fn shortened(arguments: &JsonText) -> (Value, bool) {
    let text = arguments.as_str();
    let mut end = text.len().min(ARGUMENTS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (Value::String(text.get(..end).unwrap_or_default().to_owned()), end == text.len())
}

/// A name with plain characters only: it may come from a client, and goes to programs that we do not know.
fn plain(name: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-/:".contains(letter);
    let mut out: String = name.chars().take(NAME).map(|letter| if fits(letter) { letter } else { '?' }).collect();
    if name.chars().nth(NAME).is_some() {
        out.push_str("...");
    }
    out
}

fn word(tier: Tier) -> &'static str {
    match tier {
        Tier::Low => "low",
        Tier::Medium => "medium",
        Tier::High => "high",
    }
}
