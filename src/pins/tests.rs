//! What may and may not become trusted, and what stays.

use super::*;
use crate::json::Rules;

const TOKEN: &str = "countersign.test";

struct Rig {
    folder: tempfile::TempDir,
    audit: AuditLog,
    pins: Arc<Pins>,
    first_use: FirstUse,
}

fn text(text: &str) -> JsonText {
    JsonText::parse(text, Rules::UPSTREAM).unwrap()
}

fn digest(definition: &str) -> Digest {
    digest_of(&text(definition))
}

impl Rig {
    fn new(first_use: FirstUse) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let audit = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
        let pins = Self::open(&folder, &audit, first_use);
        Rig { folder, audit, pins, first_use }
    }

    fn open(folder: &tempfile::TempDir, audit: &AuditLog, first_use: FirstUse) -> Arc<Pins> {
        let servers = ["s", "t"].map(|name| (name.to_owned(), first_use));
        Arc::new(Pins::open(&folder.path().join("pins.db"), audit.clone(), servers.into_iter()).unwrap())
    }

    /// The same after a restart.
    fn again(mut self) -> Rig {
        let nothing = Store::open(&self.folder.path().join("other.db"), |_| {}, |_| {}).unwrap();
        drop(std::mem::replace(&mut *open(&self.pins.store), nothing));
        self.pins = Self::open(&self.folder, &self.audit, self.first_use);
        self
    }

    async fn page(&self, server: &str, cursor: Option<&str>, next: Option<&str>, tools: &[(&str, &str)]) {
        let texts: Vec<_> = tools.iter().map(|(name, definition)| (*name, text(definition))).collect();
        let tools: Vec<_> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), digest_of(text), text.view())).collect();
        self.pins.listed(server, Page { principal: "p", session: TOKEN, cursor, next, tools: &tools }).await;
    }

    async fn list(&self, tools: &[(&str, &str)]) {
        self.page("s", None, None, tools).await;
    }

    fn pin(&self, tool: &str, listed: Option<&str>) -> Pin {
        self.pins.pin("s", tool, listed.map(digest))
    }

    async fn act(&self, tool: &str, act: Act) -> Result<Pin, NoEffect> {
        self.pins.act("ana", "s", tool, act).await.map(|tool| tool.pin)
    }
}

const ONE: &str = r#"{"v":1}"#;
const TWO: &str = r#"{"v":2}"#;

#[tokio::test]
async fn the_first_list_is_trusted_and_nothing_after_it() {
    let rig = Rig::new(FirstUse::Trust);
    assert_eq!(rig.pin("a", None), Pin::Unknown);
    rig.list(&[("a", ONE)]).await;
    assert_eq!((rig.pin("a", Some(ONE)), rig.pin("a", None)), (Pin::Match, Pin::Unknown));
    // Never listed, and not listed first.
    assert_eq!(rig.pin("b", None), Pin::Unpinned);
    rig.list(&[("a", ONE), ("b", ONE)]).await;
    assert_eq!(rig.pin("b", Some(ONE)), Pin::Unpinned);
    let rig = rig.again();
    rig.list(&[("b", ONE), ("c", ONE)]).await;
    assert_eq!(
        (rig.pin("a", Some(ONE)), rig.pin("b", Some(ONE)), rig.pin("c", Some(ONE))),
        (Pin::Match, Pin::Unpinned, Pin::Unpinned)
    );
    assert_eq!(rig.pins.counts("s"), Counts { pinned: 1, changed: 0, unpinned: 2 });
    // Another server has a first list of its own.
    assert_eq!(rig.pins.pin("t", "a", None), Pin::Unknown);
}

#[tokio::test]
async fn a_change_is_not_forgotten_until_an_operator_rules() {
    let rig = Rig::new(FirstUse::Trust);
    rig.list(&[("a", ONE)]).await;
    rig.list(&[("a", TWO)]).await;
    // For every session, whatever it has seen itself, and whatever is listed afterwards.
    for listed in [Some(ONE), Some(TWO), None] {
        assert_eq!(rig.pin("a", listed), Pin::Changed);
    }
    rig.list(&[("a", ONE)]).await;
    rig.list(&[]).await;
    let rig = rig.again();
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Changed);
    // He names what he has seen; it may have changed since.
    rig.list(&[("a", r#"{"v":3}"#)]).await;
    assert_eq!(rig.act("a", Act::Pin(digest(TWO))).await, Err(NoEffect::WrongDigest));
    assert_eq!(rig.act("a", Act::Pin(digest(r#"{"v":3}"#))).await, Ok(Pin::Match));
    assert_eq!((rig.pin("a", Some(r#"{"v":3}"#)), rig.pin("a", Some(ONE))), (Pin::Match, Pin::Changed));
    // Keeping the old one is a ruling as well.
    rig.list(&[("a", ONE)]).await;
    assert_eq!(rig.act("a", Act::Pin(digest(r#"{"v":3}"#))).await, Ok(Pin::Match));
    let rig = rig.again();
    assert_eq!(rig.pin("a", Some(r#"{"v":3}"#)), Pin::Match);
    assert_eq!(rig.pins.remembered("s", "a").unwrap().pinned_by, "ana");
}

#[tokio::test]
async fn trust_on_first_use_is_had_once() {
    // (what comes first, is the tool that comes afterwards trusted)
    let rig = Rig::new(FirstUse::Trust);
    rig.list(&[]).await;
    rig.list(&[("a", ONE)]).await;
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Unpinned, "an empty list is a list");

    let rig = Rig::new(FirstUse::Trust);
    rig.page("s", Some("made up"), Some("c"), &[("a", ONE)]).await;
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Unpinned, "the end of a list is not the beginning");
    rig.page("s", Some("c"), None, &[("b", ONE)]).await;
    assert_eq!(rig.pin("b", Some(ONE)), Pin::Unpinned);
    rig.list(&[("a", TWO)]).await;
    assert_eq!(rig.pin("a", Some(TWO)), Pin::Match, "it begins here");
    assert_eq!(rig.pin("b", Some(ONE)), Pin::Unpinned);

    let rig = Rig::new(FirstUse::Trust);
    let many: Vec<(String, &str)> = (0..MAX_TOOLS + 10).map(|n| (format!("t{n}"), ONE)).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    rig.list(&many).await;
    assert_eq!(rig.pin("t0", Some(ONE)), Pin::Match);
    assert_eq!(rig.pin(&format!("t{MAX_TOOLS}"), Some(ONE)), Pin::Unpinned);
    rig.list(&[("t0", TWO), ("new", ONE)]).await;
    assert_eq!(
        (rig.pin("t0", Some(TWO)), rig.pin("new", Some(ONE))),
        (Pin::Changed, Pin::Unpinned),
        "though it is full"
    );

    let rig = Rig::new(FirstUse::Refuse);
    assert_eq!(rig.pin("a", None), Pin::Unpinned);
    rig.list(&[("a", ONE)]).await;
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Unpinned);
    assert_eq!(rig.act("a", Act::Pin(digest(ONE))).await, Ok(Pin::Match));
}

#[tokio::test(start_paused = true)]
async fn the_pages_of_a_first_list_follow_each_other_within_a_minute() {
    let rig = Rig::new(FirstUse::Trust);
    rig.page("s", None, Some("2"), &[("a", ONE)]).await;
    rig.page("s", Some("9"), Some("10"), &[("x", ONE)]).await;
    rig.page("s", Some("2"), Some("3"), &[]).await;
    rig.page("s", Some("3"), Some("4"), &[("b", ONE)]).await;
    rig.page("s", Some("3"), Some("4"), &[("y", ONE)]).await;
    assert_eq!(
        ["a", "b", "x", "y"].map(|tool| rig.pin(tool, Some(ONE))),
        [Pin::Match, Pin::Match, Pin::Unpinned, Pin::Unpinned]
    );
    tokio::time::advance(FIRST_LIST).await;
    rig.page("s", Some("4"), Some("5"), &[("c", ONE)]).await;
    assert_eq!(rig.pin("c", Some(ONE)), Pin::Unpinned);

    let rig = Rig::new(FirstUse::Trust);
    rig.page("s", None, Some("0"), &[]).await;
    for n in 0..FIRST_PAGES + 2 {
        rig.page("s", Some(&n.to_string()), Some(&(n + 1).to_string()), &[(&format!("t{n}"), ONE)]).await;
    }
    assert_eq!(rig.pin("t0", Some(ONE)), Pin::Match);
    assert_eq!(rig.pin(&format!("t{FIRST_PAGES}"), Some(ONE)), Pin::Unpinned);

    // A restart ends it.
    let rig = Rig::new(FirstUse::Trust);
    rig.page("s", None, Some("2"), &[("a", ONE)]).await;
    let rig = rig.again();
    rig.page("s", Some("2"), None, &[("b", ONE)]).await;
    assert_eq!((rig.pin("a", Some(ONE)), rig.pin("b", Some(ONE))), (Pin::Match, Pin::Unpinned));
}

#[tokio::test]
async fn first_lists_side_by_side_are_one_first_list() {
    for _ in 0..20 {
        let rig = Rig::new(FirstUse::Trust);
        let (one, two) = ([("a", ONE), ("b", ONE)], [("a", TWO), ("c", ONE)]);
        tokio::join!(rig.list(&one), rig.list(&two));
        // Whichever came first; of the other nothing is trusted.
        let pinned: Vec<bool> = ["b", "c"].map(|tool| rig.pin(tool, Some(ONE)) == Pin::Match).to_vec();
        assert_eq!(pinned.iter().filter(|pinned| **pinned).count(), 1, "{pinned:?}");
        assert_eq!(rig.pin("a", Some(ONE)), Pin::Changed);
    }
}

#[tokio::test]
async fn what_a_person_could_mistake_is_not_trusted_unseen() {
    let rig = Rig::new(FirstUse::Trust);
    let large = format!(r#"{{"description":"{}"}}"#, "x".repeat(MAX_DEFINITION));
    let long = "n".repeat(MAX_NAME + 1);
    rig.list(&[
        ("r\u{435}fund", ONE),
        ("a b", ONE),
        ("large", &large),
        (&long, ONE),
        ("", ONE),
        ("twice", ONE),
        ("twice", TWO),
        ("same", ONE),
        ("same", ONE),
    ])
    .await;
    for (tool, definition, pin) in [
        ("r\u{435}fund", ONE, Pin::Unpinned),
        ("a b", ONE, Pin::Unpinned),
        ("large", &large, Pin::Unpinned),
        (&long, ONE, Pin::Unpinned),
        ("", ONE, Pin::Unpinned),
        ("twice", ONE, Pin::Changed),
        ("twice", TWO, Pin::Changed),
        ("same", ONE, Pin::Match),
    ] {
        assert_eq!(rig.pin(tool, Some(definition)), pin, "{tool}");
    }
    assert_eq!(rig.act("large", Act::Pin(digest(&large))).await, Err(NoEffect::TooLarge));
    // A pin that grows beyond what is kept has changed all the same.
    rig.list(&[("same", &large)]).await;
    assert_eq!(rig.pin("same", Some(ONE)), Pin::Changed);
    let rig = rig.again();
    assert_eq!(rig.pin("same", Some(ONE)), Pin::Changed);
    assert_eq!(rig.pin("twice", Some(ONE)), Pin::Changed);
}

#[tokio::test]
async fn an_operator_takes_trust_back() {
    let rig = Rig::new(FirstUse::Trust);
    rig.list(&[("a", ONE)]).await;
    assert_eq!(rig.act("a", Act::Forget).await, Err(NoEffect::Pinned));
    assert_eq!(rig.act("a", Act::Unpin).await, Ok(Pin::Unpinned));
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Unpinned);
    assert_eq!(rig.act("a", Act::Unpin).await, Err(NoEffect::NotPinned));
    rig.act("a", Act::Forget).await.unwrap();
    assert_eq!(rig.act("a", Act::Forget).await, Err(NoEffect::NotFound));
    // It is not seen for the first time again.
    rig.list(&[("a", ONE)]).await;
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Unpinned);
    assert_eq!(rig.pins.act("ana", "x", "a", Act::Unpin).await, Err(NoEffect::NoServer));
}

#[tokio::test]
async fn nothing_is_trusted_that_could_not_be_recorded_or_kept() {
    let rig = Rig::new(FirstUse::Trust);
    open(&rig.pins.store).break_it(true);
    rig.list(&[("a", ONE)]).await;
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Unpinned);
    let rig = rig.again();
    rig.list(&[("a", ONE)]).await;
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Match);
    rig.audit.clone().close().await;
    // Distrust needs no record.
    rig.list(&[("a", TWO)]).await;
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Changed);
    assert!(matches!(rig.act("a", Act::Pin(digest(ONE))).await, Err(NoEffect::Unavailable(_))));
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Changed);
    // What could not be kept is kept as soon as it can.
    let folder = tempfile::tempdir().unwrap();
    let audit = AuditLog::open(&folder.path().join("audit.db"), false).unwrap();
    let rig = Rig { pins: Rig::open(&folder, &audit, FirstUse::Trust), folder, audit, first_use: FirstUse::Trust };
    rig.list(&[("a", ONE)]).await;
    open(&rig.pins.store).break_it(true);
    rig.list(&[("a", TWO)]).await;
    assert_eq!(rig.pin("a", Some(ONE)), Pin::Changed);
    open(&rig.pins.store).break_it(false);
    rig.list(&[("a", TWO)]).await;
    assert_eq!(rig.again().pin("a", Some(ONE)), Pin::Changed);
}

#[tokio::test]
async fn arguments_are_compared_with_what_is_pinned() {
    let rig = Rig::new(FirstUse::Trust);
    let taking = |kind: &str| format!(r#"{{"inputSchema":{{"properties":{{"a":{{"type":"{kind}"}}}}}}}}"#);
    let (string, number) = (taking("string"), taking("number"));
    rig.list(&[
        ("a", &string),
        ("none", "{}"),
        ("odd", r#"{"inputSchema":7}"#),
        ("out", r#"{"inputSchema":{"$ref":"http://x"}}"#),
    ])
    .await;
    let check = async |tool: &str, arguments: &str| {
        rig.pins.check("s", tool, Some(digest(ONE)), &JsonText::parse(arguments, Rules::CLIENT).unwrap()).await
    };
    let passed = Checked::Passed;
    assert_eq!(check("a", r#"{"a":"x"}"#).await, passed(SchemaCheck::Checked));
    assert!(matches!(check("a", r#"{"a":1}"#).await, Checked::Wrong(mismatch) if mismatch.at == "/a"));
    assert_eq!(check("none", "{}").await, passed(SchemaCheck::None));
    assert_eq!(check("odd", "{}").await, passed(SchemaCheck::Unusable));
    assert_eq!(check("out", "{}").await, passed(SchemaCheck::Unusable));
    assert_eq!(rig.pins.check("s", "never", None, &JsonText::empty_object()).await, passed(SchemaCheck::None));
    // Listed, and beyond the bounds.
    assert_eq!(check("never", "{}").await, passed(SchemaCheck::Unusable));
    let large = format!(r#"{{"b":"{}","a":1}}"#, "x".repeat(AT_ONCE));
    assert!(matches!(check("a", &large).await, Checked::Wrong(_)));
    rig.list(&[("a", &number)]).await;
    assert_eq!(check("a", r#"{"a":"x"}"#).await, passed(SchemaCheck::Checked), "the pin is what counts");
    rig.act("a", Act::Pin(digest(&number))).await.unwrap();
    assert_eq!(check("a", r#"{"a":1}"#).await, passed(SchemaCheck::Checked));
    // Those that are kept ready are bounded.
    for n in 0..READY + 10 {
        open(&rig.pins.ready).keep(Digest::of_bytes(&n.to_be_bytes()), Ok(None));
    }
    assert!(open(&rig.pins.ready).schemas.len() <= READY);
    // And what they hold: each of these holds much without any pattern.
    let large = text(&format!(r#"{{"title":"{}"}}"#, "x".repeat(200_000)));
    let large = Ok(Some(Arc::new(Schema::read(large.view()).unwrap())));
    for n in 0..READY {
        open(&rig.pins.ready).keep(Digest::of_bytes(&n.to_be_bytes()), large.clone());
    }
    let kept = open(&rig.pins.ready).schemas.len();
    assert!((1..=READY_BYTES / 200_000).contains(&kept), "{kept}");
}
