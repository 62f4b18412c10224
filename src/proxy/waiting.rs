//! What a client is told while its call is held, and how long it can be made to wait.
//!
//! Invariant: the progress values that a client sees for one token increase strictly, ours first and the upstream's
//! above them, with the upstream's own digits wherever they can be added exactly.

use std::time::Duration;

use tokio::time::Instant;

use crate::call::{ClientInfo, Transport};
use crate::config::Budgets;
use crate::json::{Json, JsonText, Kind};
use crate::mcp::headers::PROGRESS;
use crate::mcp::message::Message;
use crate::mcp::reply;

/// Longest part of a rule's reason in a progress message, in characters.
const REASON: usize = 120;
/// Digits of a number that is added to. More are not rounded but left out.
const DIGITS: usize = 30;

/// What a client does on its own, in seconds from its request; absent: it waits for as long as the call is held.
struct Known {
    /// As in `clientInfo.name`, in lower case with hyphens; before a `*` it may go on with more words.
    name: &'static str,
    stdio: Limits,
    http: Limits,
}

/// Each some seconds less than the client's own limit.
#[derive(Clone, Copy)]
struct Limits {
    quiet: Option<u64>,
    /// Where the request asks for progress, and gets it.
    progress: Option<u64>,
}

const fn both(limit: Option<u64>) -> Limits {
    Limits { quiet: limit, progress: limit }
}

/// Clients whose limits are known, as of November 2026. A client that is not here may be built on the TypeScript SDK,
/// which gives up after 60 s, progress or not unless it is told otherwise: the configuration's defaults are for that.
const KNOWN: &[Known] = &[
    // Idle limit of 300 s over HTTP (changelog 2.1.187) and 1800 s on stdio (2.1.203); progress resets it, comments
    // of the event stream do not. Its wall clock is about 28 h.
    Known {
        name: "claude-code*",
        stdio: Limits { quiet: Some(1790), progress: None },
        http: Limits { quiet: Some(290), progress: None },
    },
    // `tool_timeout_sec` is 300 by default (codex 0.169.0, measured); progress does not move it.
    Known { name: "codex-mcp-client*", stdio: both(Some(290)), http: both(Some(290)) },
    // Claude Desktop and claude.ai: about 60 s, fixed (anthropics/claude-code#22542).
    Known { name: "claude-ai*", stdio: both(Some(50)), http: both(Some(50)) },
    // No timer in its request handler (read in the source); a person stops a call.
    Known { name: "visual-studio-code*", stdio: both(None), http: both(None) },
    // Closed source; reports of 60 s and of 300 s (cursor/cursor#3510).
    Known { name: "cursor*", stdio: both(Some(50)), http: both(Some(50)) },
    // 600 s by default (its documentation).
    Known { name: "gemini-cli-mcp-client*", stdio: both(Some(590)), http: both(Some(590)) },
    // 30 s; versions from June 2026 on let progress reset it, and the version is not told reliably.
    Known { name: "opencode*", stdio: both(Some(25)), http: both(Some(25)) },
    // The name that the Python SDK gives its clients: no time-out for requests; comments keep its HTTP client reading.
    Known { name: "mcp", stdio: both(None), http: both(None) },
    // The same of the Rust SDK: no time-out unless the caller asks for one.
    Known { name: "rmcp", stdio: both(None), http: both(None) },
];

/// How long a client waits for the answer to a call, counted from its request; `None`: as long as the call is held.
pub fn patience(budgets: &Budgets, client: &ClientInfo, asks_progress: bool) -> Option<Duration> {
    let name = plain(client.name.as_deref().unwrap_or_default());
    if let Some((_, budget)) = budgets.clients.iter().find(|(configured, _)| plain(configured) == name) {
        return *budget;
    }
    let Some(known) = KNOWN.iter().find(|known| is_called(&name, known.name)) else {
        return if asks_progress { budgets.with_progress } else { budgets.default };
    };
    let limits = match client.transport {
        Transport::Stdio => known.stdio,
        Transport::Http => known.http,
    };
    let seconds = if asks_progress { limits.progress } else { limits.quiet };
    seconds.map(Duration::from_secs)
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace([' ', '_'], "-")
}

/// `cursor*` is also `cursor-vscode`, and not `cursory`.
fn is_called(name: &str, known: &str) -> bool {
    match known.strip_suffix('*') {
        Some(first) => name.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
        None => name == known,
    }
}

/// The token by which a request asks for progress.
pub fn token(params: Option<Json<'_>>) -> Option<JsonText> {
    let token = params?.get("_meta")?.get("progressToken")?;
    matches!(token.kind(), Kind::String | Kind::Number).then(|| JsonText::owned(token))
}

/// Progress of one held call.
#[derive(Debug)]
pub struct Progress {
    token: JsonText,
    why: String,
    until: Instant,
    said: u64,
    /// Absent once the call is released.
    next: Option<Instant>,
}

impl Progress {
    /// The first notification is due now. `until` is when the wait ends at the latest.
    pub fn new(token: JsonText, why: &str, until: Instant) -> Progress {
        let why = why.chars().take(REASON).collect();
        Progress { token, why, until, said: 0, next: Some(Instant::now()) }
    }

    pub fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Ours end here. What the upstream says comes above them.
    pub fn stop(&mut self) {
        self.next = None;
    }

    /// The next notification, where one is due.
    pub fn say(&mut self, every: Duration) -> Option<JsonText> {
        let now = Instant::now();
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        self.next = Some(now + every);
        self.said += 1;
        let left = self.until.saturating_duration_since(now).as_secs();
        let left = if left >= 60 { format!("{} min {} s", left / 60, left % 60) } else { format!("{left} s") };
        Some(reply::progress(&self.token, self.said, &format!("waiting for an operator: {}, {left} left", self.why)))
    }

    /// The upstream's notification, above ours; nothing where that cannot be made sure.
    pub fn above(&self, notification: &Message) -> Option<JsonText> {
        if self.said == 0 {
            return Some(notification.text().clone());
        }
        // One more, because an upstream may begin with 0.
        let offset = self.said + 1;
        let text = notification.text();
        let value = text.view().pointer("/params/progress")?;
        let sum = add(value.text(), offset).filter(|(_, negative)| !negative)?;
        let raised = text.replaced(value, &sum.0)?;
        if exceeds(&sum.0, self.said) != Some(true) {
            return None;
        }
        let Some(total) = raised.view().pointer("/params/total") else { return Some(raised.clone()) };
        let (total_sum, _) = add(total.text(), offset)?;
        raised.replaced(total, &total_sum)
    }
}

/// The token of a progress notification.
pub fn token_of(notification: &Message) -> Option<Json<'_>> {
    if notification.method() != Some(PROGRESS) {
        return None;
    }
    notification.params()?.get("progressToken")
}

/// Strings by their characters, numbers by their spelling.
pub fn same(one: Json<'_>, other: Json<'_>) -> bool {
    match (one.as_str(), other.as_str()) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.text() == other.text(),
        _ => false,
    }
}

/// An exact decimal number: `value` divided by 10 to the power of `scale`.
struct Decimal {
    value: i128,
    scale: u32,
}

impl Decimal {
    /// Nothing where it has too many digits. JSON's grammar has been checked.
    fn read(text: &str) -> Option<Decimal> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() > DIGITS {
            return None;
        }
        let value: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let digits = u32::try_from(DIGITS).ok()?;
        if let Ok(scale) = u32::try_from(scale) {
            return (scale <= digits).then_some(Decimal { value, scale });
        }
        let zeros = scale.unsigned_abs();
        if zeros > digits {
            return None;
        }
        Some(Decimal { value: value.checked_mul(10_i128.checked_pow(zeros)?)?, scale: 0 })
    }

    fn one(&self) -> Option<i128> {
        10_i128.checked_pow(self.scale)
    }
}

/// A number plus a whole one, with as many places as it had, and whether the sum is negative.
fn add(number: &str, offset: u64) -> Option<(String, bool)> {
    let Decimal { value, scale } = Decimal::read(number)?;
    let sum = i128::from(offset).checked_mul(10_i128.checked_pow(scale)?)?.checked_add(value)?;
    let places = usize::try_from(scale).ok()?;
    let digits = format!("{:0>width$}", sum.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at_checked(digits.len() - places)?;
    let sign = if sum < 0 { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Some((format!("{sign}{whole}{point}{fraction}"), sum < 0))
}

fn exceeds(number: &str, than: u64) -> Option<bool> {
    let number = Decimal::read(number)?;
    Some(number.value > i128::from(than).checked_mul(number.one()?)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::json::Rules;

    fn text(text: &str) -> JsonText {
        JsonText::parse(text, Rules::UPSTREAM).unwrap()
    }

    fn client(name: &str, transport: Transport) -> ClientInfo {
        let name = Some(name.to_owned());
        ClientInfo { name, ..ClientInfo::silent(transport) }
    }

    fn budgets(clients: &[(&str, Option<u64>)]) -> Budgets {
        let clients = clients.iter().map(|(name, seconds)| ((*name).to_owned(), seconds.map(Duration::from_secs)));
        Budgets {
            default: Some(Duration::from_secs(50)),
            with_progress: Some(Duration::from_secs(240)),
            clients: clients.collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn known_clients_wait_as_long_as_they_do_and_others_as_the_shortest() {
        let budgets = budgets(&[("My Agent", Some(7)), ("patient", None), ("codex-mcp-client", Some(100))]);
        let seconds = |name: &str, transport, progress| {
            patience(&budgets, &client(name, transport), progress).map(|budget| budget.as_secs())
        };
        let (stdio, http) = (Transport::Stdio, Transport::Http);
        assert_eq!(seconds("claude-code", http, false), Some(290));
        assert_eq!(seconds("claude-code", stdio, false), Some(1790));
        assert_eq!(seconds("claude-code", http, true), None, "progress resets its clock");
        assert_eq!(seconds("Visual Studio Code - Insiders", stdio, false), None);
        assert_eq!(seconds("cursor-vscode", stdio, true), Some(50));
        assert_eq!(seconds("gemini-cli-mcp-client-stripe", http, false), Some(590));
        assert_eq!(seconds("mcp", http, false), None);
        for unknown in ["mcp-remote", "cursory", "", "x"] {
            assert_eq!((seconds(unknown, http, false), seconds(unknown, stdio, true)), (Some(50), Some(240)));
        }
        assert_eq!(seconds("my agent", stdio, true), Some(7));
        assert_eq!(seconds("patient", stdio, false), None);
        assert_eq!(seconds("codex-mcp-client", stdio, false), Some(100), "the configuration knows better");
    }

    fn progress(said: u64) -> Progress {
        Progress { said, ..Progress::new(text(r#""t\u00e9""#), "why", Instant::now()) }
    }

    fn notification(numbers: &str) -> Message {
        let params = format!(r#"{{"progressToken":"té","message":"x",{numbers}}}"#);
        Message::ours(text(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#)))
            .unwrap()
    }

    fn numbers(said: u64, numbers: &str) -> Option<(String, Option<String>)> {
        let above = progress(said).above(&notification(numbers))?;
        let number = |name: &str| above.view().pointer(name).map(|number| number.text().to_owned());
        Some((number("/params/progress").unwrap(), number("/params/total")))
    }

    #[tokio::test]
    async fn the_upstreams_progress_goes_on_above_ours_digit_by_digit() {
        let some = |progress: &str, total: Option<&str>| Some((progress.to_owned(), total.map(str::to_owned)));
        assert_eq!(numbers(3, r#""progress":0,"total":10"#), some("4", Some("14")));
        assert_eq!(numbers(3, r#""progress":0.50,"total":1e2"#), some("4.50", Some("104")));
        assert_eq!(numbers(3, r#""progress":1.5e-1"#), some("4.15", None));
        assert_eq!(numbers(3, r#""progress":12345678901234567890.1"#), some("12345678901234567894.1", None));
        assert_eq!(numbers(3, r#""progress":-0.5"#), some("3.5", None));
        for lost in ["-1", "-99", "1e99", "1e-99", "1234567890123456789012345678901", "\"1\"", "null"] {
            assert_eq!(numbers(3, &format!(r#""progress":{lost}"#)), None, "{lost}");
        }
        assert_eq!(numbers(3, r#""progress":1,"total":1e99"#), None);
        assert_eq!(numbers(0, r#""progress":1e99"#), some("1e99", None), "nothing was said: as it is");
        let (asked, told) = (progress(1).token, notification(r#""progress":1"#));
        assert!(same(asked.view(), token_of(&told).unwrap()), "however it is escaped");
        assert!(!same(text("1").view(), text("\"1\"").view()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_increases_and_says_what_is_waited_for() {
        let every = Duration::from_secs(10);
        let mut progress = Progress::new(text("7"), "refunds need a person", Instant::now() + Duration::from_secs(95));
        let mut said = Vec::new();
        for _ in 0..30 {
            said.extend(progress.say(every));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let value = |text: &JsonText, pointer: &str| text.view().pointer(pointer).unwrap().text().to_owned();
        assert_eq!(said.iter().map(|text| value(text, "/params/progress")).collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(value(&said[0], "/params/progressToken"), "7");
        assert_eq!(
            value(&said[0], "/params/message"),
            r#""waiting for an operator: refunds need a person, 1 min 35 s left""#
        );
        progress.stop();
        tokio::time::advance(every).await;
        assert!(progress.say(every).is_none() && progress.due().is_none());
    }

    proptest! {
        /// Whatever comes through is greater than everything that we said, and keeps the order of the upstream's own.
        #[test]
        fn sums_are_exact(whole in -1000_i64..1_000_000_000, places in 0_u32..12, fraction in 0_u64..1_000_000, offset in 1_u64..10_000) {
            let number = if places == 0 { whole.to_string() } else { format!("{whole}.{fraction:0>width$}", width = places.max(6) as usize) };
            let (sum, negative) = add(&number, offset).unwrap();
            let (before, after) = (Decimal::read(&number).unwrap(), Decimal::read(&sum).unwrap());
            prop_assert_eq!(before.scale, after.scale);
            prop_assert_eq!(after.value - before.value, i128::from(offset) * 10_i128.pow(before.scale));
            prop_assert_eq!(negative, after.value < 0);
        }
    }
}
