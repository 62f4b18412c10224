//! What the daemon answers, in lines of words.

use super::talk::{Question, Stage, Talk};
use jiff::tz::TimeZone;

use crate::call::Tier;
use crate::console::{describe, tabs};
use crate::control::wire::{
    Command, Daemon, Excerpt, GrantBounds, GrantView, HoldState, HoldView, Notice, RuleView, RulingKind, SessionView,
};

/// The daemon, where there is something to know about it.
pub fn daemon(daemon: &Daemon) -> String {
    let servers: Vec<_> =
        daemon.servers.iter().map(|server| format!("{} in {}", server.name, server.environment.name)).collect();
    let unsigned = if daemon.unsigned_rulings {
        " Rulings without a signature count: any process of your user can approve."
    } else {
        ""
    };
    let open = if daemon.unsafe_default_allow {
        " Policies may allow by default: what no rule denies or holds may pass."
    } else {
        ""
    };
    let error =
        daemon.policy_error.as_ref().map(|error| format!(" The new policy was refused: {error}.")).unwrap_or_default();
    let warned: String = daemon.policy_warnings.iter().map(|line| format!(" Policy warning: {line}.")).collect();
    let frozen = daemon.frozen.as_ref().map(|_| format!(" {}", frozen(daemon))).unwrap_or_default();
    let tools = describe::tools(daemon).map(|tools| format!(" {tools}.")).unwrap_or_default();
    let sign_ins: String =
        describe::not_signed_in(daemon).map(|(server, words)| format!(" Server {}: {words}.", server.name)).collect();
    let cut_off = describe::cut_off(daemon).map(|words| format!(" {words}")).unwrap_or_default();
    let contradicted: String = super::look::contradicted(daemon).iter().map(|line| format!(" {line}")).collect();
    format!(
        "Servers: {}. {} rules.{unsigned}{open}{error}{warned}{contradicted}{tools}{sign_ins}{cut_off}{frozen}",
        servers.join(", "),
        daemon.rules
    )
}

pub fn frozen(daemon: &Daemon) -> String {
    match &daemon.frozen {
        Some(frozen) => {
            let reason = frozen.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("Frozen by {}{reason}. Everything that is not a read is held.", frozen.by)
        }
        None => "Not frozen.".to_owned(),
    }
}

/// What a ruling came to.
pub fn ruled(hold: &HoldView, kind: RulingKind) -> String {
    let id = &hold.id;
    match (kind, &hold.state) {
        (RulingKind::Reject, _) => format!("Rejected {id}. Nothing is sent; the agent reads the reason."),
        (RulingKind::Approve, state) if state.is_pending() => {
            format!("Your approval of {id} counts: {}. It still waits.", describe::approvals(&hold.approvals))
        }
        (RulingKind::Approve, HoldState::Ticket { .. }) => {
            format!("Approved {id} for one identical retry: its client is gone.")
        }
        (RulingKind::Approve, HoldState::Approved { leaves_at: Some(_), .. }) => {
            format!("Approved {id}. It is sent in a few seconds: type undo to take it back.")
        }
        (RulingKind::Approve, _) => format!("Approved {id}. The call is released."),
    }
}

/// What a claim or a take-back came to.
pub fn shown(hold: &HoldView) -> String {
    match &hold.claimed {
        Some(claimed) if hold.state.is_pending() => format!("{} is claimed by {}.", hold.id, claimed.by),
        Some(_) | None if hold.state.is_pending() => {
            format!("{} waits for a ruling and is claimed by nobody.", hold.id)
        }
        Some(_) | None => format!("{} does not wait any more.", hold.id),
    }
}

/// A draft of a grant: it is read out, and the question is whether to make it.
pub(super) fn drafted(talk: &mut Talk, question: Question, bounds: GrantBounds, text: String) {
    let asked = matches!(&talk.stage, Stage::Ruling(id) if *id == question.id);
    let Some(entry) = talk.holds.get(&question.id).filter(|_| asked).cloned() else {
        return talk.say("The call of the grant is not asked about any more.");
    };
    if entry.risk.tier == Tier::High || !entry.view.grantable {
        return talk.say("No grant is made of this call: its tier is high, or the rule lets none be made.");
    }
    if talk.guard.asks().is_some() {
        return talk.say("No grant is made while approvals have to be typed: approve this call by itself.");
    }
    talk.say("The grant:");
    text.lines().for_each(|line| talk.say(format!("Grant: {line}")));
    let (id, digest) = (question.id.clone(), question.digest);
    let command = Command::Grant { seq: 0, id, digest, bounds, grant: text, reason: None, signed: None };
    talk.stage = Stage::Grant { question, command: Box::new(command) };
}

/// The other answers, said as they are.
pub(super) fn answered(talk: &mut Talk, notice: Notice) {
    let (seq, lines) = match notice {
        Notice::Frozen { seq, daemon } => {
            let words = frozen(&daemon);
            talk.daemon = Some(daemon);
            (seq, vec![words])
        }
        Notice::Sessions { seq, sessions } if talk.sessions_came(seq, &sessions) => return,
        Notice::Sessions { seq, sessions } => {
            (seq, or_none(sessions.iter().map(session).collect(), "No session is open."))
        }
        Notice::Grants { seq, grants } => {
            (seq, or_none(grants.iter().flat_map(grant).collect(), "No grant is in force."))
        }
        Notice::Records { seq, records, chain } => return talk.records_came(seq, records, chain),
        Notice::Rules { seq, rules } => {
            let zone = talk.zone.clone();
            let lines = rules.iter().map(|rule| self::rule(rule, &zone)).collect();
            talk.rules = rules;
            (seq, or_none(lines, "No rule has decided anything in the last day."))
        }
        Notice::Explained { seq, excerpts } => {
            (seq, or_none(excerpts.iter().flat_map(excerpt).collect(), "The daemon has no text of these rules."))
        }
        // Nothing of this is asked for here.
        Notice::Welcome { .. }
        | Notice::Ping {}
        | Notice::Listed { .. }
        | Notice::Tools { .. }
        | Notice::Tool { .. }
        | Notice::RuledBatch { .. }
        | Notice::Snapshot { .. }
        | Notice::Hold { .. }
        | Notice::Shown { .. }
        | Notice::Ruled { .. }
        | Notice::Draft { .. }
        | Notice::Daemon { .. }
        | Notice::Failed { .. } => return,
    };
    if talk.asked.remove(&seq).is_some() {
        lines.iter().for_each(|line| talk.say(line));
    }
}

fn or_none(lines: Vec<String>, none: &str) -> Vec<String> {
    if lines.is_empty() { vec![none.to_owned()] } else { lines }
}

fn session(session: &SessionView) -> String {
    let paused = session.paused.as_ref().map(|paused| format!(", paused by {}", paused.by)).unwrap_or_default();
    format!(
        "Session {}: {} on {} in {}, since {}, {} calls, {} allowed, {} held, {} denied{paused}.",
        session.session,
        session.principal,
        session.server,
        session.environment.name,
        session.since,
        session.calls,
        session.allowed,
        session.held,
        session.denied
    )
}

fn grant(grant: &GrantView) -> Vec<String> {
    let head = format!(
        "Grant {}: {} on {} for {}, {} of {} used, until {}, made by {} from hold {}.",
        grant.id,
        grant.operation,
        grant.server,
        grant.principal,
        grant.used,
        grant.uses,
        grant.until,
        grant.by,
        grant.hold
    );
    std::iter::once(head).chain(grant.text.lines().map(|line| format!("Grant {}: {line}", grant.id))).collect()
}

fn rule(rule: &RuleView, zone: &TimeZone) -> String {
    let place =
        rule.file.as_ref().map(|file| format!(" at {file} line {}", rule.line.unwrap_or(0))).unwrap_or_default();
    let RuleView { hits, holds, approved, rejected, lapsed, .. } = rule;
    let median = rule.median_ms.map(|_| format!(", median {} to a ruling", describe::median(rule.median_ms)));
    let last = rule.last.as_ref().map(|at| format!(" Last at {}.", tabs::day_and_clock(at, zone)));
    let hint = rule.hint.as_ref().map(|hint| format!(" {hint}.")).unwrap_or_default();
    let watched = describe::watched(rule).map(|words| format!(" It was {words}.")).unwrap_or_default();
    format!(
        "Rule {}{place}: {hits} decisions in the last day, {holds} holds, {approved} approved, {rejected} rejected, \
         {lapsed} without a ruling{}.{}{hint}{watched}",
        rule.rule,
        median.unwrap_or_default(),
        last.unwrap_or_default()
    )
}

fn excerpt(excerpt: &Excerpt) -> Vec<String> {
    let mut lines = vec![format!("Rule {} in {}:", excerpt.rule, excerpt.file)];
    lines.extend(excerpt.lines.iter().map(|line| {
        let held = if line.held { " (held)" } else { "" };
        format!("Line {}{held}: {}", line.number, tabs::untabbed(&line.text))
    }));
    lines
}
