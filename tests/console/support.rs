//! Holds to look at, and an app whose clock the test owns.

use std::time::Duration;

use countersign::call::{
    Class, ClientInfo, Digest, Environment, EnvironmentSource, Money, Outcome, Pin, RuleHit, Tier, Transport,
};
use countersign::console::app::{App, Effect, Event, Link, Now, What, update};
use countersign::console::dialog::Dialog;
use countersign::console::view;
use countersign::control::wire::{
    Approvals, Before, CallLine, ChainView, Command, Confirm, Daemon, Excerpt, ExcerptLine, Frozen, GRANT_SCHEMA,
    GrantView, HOLD_SCHEMA, HoldState, HoldView, Notice, RecordView, RuleView, RulingKind, SESSION_SCHEMA, ServerView,
    SessionView,
};
use countersign::json::{JsonText, Rules};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

/// The time at which every test starts.
pub const START: &str = "2026-11-21T14:07:31Z";

pub fn json(text: &str) -> JsonText {
    JsonText::parse(text, Rules::CLIENT).expect("a test writes strict JSON")
}

/// The refund that everybody talks about: tier high, production, the amount has to be typed.
pub fn refund(id: &str) -> HoldView {
    let arguments =
        json(r#"{"payment_intent":"pi_3PqLx2eZvKYlo2C1k8Yt","amount":125000,"reason":"requested_by_customer"}"#);
    HoldView {
        schema: HOLD_SCHEMA.to_owned(),
        id: id.parse().expect("twelve letters"),
        state: HoldState::Pending,
        server: "stripe".to_owned(),
        environment: Environment {
            name: "production".to_owned(),
            source: EnvironmentSource::Key,
            verified: true,
            conflict: None,
            accounts: Vec::new(),
        },
        production: true,
        method: "tools/call".to_owned(),
        tool: "create_refund".to_owned(),
        definition: Some(Digest::of_bytes(b"definition")),
        pin: Pin::Match,
        operation: "create_refund".to_owned(),
        class: Class::Financial,
        reversible: Some(false),
        money: Some(Money {
            amount: Some("125000".to_owned()),
            unit: "minor".to_owned(),
            currency: None,
            absent: Some("full".to_owned()),
        }),
        magnitude: None,
        unmeasured: false,
        reach: None,
        targets: vec!["pi_3PqLx2eZvKYlo2C1k8Yt".to_owned()],
        effect: Some("Returns money to the payer.".to_owned()),
        confirmations: Vec::new(),
        digest: Digest::of_bytes(format!("{id}{}", arguments.as_str()).as_bytes()),
        arguments,
        other_params: None,
        meta: None,
        rule: "refunds.over_limit".to_owned(),
        reason: "refunds over 100.00 need a person".to_owned(),
        policy_version: "9c41e0b7".to_owned(),
        rules: vec![RuleHit {
            rule: "refunds.over_limit".to_owned(),
            reason: "refunds over 100.00 need a person".to_owned(),
            policy: "refunds".to_owned(),
            file: "policies/refunds.rego".to_owned(),
            line: 9,
            details: None,
            would: None,
        }],
        tier: Tier::High,
        confirm: vec![Confirm { pointer: "/arguments/amount".to_owned(), value: "125000".to_owned() }],
        principal: "claude-code".to_owned(),
        client: ClientInfo {
            name: Some("claude-code".to_owned()),
            version: Some("2.1.319".to_owned()),
            protocol: Some("2025-11-25".to_owned()),
            transport: Transport::Stdio,
            uid: Some(1000),
            pid: Some(4411),
            cwd: None,
            peer: None,
        },
        session: "s-19".to_owned(),
        created_at: "2026-11-21T14:05:12Z".to_owned(),
        expires_at: "2026-11-21T14:10:12Z".to_owned(),
        approvals: Approvals { need: 1, have: Vec::new() },
        signature_required: false,
        taken_back: 0,
        waiting: 1,
        same_as: Vec::new(),
        claimed: None,
        client_waits_until: None,
        grantable: false,
        before: None,
    }
}

/// Production, and can be undone: tier medium.
pub fn gate(id: &str) -> HoldView {
    let arguments = json(r#"{"id":"checkout_v2","rollout":100}"#);
    HoldView {
        server: "statsig".to_owned(),
        tool: "update_gate".to_owned(),
        operation: "update_gate".to_owned(),
        class: Class::Write,
        reversible: Some(true),
        money: None,
        targets: vec!["checkout_v2".to_owned()],
        effect: None,
        confirmations: Vec::new(),
        digest: Digest::of_bytes(format!("{id}{}", arguments.as_str()).as_bytes()),
        arguments,
        rule: "rollouts.full".to_owned(),
        reason: "a full rollout needs a person".to_owned(),
        rules: Vec::new(),
        tier: Tier::Medium,
        confirm: Vec::new(),
        created_at: "2026-11-21T14:06:41Z".to_owned(),
        expires_at: "2026-11-21T14:11:41Z".to_owned(),
        ..refund(id)
    }
}

/// A sandbox: tier low.
pub fn sandbox(id: &str) -> HoldView {
    let arguments = json(r#"{"customer":"cust-118","plan":"plan-pro"}"#);
    HoldView {
        server: "stigg".to_owned(),
        environment: Environment {
            name: "sandbox".to_owned(),
            source: EnvironmentSource::Config,
            verified: false,
            conflict: None,
            accounts: Vec::new(),
        },
        production: false,
        tool: "provision_subscription".to_owned(),
        operation: "provision_subscription".to_owned(),
        targets: vec!["cust-118".to_owned()],
        digest: Digest::of_bytes(format!("{id}{}", arguments.as_str()).as_bytes()),
        arguments,
        rule: "writes.sandbox".to_owned(),
        reason: "writes are looked at".to_owned(),
        tier: Tier::Low,
        created_at: "2026-11-21T14:07:01Z".to_owned(),
        expires_at: "2026-11-21T14:12:01Z".to_owned(),
        ..gate(id)
    }
}

pub fn rejected(hold: HoldView, reason: &str) -> HoldView {
    let state =
        HoldState::Rejected { by: "ben".to_owned(), at: "2026-11-21T14:07:20Z".to_owned(), reason: reason.to_owned() };
    HoldView { state, ..hold }
}

pub fn expired(hold: HoldView) -> HoldView {
    let state = HoldState::Closed {
        outcome: Outcome::Expired,
        at: "2026-11-21T13:57:00Z".to_owned(),
        reason: "nobody ruled in time".to_owned(),
    };
    HoldView { state, ..hold }
}

pub fn done(hold: HoldView) -> HoldView {
    let state =
        HoldState::Done { by: "ana".to_owned(), at: "2026-11-21T14:01:00Z".to_owned(), result: "ok".to_owned() };
    HoldView { state, ..hold }
}

pub fn daemon() -> Daemon {
    let environment = refund("H7K2QW0A1B2C").environment;
    Daemon {
        version: "0.1.0".to_owned(),
        instance: Digest::of_bytes(b"record"),
        servers: vec![ServerView {
            name: "stripe".to_owned(),
            environment,
            production: true,
            sessions: 1,
            tools_changed: 0,
            tools_unpinned: 0,
            sign_in: None,
        }],
        policy_version: "9c41e0b7".to_owned(),
        rules: 31,
        policy_error: None,
        policy_warnings: Vec::new(),
        guessed: Vec::new(),
        consoles: 1,
        operators: Vec::new(),
        batches: false,
        frozen: None,
        unsigned_rulings: true,
        unsafe_default_allow: false,
        records: 1204,
    }
}

pub fn sessions() -> Vec<SessionView> {
    let refund = refund("H7K2QW0A1B2C");
    let line = |id: &str, at: &str, operation: &str, effect: &str, result: Option<&str>, rule: Option<&str>| CallLine {
        id: id.parse().unwrap(),
        at: format!("2026-11-21T14:{at}Z"),
        operation: operation.to_owned(),
        effect: effect.to_owned(),
        result: result.map(str::to_owned),
        rule: rule.map(str::to_owned),
        digest: refund.digest,
    };
    let first = SessionView {
        schema: SESSION_SCHEMA.to_owned(),
        session: "s-19".to_owned(),
        server: "stripe".to_owned(),
        environment: refund.environment.clone(),
        principal: "claude-code".to_owned(),
        client: refund.client.clone(),
        since: "2026-11-21T13:40:00Z".to_owned(),
        paused: None,
        calls: 12,
        allowed: 10,
        held: 1,
        denied: 1,
        in_flight: 0,
        last: vec![
            line("H7K2QW0A1B2C", "05:12", "create_refund", "hold", None, Some("refunds.over_limit")),
            line("H7K1AAAAAAAA", "04:11", "create_refund", "deny", None, Some("refunds.maximum")),
            line("H7K0AAAAAAAA", "03:40", "retrieve_balance", "allow", Some("ok"), None),
        ],
    };
    let paused =
        Frozen { by: "ben".to_owned(), at: "2026-11-21T14:01:00Z".to_owned(), reason: Some("a loop".to_owned()) };
    let second = SessionView {
        session: "s-20".to_owned(),
        server: "stigg".to_owned(),
        environment: sandbox("H7K5T6V7X8YZ").environment,
        principal: "codex".to_owned(),
        paused: Some(paused),
        calls: 3,
        allowed: 3,
        held: 0,
        denied: 0,
        last: Vec::new(),
        ..first.clone()
    };
    vec![first, second]
}

pub fn grants() -> Vec<GrantView> {
    vec![GrantView {
        schema: GRANT_SCHEMA.to_owned(),
        id: "G1A2B3C4D5E6".parse().unwrap(),
        hold: "H7J9AAAAAAAA".parse().unwrap(),
        server: "stigg".to_owned(),
        environment: sandbox("H7K5T6V7X8YZ").environment,
        principal: "codex".to_owned(),
        tool: "provision_subscription".to_owned(),
        operation: "provision_subscription".to_owned(),
        text: "principal is \"codex\"\nserver is \"stigg\"\ntool is \"provision_subscription\"\n/customer is any string\n/plan is \"plan-pro\"\nat most 5 calls until 14:20:00Z".to_owned(),
        by: "ana".to_owned(),
        at: "2026-11-21T14:00:00Z".to_owned(),
        until: "2026-11-21T14:20:00Z".to_owned(),
        uses: 5,
        used: 2,
    }]
}

pub fn record(seq: u64) -> RecordView {
    let words = ["held by refunds.over_limit", "ana approved it", "the server answered: ok"];
    let kind = ["held", "ruled", "completed"];
    let n = usize::try_from(seq % 3).unwrap();
    RecordView {
        seq,
        at: format!("2026-11-21T13:{:02}:{:02}Z", seq / 60 % 60, seq % 60),
        call: Some("H7J9AAAAAAAA".parse().unwrap()),
        kind: kind[n].to_owned(),
        words: words[n].to_owned(),
        server: Some("stripe".to_owned()),
        environment: Some("production".to_owned()),
        principal: Some("claude-code".to_owned()),
        session: Some("s-19".to_owned()),
        operation: Some("create_refund".to_owned()),
        rule: Some("refunds.over_limit".to_owned()),
        operator: (n == 1).then(|| "ana".to_owned()),
    }
}

pub fn records() -> Vec<RecordView> {
    (1175..=1204).rev().map(record).collect()
}

pub fn chain() -> ChainView {
    ChainView { records: 1204, head: Some(Digest::of_bytes(b"head")), intact: true }
}

pub fn rules() -> Vec<RuleView> {
    let rule = RuleView {
        rule: "writes.sandbox".to_owned(),
        policy: "writes".to_owned(),
        file: Some("policies/writes.rego".to_owned()),
        line: Some(12),
        hits: 61,
        holds: 43,
        approved: 43,
        rejected: 0,
        lapsed: 0,
        median_ms: Some(1600),
        last: Some("2026-11-21T14:07:01Z".to_owned()),
        hint: Some("43 of 43 approved, median 1.6 s: narrow it".to_owned()),
    };
    let refunds = RuleView {
        rule: "refunds.over_limit".to_owned(),
        policy: "refunds".to_owned(),
        file: Some("policies/refunds.rego".to_owned()),
        line: Some(9),
        hits: 4,
        holds: 4,
        approved: 2,
        rejected: 1,
        lapsed: 1,
        median_ms: Some(41_000),
        hint: None,
        ..rule.clone()
    };
    vec![rule, refunds]
}

pub fn excerpts() -> Vec<Excerpt> {
    let line = |number, text: &str, held| ExcerptLine { number, text: text.to_owned(), held };
    vec![Excerpt {
        rule: "refunds.over_limit".to_owned(),
        file: "policies/refunds.rego".to_owned(),
        lines: vec![
            line(9, "hold contains {\"rule\": \"refunds.over_limit\"} if {", true),
            line(10, "\tinput.operation.name == \"create_refund\"", true),
            line(11, "\tnot small", true),
            line(12, "}", false),
        ],
    }]
}

/// The approved call that a refund is compared with.
pub fn before() -> Before {
    Before {
        id: "H5Q0AAAAAAAA".parse().unwrap(),
        at: "2026-11-19T10:00:00Z".to_owned(),
        by: "ana".to_owned(),
        arguments: Some(json(
            r#"{"payment_intent":"pi_3PmAb1eZvKYlo2CqT77Qd","amount":4500,"reason":"requested_by_customer"}"#,
        )),
    }
}

/// What the daemon would answer to everything that is asked among these effects.
pub fn answers(effects: &[Effect]) -> Vec<Notice> {
    let answer = |effect: &Effect| {
        let Effect::Send { command, .. } = effect else { return None };
        match command.clone() {
            Command::Records { seq, .. } => Some(Notice::Records { seq, records: records(), chain: chain() }),
            Command::Sessions { seq } => Some(Notice::Sessions { seq, sessions: sessions() }),
            Command::Grants { seq } => Some(Notice::Grants { seq, grants: grants() }),
            Command::Rules { seq } => Some(Notice::Rules { seq, rules: rules() }),
            Command::Explain { seq, .. } => Some(Notice::Explained { seq, excerpts: excerpts() }),
            Command::DraftGrant { seq, .. } => Some(Notice::Draft { seq, text: grants()[0].text.clone() }),
            _ => None,
        }
    };
    effects.iter().filter_map(answer).collect()
}

/// The three that most screens show.
pub fn three() -> Vec<HoldView> {
    vec![refund("H7K2QW0A1B2C"), gate("H7K3M5N8P9RS"), sandbox("H7K5T6V7X8YZ")]
}

/// The app, its clock, and the screen that it draws on.
pub struct Desk {
    pub app: App,
    now: Duration,
    terminal: Terminal<TestBackend>,
    /// The number of the last question for records.
    pub asked: u64,
}

impl Desk {
    /// Connected, with these holds, drawn, and long enough ago that keys count.
    pub fn new(size: (u16, u16), holds: Vec<HoldView>) -> Desk {
        let mut desk = Desk::unconnected(size);
        desk.link(Link::Up { number: 1, operator: "ana".to_owned(), daemon: daemon() });
        let asked = desk.news(Notice::Snapshot { seq: None, holds, daemon: daemon() });
        for notice in answers(&asked) {
            desk.news(notice);
        }
        desk.draw();
        desk.wait(1000);
        desk
    }

    pub fn unconnected(size: (u16, u16)) -> Desk {
        let now = Duration::from_secs(10);
        let app = App::new(at(now), size, TimeZone::UTC);
        Desk { app, now, terminal: Terminal::new(TestBackend::new(size.0, size.1)).unwrap(), asked: 0 }
    }

    pub fn step(&mut self, what: What) -> Vec<Effect> {
        let effects = update(&mut self.app, Event { at: at(self.now), what });
        let records = |command: Command| if let Command::Records { seq, .. } = command { Some(seq) } else { None };
        self.asked = sent(&effects).into_iter().rev().find_map(records).unwrap_or(self.asked);
        effects
    }

    pub fn link(&mut self, link: Link) -> Vec<Effect> {
        self.step(What::Link(Box::new(link)))
    }

    pub fn news(&mut self, notice: Notice) -> Vec<Effect> {
        self.link(Link::Notice(notice))
    }

    pub fn hold(&mut self, hold: HoldView) -> Vec<Effect> {
        self.news(Notice::Hold { hold: Box::new(hold) })
    }

    /// Time passes, with the ticks of the loop.
    pub fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.step(What::Tick);
    }

    /// A key of somebody who looks, and the daemon's answers to what it asks for.
    pub fn key_and_answers(&mut self, code: KeyCode) -> Vec<Effect> {
        let effects = self.key(code);
        for notice in answers(&effects) {
            self.news(notice);
        }
        effects
    }

    /// As the loop does it: draw, then say so.
    pub fn draw(&mut self) -> Buffer {
        let app = &self.app;
        let frame = self.terminal.draw(|frame| view::render(app, frame)).unwrap();
        let (area, buffer) = (frame.area, frame.buffer.clone());
        let what = self.app.was_drawn(area);
        self.step(what);
        buffer
    }

    /// A key, without any time passing and without a new frame.
    pub fn press(&mut self, code: KeyCode) -> Vec<Effect> {
        self.step(What::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    pub fn ctrl(&mut self, letter: char) -> Vec<Effect> {
        self.step(What::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)))
    }

    /// A key of somebody who looks: the screen is drawn, a second passes, then the key.
    pub fn key(&mut self, code: KeyCode) -> Vec<Effect> {
        self.draw();
        self.wait(1100);
        self.press(code)
    }

    pub fn letters(&mut self, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|letter| self.key(KeyCode::Char(letter))).collect()
    }

    /// Pages down until everything has been on the screen.
    pub fn read_all(&mut self) {
        self.draw();
        for _ in 0..10_000 {
            let (seen, must) = self.app.seen();
            if seen >= must {
                return;
            }
            self.press(KeyCode::PageDown);
            self.draw();
        }
        panic!("the end is never reached");
    }

    pub fn resize(&mut self, width: u16, height: u16) {
        self.terminal.backend_mut().resize(width, height);
        self.step(What::Resize(width, height));
    }

    /// The window has another size, and nobody has said so yet.
    pub fn resize_silently(&mut self, width: u16, height: u16) {
        self.terminal.backend_mut().resize(width, height);
    }

    /// The screen as text.
    pub fn screen(&mut self) -> String {
        text(&self.draw())
    }

    /// The question that was open is void: what is said in its place. It goes away by Esc, and by nothing that is typed.
    pub fn voided(&mut self) -> String {
        let Some(Dialog::Notice { title, lines }) = self.app.dialog.clone() else { panic!("{:?}", self.app.dialog) };
        assert_eq!(title, "the question is void");
        for code in (' '..='~').map(KeyCode::Char).chain([KeyCode::Enter, KeyCode::Tab, KeyCode::Backspace]) {
            assert_eq!(self.key(code), [], "{code:?}");
            assert!(matches!(self.app.dialog, Some(Dialog::Notice { .. })), "{code:?}");
        }
        assert_eq!(self.key(KeyCode::Esc), []);
        assert_eq!(self.app.dialog, None);
        lines.join("\n")
    }

    pub fn note(&self) -> String {
        self.app.note.as_ref().map(|note| note.text.clone()).unwrap_or_default()
    }
}

fn at(mono: Duration) -> Now {
    Now { mono, wall: START.parse::<Timestamp>().unwrap() + (mono - Duration::from_secs(10)) }
}

pub fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut row = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            row.push_str(symbol);
            x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol)).unwrap().max(1);
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

/// The rulings among some effects.
pub fn rulings(effects: &[Effect]) -> Vec<(String, RulingKind, Option<String>)> {
    effects
        .iter()
        .flat_map(|effect| match effect {
            Effect::Send { command: Command::Rule { id, ruling, reason, .. }, .. } => {
                vec![(id.to_string(), *ruling, reason.clone())]
            }
            Effect::Send { command: Command::RuleBatch { holds, reason, .. }, .. } => {
                holds.iter().map(|item| (item.id.to_string(), RulingKind::Approve, reason.clone())).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

/// The rulings among some commands.
pub fn rulings_of(commands: &[Command]) -> Vec<(String, RulingKind, Option<String>)> {
    let effects: Vec<_> =
        commands.iter().map(|command| Effect::Send { connection: 1, command: command.clone() }).collect();
    rulings(&effects)
}

pub const A: &str = "H7K2QW0A1B2C";
pub const B: &str = "H7K3M5N8P9RS";
pub const C: &str = "H7K5T6V7X8YZ";
pub const SIZE: (u16, u16) = (80, 24);

pub fn approved(id: &str) -> Vec<(String, RulingKind, Option<String>)> {
    vec![(id.to_owned(), RulingKind::Approve, None)]
}

/// The whole gesture of a tier, by somebody who looks.
pub fn approve(desk: &mut Desk) -> Vec<Effect> {
    desk.read_all();
    desk.key(KeyCode::Char('a'));
    let Some(Dialog::Approve(question)) = desk.app.dialog.clone() else { panic!("no question: {}", desk.note()) };
    if question.tier != Tier::High {
        return desk.key(KeyCode::Char('y'));
    }
    for field in &question.fields {
        assert_eq!(desk.letters(&field.expected), []);
        desk.key(KeyCode::Enter);
    }
    desk.key(KeyCode::Enter)
}

/// What goes to the daemon of what the console does.
pub fn sent(effects: &[Effect]) -> Vec<Command> {
    let command =
        |effect: &Effect| if let Effect::Send { command, .. } = effect { Some(command.clone()) } else { None };
    effects.iter().filter_map(command).collect()
}
