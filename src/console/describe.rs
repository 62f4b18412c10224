//! What a hold says about itself, in words: the document of its detail, the badge, the summary of a row. Only facts that
//! the daemon sent; no sentence is made of what a client wrote.

use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::call::{
    ClientInfo, Confirmation, ConfirmedBy, Digest, Environment, EnvironmentSource, Magnitude, Outcome, Pin, Reach,
    ReachMode, Tier, Transport,
};
use crate::console::doc::Doc;
use crate::console::holds::Entry;
use crate::console::keys::Action;
use crate::console::money;
use crate::console::preview::{self, Clock};
use crate::console::risk::{Risk, plural};
use crate::console::{tabs, visible};
use crate::control::wire::{Approvals, Daemon, HoldState, HoldView, RuleView, ServerView, SignInState, SignInView};
use crate::json::{Json, JsonText, Kind};

/// Why an approval of this hold has no effect, and what would change that.
pub const UNSIGNED_HELP: [&str; 3] = [
    "This server takes signed approvals only. Without a signature the call stays held; rejecting needs none.",
    "List your key once: countersign operator enroll NAME --key KEY.pub. Then: countersign console --sign-with KEY",
    "To do without signatures: operators: { unsigned_rulings: accept } in countersign.yaml.",
];

/// The detail of a hold: what an operator reads first, then all that travels, then what proves it.
pub fn document(hold: &HoldView, risk: &Risk, zone: &TimeZone) -> Doc {
    let mut doc = Doc::default();
    several(&mut doc, hold);
    pretty(&mut doc, hold, risk, zone);
    doc
}

/// The same, into a document of the screen, which does not say how many wait: that changes while it is read.
pub fn pretty(doc: &mut Doc, hold: &HoldView, risk: &Risk, zone: &TimeZone) {
    let clock = held_clock(hold, zone);
    doc.preview_by(clock.clone());
    state(doc, hold, zone);
    risk.warnings.iter().for_each(|warning| doc.warning(warning));
    call(doc, hold);
    for (n, line) in tabs::changed(hold).iter().enumerate() {
        doc.fact(if n == 0 { "Changed" } else { "" }, line);
    }
    for (n, hit) in hold.rules.iter().enumerate() {
        let place = if hit.line > 0 { format!("{}:{}", hit.file, hit.line) } else { hit.file.clone() };
        doc.fact(if n == 0 { "Rule" } else { "" }, &format!("{}  {}  {place}", hit.rule, hit.reason));
    }
    if hold.rules.is_empty() {
        doc.fact("Rule", &format!("{}  {}", hold.rule, hold.reason));
    }
    doc.fact("Where", &environment(&hold.environment, hold.production));
    doc.fact("Client", &client(hold));
    if hold.approvals.need > 1 {
        doc.fact("Approvals", &approvals(&hold.approvals));
    }
    for same in &hold.same_as {
        doc.fact("Same call", &format!("{} {}", same.id, same.state));
    }
    if hold.signature_required {
        doc.fact("Signature", "required for an approval: an operator's key has to sign it");
    }
    payload(doc, "Arguments", &hold.arguments, &confirmed(hold));
    if let Some(other) = &hold.other_params {
        payload(doc, "Other parameters that are sent", other, &[]);
    }
    match &hold.meta {
        Some(meta) if is_numbering(meta) => {
            heading(doc, META, meta);
            doc.raw(meta);
        }
        Some(meta) => payload(doc, META, meta, &[]),
        None => {}
    }
    doc.heading("Proof");
    // Below all that is sent: it informs, and takes no room from what is read.
    doc.fact("Risk", &risk.words());
    doc.fact("Hold", hold.id.as_str());
    doc.fact("Digest", &hold.digest.to_string());
    let definition = hold.definition.map_or_else(|| "not seen in this session".to_owned(), |digest| digest.to_string());
    doc.fact("Tool def.", &definition);
    doc.fact("Pin", pin(hold.pin));
    if let Some(claimed) = claimed(&hold.client) {
        doc.fact("Software", &claimed);
    }
    doc.fact("Created", &time(&hold.created_at, &clock));
    doc.fact("Expires", &time(&hold.expires_at, &clock));
}

/// The clock that the times of a call are told by. Where the daemon's own time cannot be read, distances are from 1970,
/// which nobody takes for real.
fn held_clock(hold: &HoldView, zone: &TimeZone) -> Clock {
    Clock { zone: zone.clone(), held: hold.created_at.parse().unwrap_or_default() }
}

/// A time of the daemon's as it is written, and by the operator's clock.
fn time(written: &str, clock: &Clock) -> String {
    match written.parse::<Timestamp>() {
        Ok(at) => {
            let local = at.to_zoned(clock.zone.clone()).strftime("%H:%M:%S %Z");
            format!("{written}  {local}, {}", preview::distance(at, clock))
        }
        Err(_) => written.to_owned(),
    }
}

/// What travels, as it is sent: the texts themselves, without a line break of ours.
pub fn raw(doc: &mut Doc, hold: &HoldView, risk: &Risk) {
    risk.warnings.iter().for_each(|warning| doc.warning(warning));
    doc.fact("Call", &format!("{} · {}", hold.server, called(hold)));
    let parts = [
        Some(("Arguments", &hold.arguments)),
        hold.other_params.as_ref().map(|other| ("Other parameters", other)),
        hold.meta.as_ref().map(|meta| (META, meta)),
    ];
    for (title, value) in parts.into_iter().flatten() {
        heading(doc, title, value);
        doc.raw(value);
    }
}

const META: &str = "_meta, sent too, not part of the digest";

/// The same without what travels: what a question repeats.
pub fn brief_into(doc: &mut Doc, hold: &HoldView, risk: &Risk) {
    risk.warnings.iter().for_each(|warning| doc.warning(warning));
    call(doc, hold);
    several(doc, hold);
    doc.fact("Rule", &format!("{}  {}", hold.rule, hold.reason));
    doc.fact("Where", &environment(&hold.environment, hold.production));
    doc.fact("Client", &client(hold));
    if hold.approvals.need > 1 {
        doc.fact("Approvals", &approvals(&hold.approvals));
    }
    for (n, line) in tabs::changed(hold).iter().enumerate() {
        doc.fact(if n == 0 { "Changed" } else { "" }, line);
    }
    let digest = hold.digest.to_string();
    doc.fact("Digest", &format!("{}…", digest.get(..16).unwrap_or(&digest)));
}

/// Whether the definition of the tool is the one that an operator trusts.
fn pin(pin: Pin) -> &'static str {
    match pin {
        Pin::Match => "as pinned",
        Pin::Changed => "CHANGED since it was pinned; `countersign tools diff` shows how",
        Pin::Unpinned => "not pinned; `countersign tools ls` shows what is new",
        Pin::Unknown => "nothing is listed that could be compared with it",
    }
}

/// Tools of all servers that an operator has to look at, where there are any.
pub fn tools(daemon: &Daemon) -> Option<String> {
    let sum = |of: fn(&ServerView) -> usize| daemon.servers.iter().map(of).sum::<usize>();
    let (changed, new) = (sum(|server| server.tools_changed), sum(|server| server.tools_unpinned));
    match (changed, new) {
        (0, 0) => None,
        (changed, 0) => Some(format!("TOOLS: {changed} CHANGED")),
        (0, new) => Some(format!("TOOLS: {new} NEW")),
        (changed, new) => Some(format!("TOOLS: {changed} CHANGED, {new} NEW")),
    }
}

/// How a server is signed in to, where it is, in words that have not passed the escape function.
pub fn sign_in(server: &ServerView) -> Option<String> {
    let SignInView { state, by_itself, until, renewed, reason } = server.sign_in.as_ref()?;
    let reason = reason.as_deref().unwrap_or_default();
    Some(match (state, by_itself) {
        (SignInState::Needed, _) => {
            format!("sign-in needed: {reason} (countersign auth login {})", server.name)
        }
        (SignInState::Failed, true) => format!("countersign cannot sign in by itself: {reason}"),
        (SignInState::Failed, false) => format!("the sign-in cannot be renewed: {reason}"),
        (SignInState::Begins, _) => "countersign signs in by itself, and has not yet".to_owned(),
        (SignInState::SignedIn, by_itself) => {
            let who = if *by_itself { "signed in by itself" } else { "signed in" };
            let until = until.as_ref().map_or_else(String::new, |until| format!(", the token until {until}"));
            format!("{who}{until}, {}", if *renewed { "renewed by itself" } else { "not renewed" })
        }
    })
}

/// Keys that somebody may be guessing.
pub fn cut_off(daemon: &Daemon) -> Option<String> {
    let keys = daemon.guessed.join(", ");
    (!keys.is_empty()).then(|| {
        format!(
            "KEY GUESSED? {keys}: pieces were in what servers said, as if somebody guessed it. Answers with more of \
             them are kept back. Look at the record and replace the key; that ends it, and so does a restart."
        )
    })
}

/// The servers without a sign-in that they should have, each with what there is to say.
pub fn not_signed_in(daemon: &Daemon) -> impl Iterator<Item = (&ServerView, String)> {
    let without = |view: &SignInView| matches!(view.state, SignInState::Needed | SignInState::Failed);
    let servers = daemon.servers.iter().filter(move |server| server.sign_in.as_ref().is_some_and(without));
    servers.filter_map(|server| Some((server, sign_in(server)?)))
}

fn state(doc: &mut Doc, hold: &HoldView, zone: &TimeZone) {
    if let Some(text) = outcome(&hold.state, zone) {
        doc.fact("Ended", &text);
        if hold.may_wait_again() {
            let key = doc.key(Action::Ticket);
            let words = format!(
                "{key} or `countersign pending reopen` lets it wait again: an approval then counts for one identical retry"
            );
            doc.fact("Retry", &words);
        }
    } else if hold.waiting == 0 {
        doc.fact("Waiting", "client gone; an approval will count for one identical retry");
    }
}

/// How many wait for a pending hold, where they are several.
fn several(doc: &mut Doc, hold: &HoldView) {
    if hold.state.is_pending() && hold.waiting > 1 {
        let words = "identical requests; an approval releases one of them, the others ask again";
        doc.fact("Waiting", &format!("{} {words}", hold.waiting));
    }
}

/// How a hold ended and when, in words that have not passed the escape function; nothing while it is pending.
pub fn ended(state: &HoldState, zone: &TimeZone) -> Option<(String, String)> {
    let (words, at) = match state {
        HoldState::Pending => return None,
        HoldState::Ticket { by, at, .. } => (format!("{by} approved, for one identical retry; not used yet"), at),
        HoldState::Approved { by, at, leaves_at: None } => (format!("{by} approved"), at),
        HoldState::Approved { by, at, leaves_at: Some(_) } => (format!("{by} approved, leaves in a moment"), at),
        HoldState::Rejected { by, at, reason } => (format!("{by} rejected: {reason}"), at),
        HoldState::Stale { at, reason } => (format!("stale: {reason}"), at),
        HoldState::Closed { outcome, at, reason } => (format!("{}: {reason}", outcome.as_str()), at),
        HoldState::Done { by, at, result } => (format!("{by} approved, result {result}"), at),
    };
    Some((words, clock(at, zone)))
}

/// The same in one text.
pub fn outcome(state: &HoldState, zone: &TimeZone) -> Option<String> {
    ended(state, zone).map(|(words, at)| format!("{words}, {at}"))
}

/// The state in a word, for filters.
pub fn state_word(state: &HoldState) -> &'static str {
    match state {
        HoldState::Pending => "pending",
        HoldState::Ticket { .. } => "ticket",
        HoldState::Approved { .. } => "approved",
        HoldState::Rejected { .. } => "rejected",
        HoldState::Stale { .. } => "stale",
        HoldState::Closed { outcome, .. } => outcome.as_str(),
        HoldState::Done { .. } => "done",
    }
}

/// Who looks after a hold, where somebody does: `ana has it, 42 s`. It has passed the escape function.
pub fn claim(hold: &HoldView, now: Timestamp) -> Option<String> {
    let claimed = hold.claimed.as_ref()?;
    let seconds = claimed.until.parse::<Timestamp>().ok()?.duration_since(now).as_secs();
    (seconds > 0).then(|| format!("{} has it, {seconds} s", operator(&claimed.by)))
}

/// Columns of an operator's name, with the account.
const OPERATOR: usize = 32;

/// Who an operator is, for lists and titles. The account is what is known of one who has chosen the name: the name is cut
/// first. It has passed the escape function.
pub fn operator(shown: &str) -> String {
    let Some((name, account)) = shown.rsplit_once(" (account ") else { return visible::capped(shown, OPERATOR) };
    let account = visible::capped(&format!(" (account {account}"), OPERATOR - 4);
    format!("{}{account}", visible::capped(name, OPERATOR - visible::columns(&account)))
}

/// Three letters for the list.
pub fn mark(state: &HoldState, tier: Tier) -> &'static str {
    match state {
        HoldState::Pending => tier_mark(tier),
        HoldState::Ticket { .. } => "TKT",
        // Until an answer is there nobody knows whether it went well.
        HoldState::Approved { .. } => "...",
        HoldState::Done { result, .. } if result == "ok" => "ok",
        HoldState::Done { .. } => "err",
        HoldState::Rejected { .. } => "REJ",
        HoldState::Stale { .. } => "OLD",
        HoldState::Closed { outcome, .. } => match outcome {
            Outcome::Denied => "DEN",
            Outcome::Invalid => "INV",
            Outcome::Rejected => "REJ",
            Outcome::Expired => "EXP",
            Outcome::Unattended => "UNA",
            Outcome::Withdrawn => "WDR",
            Outcome::Unavailable => "ERR",
            Outcome::Overloaded => "FUL",
            Outcome::ShuttingDown => "OFF",
        },
    }
}

pub fn tier_mark(tier: Tier) -> &'static str {
    match tier {
        Tier::Low => "!",
        Tier::Medium => "!!",
        Tier::High => "!!!",
    }
}

pub fn tier_word(tier: Tier) -> &'static str {
    match tier {
        Tier::Low => "LOW",
        Tier::Medium => "MEDIUM",
        Tier::High => "HIGH",
    }
}

/// `[LIVE]`, `[TEST]`, or `[????]` for a name that nobody vouches for and that therefore counts as production.
pub fn badge(hold: &HoldView) -> &'static str {
    match (hold.production, hold.environment.name.as_str()) {
        (false, _) => "[TEST]",
        (true, "production") => "[LIVE]",
        (true, _) => "[????]",
    }
}

/// The median time to a ruling.
pub fn median(millis: Option<u64>) -> String {
    match millis {
        None => "-".to_owned(),
        Some(millis @ 0..10_000) => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        Some(millis @ 10_000..120_000) => format!("{} s", millis / 1000),
        Some(millis) => format!("{} min", millis / 60_000),
    }
}

/// What a rule would have changed while its policy was only watched, where it was.
pub fn watched(rule: &RuleView) -> Option<String> {
    let RuleView { watched, would_hold, would_deny, may_allow, unknown, .. } = rule;
    let nothing = watched.saturating_sub(would_hold + would_deny + may_allow + unknown);
    (*watched > 0).then(|| {
        let may = match may_allow {
            0 => String::new(),
            _ => format!("may have LET THROUGH {may_allow} that were denied, "),
        };
        let unknown = match unknown {
            0 => String::new(),
            _ => format!("; {unknown} times it is not known what it asked for"),
        };
        format!(
            "only watched (mode shadow or warn), {watched} times: {may}would have held {would_hold} that were let \
             through, denied {would_deny} that were not, and changed nothing {nothing} times{unknown}"
        )
    })
}

/// The value that matters, for a row of the list.
pub fn summary(hold: &HoldView) -> String {
    let amount = hold.money.as_ref().map(|money| match (&money.amount, &money.absent) {
        (Some(amount), _) => format!("{amount} {}", money.currency.as_deref().unwrap_or(&money.unit)),
        (None, Some(absent)) => absent.clone(),
        (None, None) => "amount not in the call".to_owned(),
    });
    let size = hold.magnitude.as_ref().and_then(|size| match (&size.value, &size.absent) {
        (Some(value), _) => Some(format!("{value} {}", size.unit)),
        (None, Some(absent)) => Some(format!("{absent} ({})", size.unit)),
        (None, None) => None,
    });
    let target = hold.targets.first().map(|target| head_and_tail(target));
    let reach = hold.reach.as_ref().filter(|reach| !reach.is_nowhere()).map(|reach| format!("in {}", reaches(reach)));
    let more = is_more_than_counted(hold).then(|| "NOT ALL".to_owned());
    let parts: Vec<_> = more.into_iter().chain(amount).chain(size).chain(target).chain(reach).collect();
    let about = if parts.is_empty() { hold.rule.clone() } else { parts.join("  ") };
    let about = with_operation(hold, about);
    match hold.waiting {
        _ if !hold.state.is_pending() => about,
        0 => format!("client gone  {about}"),
        1 => about,
        more => format!("x{more}  {about}"),
    }
}

/// What is said about a hold whose line names the tool: the operation first, where it is another.
pub fn with_operation(hold: &HoldView, about: String) -> String {
    if hold.operation == hold.tool { about } else { format!("{}  {about}", hold.operation) }
}

/// The tool, and the operation where it is another.
pub fn called(hold: &HoldView) -> String {
    if hold.operation == hold.tool { hold.tool.clone() } else { format!("{} → {}", hold.tool, hold.operation) }
}

fn head_and_tail(id: &str) -> String {
    let count = id.chars().count();
    if count <= 12 {
        return id.to_owned();
    }
    let head: String = id.chars().take(5).collect();
    let tail: String = id.chars().skip(count - 5).collect();
    format!("{head}…{tail}")
}

fn call(doc: &mut Doc, hold: &HoldView) {
    let undo = match hold.reversible {
        Some(true) => ", can be undone",
        Some(false) => ", cannot be undone",
        None => "",
    };
    let tool = called(hold);
    let method = if hold.method == "tools/call" { String::new() } else { format!("{} ", hold.method) };
    doc.fact("Call", &format!("{} · {method}{tool}  {}{undo}", hold.server, hold.class.as_str()));
    if let Some(effect) = &hold.effect {
        doc.fact("Effect", effect);
    }
    if let Some(amount) = &hold.money {
        doc.fact("Money", &money::words(amount));
    }
    if let Some(magnitude) = &hold.magnitude {
        doc.fact("Size", &size_of(magnitude));
    }
    if is_more_than_counted(hold) {
        doc.fact("Not all", "the call does more than these numbers count: read its arguments");
    }
    for confirmation in &hold.confirmations {
        doc.fact("Agreed", &confirmed_by(confirmation));
    }
    if !hold.targets.is_empty() {
        doc.fact("Target", &hold.targets.join(", "));
    }
    if let Some(reach) = &hold.reach {
        doc.fact("Reaches", &reaches(reach));
    }
}

/// There are numbers, and they do not say how much the call does.
fn is_more_than_counted(hold: &HoldView) -> bool {
    hold.unmeasured && (hold.money.is_some() || hold.magnitude.is_some())
}

/// How much besides money: as it is spelled, and what leaving it out means.
fn size_of(magnitude: &Magnitude) -> String {
    match (&magnitude.value, &magnitude.absent) {
        (Some(value), _) => format!("{value} {}", magnitude.unit),
        (None, Some(absent)) => format!("not in the call, which means: {absent} ({})", magnitude.unit),
        (None, None) => format!("not in the call ({})", magnitude.unit),
    }
}

/// Where the arguments want it to take effect.
fn reaches(reach: &Reach) -> String {
    let mode = reach.mode.map(|mode| match mode {
        ReachMode::Production => "mode production",
        ReachMode::Test => "mode test",
        ReachMode::Unknown => "a mode that is neither production nor test",
    });
    let some = |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    let parts = [
        mode.map(str::to_owned),
        reach.everywhere.then(|| "all environments".to_owned()),
        some("environments", &reach.environments),
        some("accounts", &reach.accounts),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Whose word a confirmation is: never an operator's.
fn confirmed_by(confirmation: &Confirmation) -> String {
    let whose = match (confirmation.by, confirmation.issued) {
        (ConfirmedBy::Agent, _) => "the agent's own word; no person has said it",
        (ConfirmedBy::Vendor, true) => "a token that the server gave out for this call",
        (ConfirmedBy::Vendor, false) => "claims the vendor's approval, which the server has not given",
    };
    format!("{}: {whose}", confirmation.at)
}

pub fn environment(environment: &Environment, production: bool) -> String {
    let counts = if production && environment.name != "production" { ", counts as production" } else { "" };
    let proof = match (environment.source, environment.verified) {
        (EnvironmentSource::Probe, true) => "the server's answer proves it",
        (EnvironmentSource::Key | EnvironmentSource::Config, true) => "the key proves it",
        (EnvironmentSource::Key, false) => "the key says so",
        (EnvironmentSource::Probe, false) => "the server's answer says so",
        (EnvironmentSource::Config, false) => "declared, the key says nothing",
    };
    let conflict = environment.conflict.as_ref().map(|text| format!("; CONFLICT: {text}")).unwrap_or_default();
    format!("{}{counts} ({proof}{conflict})", environment.name)
}

/// Who asks, by our own evidence.
pub fn client(hold: &HoldView) -> String {
    format!("{}, session {}", who(&hold.principal, &hold.client), hold.session)
}

/// A principal, and what is known of its process.
pub fn who(principal: &str, client: &ClientInfo) -> String {
    let way = match client.transport {
        Transport::Stdio => "stdio",
        Transport::Http => "http",
    };
    let evidence = [
        Some(way.to_owned()),
        client.uid.map(|uid| format!("uid {uid}")),
        client.pid.map(|pid| format!("pid {pid}")),
        client.peer.as_ref().map(|peer| format!("from {peer}")),
    ];
    let evidence: Vec<_> = evidence.into_iter().flatten().collect();
    format!("{principal} ({})", evidence.join(", "))
}

/// What the client says about itself, which proves nothing.
pub fn claimed(client: &ClientInfo) -> Option<String> {
    let name = client.name.as_ref()?;
    Some(format!("{name} {} (its own words)", client.version.as_deref().unwrap_or("")))
}

pub fn approvals(approvals: &Approvals) -> String {
    let have = if approvals.have.is_empty() { String::new() } else { format!(" ({})", approvals.have.join(", ")) };
    format!("{} of {}{have}", approvals.have.len(), approvals.need)
}

fn payload(doc: &mut Doc, title: &str, value: &JsonText, marked: &[Range<usize>]) {
    heading(doc, title, value);
    doc.payload(value, marked);
}

/// Whether a value only numbers a request: so little that it takes one line, so that it costs no screen.
fn is_numbering(value: &JsonText) -> bool {
    let view = value.view();
    // Digits alone: an exponent makes a large number of few letters.
    let digits = |text: &str| text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let short = |number: Json<'_>| number.kind() == Kind::Number && digits(number.text());
    value.as_str().len() <= 60 && view.kind() == Kind::Object && view.members().all(|(_, number)| short(number))
}

fn heading(doc: &mut Doc, title: &str, value: &JsonText) {
    let text = value.as_str();
    let digest = Digest::of_bytes(text.as_bytes()).to_string();
    let keys = value.view().members().count();
    let keys = if keys > 0 { format!(" · {}", plural(keys, "key")) } else { String::new() };
    doc.heading(&format!(
        "{title} · complete · {}{keys} · sha256 {}",
        size(text.len()),
        digest.get(..8).unwrap_or(&digest)
    ));
}

/// Where the values stand in the arguments that the rule wants to be typed.
fn confirmed(hold: &HoldView) -> Vec<Range<usize>> {
    let whole = hold.arguments.as_str();
    let places = hold.confirm.iter().filter_map(|confirm| {
        let value = hold.arguments.view().pointer(confirm.pointer.strip_prefix("/arguments")?)?.text();
        let start = (value.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        Some(start..start + value.len())
    });
    places.collect()
}

pub fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{} kB ({bytes} B)", bytes / 1000),
        _ => format!("{}.{} MB ({bytes} B)", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// The time of day of a time of the daemon.
pub fn clock(time: &str, zone: &TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string(),
        Err(_) => visible::capped(time, 20),
    }
}

/// The time that a hold has left, and its client where that is known: `02:41 · client ~01:51`.
pub fn clocks(entry: &Entry, now: Timestamp) -> String {
    let client = client_clock(entry, now).map(|words| format!(" · client {words}")).unwrap_or_default();
    format!("{}{client}", left(entry.seconds_left(now)))
}

/// When the client is thought to give up, where that is known.
pub fn client_clock(entry: &Entry, now: Timestamp) -> Option<String> {
    let seconds = entry.client_left(now)?;
    Some(if seconds > 0 { format!("~{}", left(seconds)) } else { "may be gone".to_owned() })
}

/// Time left: `02:41`, `1:02:41`, or `over`.
pub fn left(seconds: i64) -> String {
    match seconds {
        ..=0 => "over".to_owned(),
        1..3600 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}
