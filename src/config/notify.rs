//! `notify`: whom to tell that a call waits, how, when and when not.

use std::time::Duration;

use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::servers;
use super::yaml::{Data, Node};

const ENTRY: Keys =
    Keys { known: &["command", "inherit_env", "webhook", "desktop", "after", "quiet_hours"], later: &[] };
const WEBHOOK: Keys = Keys { known: &["url", "secret", "include"], later: &[] };
const QUIET: Keys = Keys { known: &["hours", "zone", "high"], later: &[] };
/// Channels.
const MOST: usize = 20;

/// A channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notify {
    pub to: NotifyTo,
    /// Only calls that nobody has claimed or ruled on so long after they came.
    pub after: Duration,
    pub quiet: Option<QuietHours>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotifyTo {
    /// argv, and names of variables that the program gets besides PATH and HOME.
    Command { argv: Vec<String>, inherit: Vec<String> },
    Webhook {
        url: String,
        /// The name of the secret that signs.
        secret: String,
        /// The arguments of calls are sent along.
        arguments: bool,
    },
    /// The notification service of the account's desktop.
    Desktop,
}

/// Minutes after midnight in a zone; `from` after `to` goes over midnight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuietHours {
    pub from: u16,
    pub to: u16,
    pub zone: String,
    /// Also for calls of tier high.
    pub high_too: bool,
}

pub fn notify(cx: &mut Context<'_>, node: Option<&Node>) -> Vec<Notify> {
    let Some(node) = node else { return Vec::new() };
    let entries = cx.list(node, "notify");
    if entries.len() > MOST {
        let message = format!("`notify` has more than {MOST} entries");
        cx.problems.add(Code::TooMuch, &node.span, message, "let one program or one webhook tell the others");
    }
    let entries = entries.iter().enumerate().take(MOST);
    entries.filter_map(|(n, node)| entry(cx, node, &format!("notify[{n}]"))).collect()
}

fn entry(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<Notify> {
    let fields = Fields::of(cx, node, path, &ENTRY);
    let help = "write how: command: [PROGRAM, \"{summary}\"], webhook: { url: ..., secret: NAME }, or desktop: true";
    let Some((key, to)) = fields.one_of(cx, &["command", "webhook", "desktop"], help) else {
        if !fields.entries().is_empty() {
            let message = format!("`{path}` names nobody to tell");
            cx.problems.add(Code::MissingKey, &node.span, message, help);
        }
        return None;
    };
    if let (true, Some(node)) = (key.text != "command", fields.get("inherit_env")) {
        let message = format!("`{}` is for programs", fields.child("inherit_env"));
        cx.problems.add(Code::Contradiction, &node.span, message, "take it out: nothing else inherits variables");
    }
    let to = match key.text.as_str() {
        "command" => command(cx, &fields, to),
        "desktop" => desktop(cx, &fields.child("desktop"), to),
        _ => webhook(cx, to, &fields.child("webhook")),
    };
    let hour = Duration::from_secs(3600);
    let after = fields.duration(cx, "after", Duration::ZERO..=hour, Duration::ZERO);
    let quiet = fields.get("quiet_hours").map(|node| quiet_hours(cx, node, &fields.child("quiet_hours")));
    // Where it cannot be read there is a problem, and no configuration.
    Some(Notify { to: to?, after, quiet: quiet.flatten() })
}

fn command(cx: &mut Context<'_>, fields: &Fields<'_>, node: &Node) -> Option<NotifyTo> {
    let path = fields.child("command");
    let items = cx.list(node, &path);
    let Some((program, arguments)) = items.split_first() else {
        // What is no list has been said to be none.
        if matches!(&node.data, Data::List(_)) {
            let help = "name the program and its arguments: command: [notify-send, \"{summary}\"]";
            cx.problems.add(Code::Form, &node.span, format!("`{path}` names no program"), help);
        }
        return None;
    };
    let mut argv: Vec<_> = cx.program(program, &path).into_iter().collect();
    argv.extend(arguments.iter().filter_map(|node| cx.text(node, &path)).map(str::to_owned));
    let mut inherit: Vec<String> = Vec::new();
    for (node, name) in fields.texts(cx, "inherit_env") {
        if servers::may_inherit_plainly(cx, node, name, &inherit) {
            inherit.push(name.to_owned());
        }
    }
    Some(NotifyTo::Command { argv, inherit })
}

fn desktop(cx: &mut Context<'_>, path: &str, node: &Node) -> Option<NotifyTo> {
    if !matches!(&node.data, Data::Scalar { text, plain: true } if text == "true") {
        cx.wrong(node, path, "`true`");
        return None;
    }
    if cfg!(not(all(target_os = "linux", feature = "desktop"))) {
        let message = format!("`{path}`: this countersign cannot reach a desktop");
        let help =
            "it is for Linux, and built with the feature `desktop`; elsewhere: command: [PROGRAM, \"{summary}\"]";
        cx.problems.add(Code::Form, &node.span, message, help);
        return None;
    }
    Some(NotifyTo::Desktop)
}

fn webhook(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<NotifyTo> {
    let fields = Fields::of(cx, node, path, &WEBHOOK);
    let url = fields.need(cx, "url", "write where to post to: url: https://example.com/hook");
    let url = url.and_then(|node| servers::url(cx, node, &fields.child("url")));
    let help = "every message is signed: define a secret that only you and the receiver know, and name it here";
    let secret = fields.need(cx, "secret", help).and_then(|node| cx.secret(node, &fields.child("secret")));
    let mut arguments = false;
    for (node, word) in fields.texts(cx, "include") {
        match word {
            "arguments" => arguments = true,
            other => cx.no_choice(node, &fields.child("include"), other, ["arguments"].into_iter()),
        }
    }
    Some(NotifyTo::Webhook { url: url?, secret: secret?, arguments })
}

fn quiet_hours(cx: &mut Context<'_>, node: &Node, path: &str) -> Option<QuietHours> {
    let fields = Fields::of(cx, node, path, &QUIET);
    let help = "write them as HH:MM-HH:MM: hours: 22:00-07:00";
    let hours = fields.need(cx, "hours", help)?;
    let zone = fields.need(cx, "zone", "name the zone that they are in: zone: Europe/Berlin")?;
    let zone = super::scopes::zone(cx, zone, &fields.child("zone"));
    let path = fields.child("hours");
    let text = cx.text(hours, &path)?;
    let read = text.split_once('-').and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
    let Some((from, to)) = read.filter(|(from, to)| from != to) else {
        let message = format!("`{path}` is {}, which are no hours of a day", quote(text));
        cx.problems.add(Code::Form, &hours.span, message, help);
        return None;
    };
    let high_too = fields.choice(cx, "high", &[("loud", false), ("silent", true)]).unwrap_or(false);
    Some(QuietHours { from, to, zone: zone?, high_too })
}

/// `07:30`: minutes after midnight.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two = |text: &str| Some(text).filter(|text| text.len() == 2)?.parse::<u16>().ok();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}
