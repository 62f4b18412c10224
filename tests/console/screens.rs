//! The screens, as text, at the two sizes that everything is designed for.

use countersign::call::{Class, Confirmation, ConfirmedBy, EnvironmentSource, Pin};
use countersign::console::app::{Effect, Link, What};
use countersign::console::sign::Signing;
use countersign::console::tabs;
use countersign::control::wire::{Approvals, Claimed, Command, Daemon, Failure, Frozen, HoldState, HoldView, Notice};
use crossterm::event::KeyCode;
use ratatui::style::Modifier;

use crate::support::{
    Desk, before, daemon, done, expired, gate, json, refund, rejected, retrying, sandbox, three, watched_rules,
};

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (120, 40);

fn busy() -> Vec<HoldView> {
    let mut holds = three();
    holds.push(done(sandbox("H7J9AAAAAAAA")));
    holds.push(rejected(refund("H7J4AAAAAAAA"), "wrong pi"));
    holds.push(expired(gate("H7J1AAAAAAAA")));
    holds
}

fn both(name: &str, screen: impl Fn(&mut Desk), holds: fn() -> Vec<HoldView>) {
    for size in [SMALL, LARGE] {
        let mut desk = Desk::new(size, holds());
        screen(&mut desk);
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), desk.screen());
    }
}

fn ask(desk: &mut Desk) {
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    desk.draw();
    desk.wait(1100);
}

#[test]
fn queue() {
    both("queue", |_| {}, busy);
}

#[test]
fn empty() {
    both("empty", |_| {}, Vec::new);
}

#[test]
fn detail() {
    both("detail", |desk| drop(desk.key(KeyCode::Enter)), busy);
}

#[test]
fn closed() {
    both("closed", |desk| drop(desk.key(KeyCode::Char('G'))), busy);
}

#[test]
fn approve_low() {
    both("approve_low", ask, || vec![sandbox("H7K5T6V7X8YZ")]);
}

#[test]
fn approve_medium() {
    both("approve_medium", ask, || vec![gate("H7K3M5N8P9RS")]);
}

#[test]
fn approve_high() {
    let typing = |desk: &mut Desk| {
        ask(desk);
        desk.letters("1250");
    };
    both("approve_high", typing, three);
    let ready = |desk: &mut Desk| {
        ask(desk);
        desk.letters("125000");
        desk.key(KeyCode::Tab);
    };
    both("approve_high_ready", ready, three);
}

#[test]
fn reject() {
    let typing = |desk: &mut Desk| {
        desk.key(KeyCode::Char('r'));
        desk.key(KeyCode::Char('2'));
        desk.letters(" It was cus_9.");
    };
    both("reject", typing, three);
}

#[test]
fn signature_required() {
    let holds = || vec![HoldView { signature_required: true, ..refund("H7K2QW0A1B2C") }];
    both("signature_required", ask, holds);
}

#[test]
fn lost_daemon() {
    let lost = |desk: &mut Desk| {
        desk.link(Link::Down { why: "the daemon closed the connection".to_owned() });
        desk.wait(3000);
    };
    both("lost_daemon", lost, three);
}

#[test]
fn refused_policy() {
    let refused = |desk: &mut Desk| {
        let policy_error = Some("policies/refunds.rego:9:1: rego_parse_error".to_owned());
        desk.news(Notice::Daemon { daemon: Daemon { policy_error, ..daemon() } });
    };
    both("refused_policy", refused, three);
}

#[test]
fn help() {
    both("help", |desk| drop(desk.key(KeyCode::Char('?'))), three);
}

#[test]
fn history() {
    both("history", |desk| drop(desk.key_and_answers(KeyCode::Char('2'))), three);
}

#[test]
fn sessions() {
    both("sessions", |desk| drop(desk.key_and_answers(KeyCode::Char('3'))), three);
}

#[test]
fn policy() {
    both("policy", |desk| drop(desk.key_and_answers(KeyCode::Char('4'))), three);
}

/// Rules that are only watched say what they would have done.
#[test]
fn policy_watched() {
    let screen = |desk: &mut Desk| {
        let asked = desk.key(KeyCode::Char('4'));
        let Some(Effect::Send { command: Command::Rules { seq }, .. }) = asked.first() else { panic!("{asked:?}") };
        desk.news(Notice::Rules { seq: *seq, rules: watched_rules() });
        desk.key(KeyCode::Char('j'));
        desk.key(KeyCode::Char('j'));
    };
    both("policy_watched", screen, three);
}

/// A call that asks for less of what was refused just before is told.
#[test]
fn session_retrying() {
    let screen = |desk: &mut Desk| {
        desk.key(KeyCode::Enter);
        for _ in 0..4 {
            for effect in desk.key(KeyCode::Char('v')) {
                if let Effect::Send { command: Command::Sessions { seq }, .. } = effect {
                    desk.news(Notice::Sessions { seq, sessions: retrying() });
                }
            }
        }
    };
    both("session_retrying", screen, three);
}

/// Ten quick approvals, and the next one is typed: the box says why.
#[test]
fn attention() {
    let screen = |desk: &mut Desk| {
        for n in 0..10 {
            let id = format!("0000000000{n:02}");
            desk.hold(sandbox(&id));
            desk.key(KeyCode::Char('g'));
            desk.draw();
            desk.wait(500);
            desk.press(KeyCode::Char('a'));
            desk.draw();
            desk.wait(500);
            let sent = crate::support::sent(&desk.press(KeyCode::Char('y')));
            let state = HoldState::Approved { by: "ana".into(), at: "2026-11-21T14:07:31Z".into(), leaves_at: None };
            let hold = Box::new(HoldView { state, ..sandbox(&id) });
            desk.news(Notice::Ruled { seq: sent[0].changes().unwrap(), hold });
        }
        desk.hold(sandbox("H7K5T6V7X8YZ"));
        desk.key(KeyCode::Char('g'));
        ask(desk);
        desk.letters("provision");
    };
    both("attention", screen, Vec::new);
}

fn compared() -> Vec<HoldView> {
    vec![HoldView { before: Some(before()), ..refund("H7K2QW0A1B2C") }]
}

/// `v` so many times, with the daemon's answers.
fn views(times: usize) -> impl Fn(&mut Desk) {
    move |desk| (0..times).for_each(|_| drop(desk.key_and_answers(KeyCode::Char('v'))))
}

#[test]
fn raw() {
    both("raw", views(1), compared);
}

#[test]
fn diff() {
    both("diff", views(2), compared);
}

#[test]
fn rule_excerpt() {
    both("rule", views(3), compared);
}

#[test]
fn session_of_a_hold() {
    both("session", views(4), compared);
}

#[test]
fn result_of_a_hold() {
    both("result", views(5), compared);
}

#[test]
fn new_holds_and_a_group() {
    let screen = |desk: &mut Desk| {
        desk.hold(refund("H7K9QW0A1B2C"));
        desk.hold(sandbox("H7KATTTTTTTT"));
    };
    both("group", screen, || {
        ('1'..='4').map(|n| sandbox(&format!("H7K5T6V7X8Y{n}"))).chain([gate("H7K3M5N8P9RS")]).collect()
    });
}

#[test]
fn filtered() {
    let screen = |desk: &mut Desk| {
        desk.key(KeyCode::Char('/'));
        desk.letters("env:live risk:>=high");
        desk.key(KeyCode::Enter);
    };
    both("filtered", screen, busy);
}

#[test]
fn frozen_and_claimed() {
    let screen = |desk: &mut Desk| {
        let frozen = Frozen { by: "ben".into(), at: "2026-11-21T14:02:00Z".into(), reason: Some("incident 7".into()) };
        let operators = vec!["ana".to_owned(), "ben".to_owned()];
        desk.news(Notice::Daemon { daemon: Daemon { frozen: Some(frozen), operators, consoles: 2, ..daemon() } });
        let claimed =
            Claimed { by: "ben".into(), at: "2026-11-21T14:07:00Z".into(), until: "2026-11-21T14:08:00Z".into() };
        let client_waits_until = Some("2026-11-21T14:09:23Z".to_owned());
        desk.hold(HoldView { claimed: Some(claimed), client_waits_until, ..refund("H7K2QW0A1B2C") });
    };
    both("frozen", screen, three);
}

#[test]
fn leaving() {
    let screen = |desk: &mut Desk| {
        let leaves_at = Some("2026-11-21T14:07:34Z".to_owned());
        let state = HoldState::Approved { by: "ana".into(), at: "2026-11-21T14:07:31Z".into(), leaves_at };
        desk.hold(HoldView { state, ..refund("H7K2QW0A1B2C") });
    };
    both("leaving", screen, three);
}

#[test]
fn freeze() {
    both("freeze", |desk| drop(desk.key(KeyCode::Char('!'))), three);
}

#[test]
fn grant() {
    let holds = || vec![HoldView { grantable: true, ..gate("H7K3M5N8P9RS") }];
    let wish = |desk: &mut Desk| {
        ask(desk);
        desk.key(KeyCode::Char('g'));
        desk.key(KeyCode::Down);
        desk.key(KeyCode::Char(' '));
    };
    both("grant_wish", wish, holds);
    let draft = |desk: &mut Desk| {
        wish(desk);
        desk.key_and_answers(KeyCode::Enter);
        desk.draw();
        desk.wait(1100);
    };
    both("grant_draft", draft, holds);
}

fn three_alike() -> Vec<HoldView> {
    let alike = ["H7K5T6V7X8YZ", "H7K6T6V7X8YZ", "H7K7T6V7X8YZ"].iter().enumerate();
    let hold = |(n, id): (usize, &&str)| HoldView {
        arguments: json(&format!(r#"{{"customer":"cust-{}","plan":"plan-pro"}}"#, 118 + n)),
        ..sandbox(id)
    };
    alike.map(hold).collect()
}

#[test]
fn batch() {
    let screen = |desk: &mut Desk| {
        desk.news(Notice::Daemon { daemon: Daemon { batches: true, ..daemon() } });
        desk.key(KeyCode::Char(' '));
        desk.key(KeyCode::Char('a'));
        desk.draw();
        desk.wait(1100);
    };
    both("batch", screen, three_alike);
    // One of them has a client that may give up before the others.
    let waiting = || {
        let mut holds = three_alike();
        holds[1].client_waits_until = Some("2026-11-21T14:09:22Z".to_owned());
        holds[2].client_waits_until = Some("2026-11-21T14:11:00Z".to_owned());
        holds
    };
    both("batch_clocks", screen, waiting);
}

#[test]
fn palette() {
    let screen = |desk: &mut Desk| {
        desk.key(KeyCode::Char(':'));
        desk.letters("rej");
    };
    both("palette", screen, three);
}

#[test]
fn approve_signed() {
    let holds = || vec![HoldView { signature_required: true, ..gate("H7K3M5N8P9RS") }];
    let screen = |desk: &mut Desk| {
        let key = "/home/ana/.ssh/countersign".into();
        desk.app.signing = Some(Signing { operator: "ana".to_owned(), key });
        ask(desk);
    };
    both("approve_signed", screen, holds);
}

#[test]
fn approve_with_a_note() {
    let screen = |desk: &mut Desk| {
        ask(desk);
        desk.key(KeyCode::Tab);
        desk.letters("FIN-1182");
    };
    both("approve_note", screen, || vec![gate("H7K3M5N8P9RS")]);
}

#[test]
fn approve_one_of_two() {
    let approvals = || Approvals { need: 2, have: vec!["ben (account root)".to_owned()] };
    let client_waits_until = || Some("2026-11-21T14:09:23Z".to_owned());
    let holds = move || {
        vec![HoldView { approvals: approvals(), client_waits_until: client_waits_until(), ..gate("H7K3M5N8P9RS") }]
    };
    for size in [SMALL, LARGE] {
        let mut desk = Desk::new(size, holds());
        ask(&mut desk);
        insta::assert_snapshot!(format!("approve_one_of_two_{}x{}", size.0, size.1), desk.screen());
    }
}

#[test]
fn stops() {
    let on = |keys: &'static str| {
        move |desk: &mut Desk| {
            desk.key_and_answers(KeyCode::Char('3'));
            keys.chars().for_each(|key| drop(desk.key(KeyCode::Char(key))));
        }
    };
    both("pause", on("P"), three);
    both("end", on("X"), three);
    both("revoke", on("Gx"), three);
}

#[test]
fn take_over() {
    let holds = || {
        let (at, until) = ("2026-11-21T14:07:00Z".to_owned(), "2026-11-21T14:08:20Z".to_owned());
        vec![HoldView { claimed: Some(Claimed { by: "ben (account root)".into(), at, until }), ..gate("H7K3M5N8P9RS") }]
    };
    both("take_over", |desk| drop(desk.key(KeyCode::Char('c'))), holds);
}

#[test]
fn contradicted_environment() {
    let screen = |desk: &mut Desk| {
        let mut daemon = daemon();
        daemon.servers[0].environment.conflict = Some("the server's answer says sandbox".to_owned());
        desk.news(Notice::Daemon { daemon });
    };
    both("contradicted", screen, three);
}

#[test]
fn a_window_that_is_too_small() {
    let mut desk = Desk::new((59, 15), three());
    insta::assert_snapshot!("too_small_59x15", desk.screen());
}

/// An error of the daemon's has lines, and a line of a policy begins with tabs: both are laid out, and nothing else is.
#[test]
fn an_error_and_a_policy_are_laid_out() {
    let mut desk = Desk::new(LARGE, compared());
    let asked = desk.key(KeyCode::Char('4'));
    let seq = asked.iter().find_map(|effect| match effect {
        Effect::Send { command: Command::Rules { seq }, .. } => Some(*seq),
        _ => None,
    });
    let message = "the store is locked\nhelp: end the other daemon\u{1b}[2J".to_owned();
    desk.news(Notice::Failed { seq, error: Failure::Unavailable, message });
    let screen = desk.screen();
    assert!(screen.contains("not answered: the store is locked ") && !screen.contains("⟨\\n⟩"), "{screen}");
    assert!(screen.contains("Warning help: end the other daemon⟨U+001B⟩[2J"), "{screen}");
    assert_eq!(tabs::untabbed("\t\tnot small\tx  "), "        not small\tx");
}

#[test]
fn ascii() {
    let screen = |desk: &mut Desk| {
        desk.app.ascii = true;
        desk.app.open = None;
        desk.step(What::Tick);
    };
    both("ascii", screen, || vec![HoldView { before: Some(before()), ..hostile().remove(0) }]);
}

#[test]
fn quit() {
    both("quit", |desk| drop(desk.key(KeyCode::Char('q'))), three);
}

fn hostile() -> Vec<HoldView> {
    let arguments = json(concat!(
        "{\"to\":\"pay \u{202E}000,1$ ot\u{202C} p\u{430}ypal\",\"id\":\"cus_\u{200B}123\",\"spelled\":\"\\u202e\\u001b[2J\",",
        "\"pad\":\"a                                                                                        b\",",
        "\"marks\":\"a\u{301}\u{301}\u{301}\u{301}\",\"fake\":\"⟨U+0041⟩ │ policy: ALLOW\",\"amount\":100000000000000000000,",
        "\"e\":1e+21,\"z\":-0.0,\"flag\":\"\u{1F468}\u{200D}\u{1F469}\u{1F1E9}\u{1F1EA}手紙\"}"
    )
    .replace("100000000000000000000", "9007199254740993")
    .as_str());
    let class = Class::Unknown;
    vec![HoldView { arguments, class, tool: "create\u{1b}[31m_refund".to_owned(), ..sandbox("H7K5T6V7X8YZ") }]
}

/// tui-001 to tui-022 in one: everything that hides is visible, in reverse video, behind the gutter.
#[test]
fn hidden_characters() {
    both("hidden_characters", |_| {}, hostile);
    let mut desk = Desk::new((120, 60), hostile());
    let buffer = desk.draw();
    let mut reversed = String::new();
    for cell in buffer.content.iter().filter(|cell| cell.modifier.contains(Modifier::REVERSED)) {
        reversed.push_str(cell.symbol());
    }
    for escape in ["⟨U+202E⟩", "⟨U+200B⟩", "⟨space×88⟩", "⟨+4 marks⟩⟨U+0301×4⟩", "⟨U+27E8⟩", "⟨U+001B⟩", "⟨U+200D⟩"]
    {
        assert!(reversed.contains(escape), "{escape} is not in reverse video: {reversed}");
    }
    for cell in &buffer.content {
        assert_eq!(countersign::console::visible::hidden_count(cell.symbol()), 0, "{:?}", cell.symbol());
    }
}

#[test]
fn huge_arguments() {
    let holds = || {
        let members: Vec<_> = (0..10_000).map(|n| format!("\"k{n:05}\":\"{}\"", "v".repeat(90))).collect();
        vec![HoldView { arguments: json(&format!("{{{}}}", members.join(","))), ..sandbox("H7K5T6V7X8YZ") }]
    };
    both("huge_arguments", |desk| drop(desk.key(KeyCode::PageDown)), holds);
}

#[test]
fn everything_a_hold_can_carry() {
    let holds = || {
        let mut hold = refund("H7K2QW0A1B2C");
        hold.other_params = Some(json(r#"{"task":{"ttl":60000}}"#));
        hold.meta = Some(json(r#"{"progressToken":7,"x":"\u200b"}"#));
        hold.approvals.need = 2;
        hold.approvals.have = vec!["ben".to_owned()];
        hold.environment.name = "prod-eu".to_owned();
        hold.environment.verified = false;
        hold.environment.conflict = Some("the key says test".to_owned());
        hold.operation = "refunds.create".to_owned();
        vec![hold]
    };
    both("everything", |desk| drop(desk.key(KeyCode::Enter)), holds);
}

/// Every badge is a word in brackets, and production looks like nothing else.
#[test]
fn production_looks_like_nothing_else() {
    let mut desk = Desk::new(SMALL, three());
    let buffer = desk.draw();
    let style_of = |badge: &str| {
        (0..buffer.area.height).find_map(|y| {
            let row: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
            let at = row.find(badge)?;
            let x = u16::try_from(row[..at].chars().count()).unwrap();
            Some((buffer[(x, y)].fg, buffer[(x, y)].modifier))
        })
    };
    let (live, test) = (style_of("[LIVE]").unwrap(), style_of("[TEST]").unwrap());
    assert!(live.1.contains(Modifier::REVERSED | Modifier::BOLD));
    assert!(!test.1.contains(Modifier::REVERSED));
    assert_ne!(live.0, test.0);
}

/// Nothing breaks at any size.
#[test]
fn every_size_draws() {
    for width in (1..=200).step_by(7) {
        for height in (1..=70).step_by(5) {
            for code in ['a', 'r', '?', 'q', 'j'] {
                let mut desk = Desk::new((width, height), busy());
                desk.key(KeyCode::Char(code));
                desk.key(KeyCode::Enter);
                desk.draw();
            }
        }
    }
}

/// What an operator has to look at beside the holds: in the header, and in the detail of a hold.
#[test]
fn tools_that_are_not_as_pinned_are_told() {
    let mut desk = Desk::new((120, 40), vec![HoldView { pin: Pin::Changed, ..refund("H7K2QW0A1B2C") }]);
    assert!(!desk.screen().contains("TOOLS"));
    let mut now = daemon();
    now.servers[0].tools_changed = 1;
    now.servers[0].tools_unpinned = 2;
    desk.news(Notice::Daemon { daemon: now });
    let screen = desk.screen();
    assert!(screen.contains("TOOLS: 1 CHANGED, 2 NEW"), "{screen}");
    assert!(screen.contains("CHANGED since it was pinned"), "{screen}");
}

/// A server that works elsewhere is said above everything else, and nothing of its conflict is drawn raw.
#[test]
fn a_contradicted_server_is_said_at_the_top() {
    let mut desk = Desk::new((200, 40), three());
    let mut contradicted = daemon();
    contradicted.servers[0].environment.conflict =
        Some("the answer to get\u{202e}x is from a test environment".to_owned());
    contradicted.servers.push(contradicted.servers[0].clone());
    desk.news(Notice::Daemon { daemon: contradicted });
    let screen = desk.screen();
    assert!(
        screen.contains("SERVER stripe works elsewhere than in production: the answer to get⟨U+202E⟩x is"),
        "{screen}"
    );
    assert!(screen.contains("And 1 other server"), "{screen}");
}

/// Whose word it is that somebody agreed, and what an environment rests on.
#[test]
fn words_of_agreement_and_proof_say_whose_they_are() {
    let shown = |by, issued, source, verified| {
        let mut hold = refund("H7K2QW0A1B2C");
        hold.confirmations = vec![Confirmation { at: "/human_confirmation".to_owned(), by, issued }];
        hold.environment.source = source;
        hold.environment.verified = verified;
        let mut desk = Desk::new((200, 40), vec![hold]);
        desk.key(KeyCode::Enter);
        desk.screen()
    };
    let (vendor, agent) = (ConfirmedBy::Vendor, ConfirmedBy::Agent);
    for (by, issued, source, verified, words) in [
        (
            vendor,
            true,
            EnvironmentSource::Probe,
            true,
            ["a token that the server gave out", "the server's answer proves it"],
        ),
        (vendor, false, EnvironmentSource::Key, true, ["which the server has not given", "the key proves it"]),
        (agent, false, EnvironmentSource::Config, false, ["the agent's own word", "declared, the key says nothing"]),
    ] {
        let screen = shown(by, issued, source, verified);
        assert!(words.iter().all(|words| screen.contains(words)), "{words:?}\n{screen}");
    }
}
