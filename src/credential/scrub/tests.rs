//! Keys in every spelling that is looked for, whole and cut, and what the search costs.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::forms::{STANDARD, URL_SAFE};
use super::*;

const KEY: &str = "sk_live_CANARY7Qm2Zt9XeVb4";

pub(super) fn one(key: &str) -> Scrubber {
    Scrubber::new([("key", &Secret::new(key.to_owned()))])
}

pub(super) fn json(text: &str) -> JsonText {
    JsonText::parse(text, Rules::UPSTREAM).unwrap()
}

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(alphabet[(group >> (18 - 6 * place) & 63) as usize]));
        }
        out.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    out
}

fn percent(text: &str, all: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b if !all && (b.is_ascii_alphanumeric() || b"-_.~".contains(&b)) => char::from(b).to_string(),
            b if b % 2 == 0 => format!("%{b:02x}"),
            b => format!("%{b:02X}"),
        })
        .collect()
}

fn unicode(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect()
}

#[test]
fn the_key_is_replaced_by_its_name() {
    let scrubber = one(KEY);
    assert_eq!(
        scrubber.line(&format!("Bearer {KEY}, again {KEY}{KEY}.")),
        "Bearer [secret:key], again [secret:key][secret:key]."
    );
    assert!(matches!(scrubber.line("sk_live_CANA"), Cow::Borrowed(_)));
    assert!(matches!(scrubber.line(""), Cow::Borrowed(_)));
    assert!(matches!(Scrubber::default().line(KEY), Cow::Borrowed(_)));
    assert!(matches!(Scrubber::new([]).line(KEY), Cow::Borrowed(_)));
}

#[test]
fn a_key_with_lines_is_looked_for_line_by_line() {
    let lines = [
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2",
        "OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r",
        "1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G",
    ];
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", lines.join("\r\n"));
    let scrubber = one(&key);
    for line in lines {
        assert_eq!(scrubber.line(&format!("key: {line}!")), "key: [secret:key]!");
    }
    let whole = lines.concat();
    for text in [whole.clone(), base64(whole.as_bytes(), STANDARD)] {
        let said = scrubber.line(&text).into_owned();
        assert!(said.starts_with("[secret:key]") && said.len() < 16, "{said}");
    }
    assert_eq!(scrubber.line(&key), "[secret:key]");
    assert!(matches!(scrubber.line("-----BEGIN PRIVATE KEY-----"), Cow::Borrowed(_)));
    // A short line alone is looked for in no text.
    let short = one("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n-----END PRIVATE KEY-----");
    assert!(matches!(short.line("MC4CAQAwBQYDK2Vw"), Cow::Borrowed(_)));
}

/// In lines of this many characters, each behind `before`.
fn broken(text: &str, width: usize, before: &str) -> String {
    let lines = text.as_bytes().chunks(width).map(|line| format!("{before}{}", String::from_utf8_lossy(line)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A long key in lines of which none holds half of it.
#[test]
fn a_key_that_is_encoded_and_broken_is_found() {
    let key = format!("sk_live_{}", "CANARY7Qm2Zt9XeVb4-Kd6Lw".repeat(4));
    let pairs: Vec<String> = key.bytes().map(|byte| format!("{byte:02x}")).collect();
    let (code, hex) = (base64(key.as_bytes(), STANDARD), pairs.concat());
    let longer = base64(format!("STRIPE_SECRET_KEY={key}\n").as_bytes(), STANDARD);
    let url = base64(format!("?{key}").as_bytes(), URL_SAFE);
    for text in [
        broken(&code, 76, ""),
        broken(&code, 64, ""),
        broken(&code, 16, "   "),
        broken(&longer, 76, ""),
        broken(&url, 64, "\t"),
        broken(&code, 64, "\r"),
        broken(&hex, 32, ""),
        broken(&hex.to_uppercase(), 60, "  "),
        pairs.join(" "),
        pairs.join(":"),
        broken(&pairs.join(":"), 45, "    "),
        pairs.chunks(2).map(<[String]>::concat).collect::<Vec<_>>().join(" "),
    ] {
        let nested = serde_json::json!([serde_json::json!({"key": text}).to_string()]).to_string();
        for said in [one(&key).line(&text), one(&key).line(&nested)] {
            assert_eq!(said.matches("[secret:key]").count(), 1, "{text} became {said}");
            let left = said.replace("[secret:key]", "");
            let least = if text.starts_with("U1RS") { 32 } else { 8 };
            let kept = left.split(|letter: char| !letter.is_ascii_alphanumeric()).map(str::len).max();
            assert!(kept < Some(least), "{text} became {said}");
        }
    }
    // What is no code stays apart, and so does what is far away.
    for text in [pairs.join(", "), broken(&hex, 32, &" ".repeat(65)), broken(&hex, 32, "| ")] {
        assert!(matches!(one(&key).line(&text), Cow::Borrowed(_)), "{text}");
    }
    let prose = "Passwords should be changed often, decoded deadbeef 10:20:30 12 34 notwithstanding ".repeat(4);
    assert!(matches!(one(&key).line(&prose), Cow::Borrowed(_)));
}

/// Another value of a key for each number.
fn value(n: usize) -> Arc<Secret> {
    Arc::new(Secret::new(char::from(b'a' + u8::try_from(n).unwrap()).to_string().repeat(20)))
}

fn knows(scrubber: &Scrubber, value: &Secret) -> bool {
    scrubber.line(value.expose()) == "[secret:key]"
}

#[test]
fn a_key_that_changes_is_looked_for_beside_its_old_values() {
    let scrubber = one(value(0).expose());
    for n in 1..=VALUES {
        scrubber.learn("key", &value(n));
    }
    scrubber.learn("other", &Arc::new(Secret::new("tok-another-0123".to_owned())));
    assert!((0..=VALUES).all(|n| knows(&scrubber, &value(n))));
    assert_eq!(scrubber.line("tok-another-0123"), "[secret:other]");
    // One more: of those that nobody holds the first is forgotten, and nothing else.
    scrubber.learn("key", &value(VALUES + 1));
    assert!(!knows(&scrubber, &value(0)));
    assert!((1..=VALUES + 1).all(|n| knows(&scrubber, &value(n))));
    // The same value, learnt again, is no new one that would push an old one out.
    for _ in 0..=VALUES {
        scrubber.learn("key", &value(VALUES + 1));
    }
    assert!(knows(&scrubber, &value(1)));
}

#[test]
fn a_value_that_somebody_holds_is_never_forgotten() {
    let (scrubber, held) = (Scrubber::default(), value(0));
    scrubber.learn("key", &held);
    // It goes and comes back: whoever has had it from before has it still.
    let again = value(0);
    scrubber.learn("key", &value(1));
    scrubber.learn("key", &again);
    drop(again);
    for n in 2..20 {
        scrubber.learn("key", &value(n));
        assert!(knows(&scrubber, &held) && knows(&scrubber, &value(n)), "{n}");
    }
    assert!(!knows(&scrubber, &value(10)) && knows(&scrubber, &value(11)), "the others are as many as before");
    drop(held);
    scrubber.learn("key", &value(20));
    assert!(!knows(&scrubber, &value(0)), "nobody holds it, and it is the oldest");
}

#[test]
fn values_that_were_only_tried_out_push_out_none_that_was_in_use() {
    let scrubber = one(value(0).expose());
    for n in 1..20 {
        scrubber.try_out("key", &value(n));
        assert!(knows(&scrubber, &value(0)) && knows(&scrubber, &value(n)), "{n}");
    }
    assert!(!knows(&scrubber, &value(10)) && knows(&scrubber, &value(11)), "of those too the last few are kept");
    // One that is taken in the end counts with those that are.
    scrubber.learn("key", &value(12));
    for n in 20..25 {
        scrubber.try_out("key", &value(n));
    }
    // And one that was in use stays one of them, however often it is tried again.
    scrubber.try_out("key", &value(0));
    assert!(knows(&scrubber, &value(12)) && knows(&scrubber, &value(0)) && !knows(&scrubber, &value(15)));
}

#[test]
fn debug_shows_names_alone() {
    assert_eq!(format!("{:?}", one(KEY)), "Scrubber { names: [\"key\"], .. }");
}

#[test]
fn keys_inside_each_other_and_equal_keys_leave_nothing() {
    let secrets = [("long", "0123456789abcdef"), ("short", "456789ab"), ("same", "0123456789abcdef")];
    let secrets = secrets.map(|(name, key)| (name, Secret::new(key.to_owned())));
    let scrubber = Scrubber::new(secrets.iter().map(|(name, key)| (*name, key)));
    assert_eq!(scrubber.line("<0123456789abcdef|456789ab>"), "<[secret:long]|[secret:short]>");
    // Two that overlap leave neither's rest.
    let overlap = [("left", "abcdefgh1234"), ("right", "efgh1234wxyz")];
    let overlap = overlap.map(|(name, key)| (name, Secret::new(key.to_owned())));
    assert_eq!(Scrubber::new(overlap.iter().map(|(n, k)| (*n, k))).line("-abcdefgh1234wxyz-"), "-[secret:left]-");
}

/// Wherever a key is cut in two, less than half of it stands in either text.
#[test]
fn a_key_that_is_cut_leaves_less_than_half() {
    for key in [KEY, "0123456789abcdefghijklmn", &format!("{KEY}{}", "Hx7".repeat(60)), &"q8Z-".repeat(4000)] {
        let scrubber = one(key);
        for cut in (0..=key.len()).step_by(if key.len() > 1000 { 997 } else { 1 }) {
            let (left, right) = key.split_at(cut);
            for text in [format!("<{left}"), format!("{right}>"), format!("... {left}"), format!("{right} ...")] {
                let shown = scrubber.line(&text).replace("[secret:key]", "");
                assert!(shown.len() <= 4 + key.len() / 2, "{shown} of {key:.40}");
            }
        }
        for at in (0..key.len() / 2).step_by(if key.len() > 1000 { 331 } else { 1 }) {
            let piece = &key[at..at + key.len().div_ceil(2).max(PIECE)];
            assert_eq!(scrubber.line(&format!("<{piece}")).replace("[secret:key]", ""), "<", "{at} of {key:.40}");
        }
    }
    // A short one has no pieces.
    assert!(matches!(one("0123456789abcdef").line("0123456789abcde"), Cow::Borrowed(_)));
}

#[test]
fn the_keys_of_others_go_from_messages_where_that_is_wanted() {
    let text = format!(r#"{{"a":"whsec_0123456789abcdefXYZ \nsk_live_51HabcdefGHIJKL7890","b":"{KEY}"}}"#);
    let scrubbed = one(KEY).message(&json(&text), Kinds::ALL);
    assert_eq!(scrubbed.text.unwrap().as_str(), r#"{"a":"whsec_[hidden] \nsk_live_[hidden]","b":"[secret:key]"}"#);
    assert_eq!(scrubbed.names, ["key", "form:stripe"]);
    let scrubbed = one(KEY).message(&json(&text), Kinds::NONE);
    assert!(scrubbed.text.unwrap().as_str().contains("51HabcdefGHIJKL7890"));
    assert_eq!(scrubbed.names, ["key"]);
}

#[test]
fn a_short_text_is_found_too() {
    assert_eq!(one("abc").line("xxabcxx"), "xx[secret:key]xx");
}

#[test]
fn a_message_stays_json_or_is_nothing() {
    let scrubber = one(KEY);
    let clean = json(r#"{"jsonrpc":"2.0","id":1,"result":{"text":"a\nb"}}"#);
    let message = |scrubber: &Scrubber, text: &JsonText| scrubber.message(text, Kinds::NONE).text;
    assert_eq!(message(&scrubber, &clean), Some(clean));
    let leak = json(&format!(r#"{{"{KEY}":["key={KEY}",1.0]}}"#));
    assert_eq!(message(&scrubber, &leak).unwrap().as_str(), r#"{"[secret:key]":["key=[secret:key]",1.0]}"#);
    // Both keys of this object would become the same.
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(message(&scrubber, &json(&format!(r#"{{"{KEY}":1,"{hex}":2}}"#))), None);
    // A number cannot hold a mark.
    assert_eq!(message(&one("12345678"), &json(r#"{"a":912345678}"#)), None);
    // A text with an escape whose letter could be taken for the key's first.
    let near = json(r#"["\nsecret77"]"#);
    assert_eq!(message(&one("nsecret77"), &near), Some(near));
}

#[test]
fn a_key_in_a_text_that_is_json_itself_is_found() {
    let scrubber = one(r#"q"u\o/te+key"#);
    let inner = serde_json::json!({"env": {"KEY": r#"q"u\o/te+key"#}}).to_string();
    let outer = serde_json::json!({"result": [inner]}).to_string();
    let scrubbed = scrubber.message(&json(&outer), Kinds::NONE).text.unwrap();
    assert_eq!(scrubbed.as_str().replace('\\', ""), r#"{"result":["{"env":{"KEY":"[secret:key]"}}"]}"#);
    assert_eq!(scrubber.line(&outer).replace('\\', ""), scrubbed.as_str().replace('\\', ""));
}

/// Keys of every printable character; ends differ enough that a random text does not hold one.
fn key() -> impl Strategy<Value = String> {
    "[!-~][ -~]{10,60}[!-~]"
}

proptest! {
    #[test]
    fn a_key_survives_in_no_encoding(key in key(), before in "[ -~]{0,9}", after in "[ -~]{0,9}", kind in 0..9) {
        let whole = format!("{before}{key}{after}");
        let encoded = match kind {
            0 => whole.clone(),
            1 => serde_json::to_string(&whole).unwrap(),
            2 => serde_json::to_string(&whole).unwrap().replace('/', "\\/"),
            3 => unicode(&whole),
            4 => percent(&whole, false),
            5 => percent(&whole, true),
            6 => base64(whole.as_bytes(), STANDARD),
            7 => percent(&base64(whole.as_bytes(), STANDARD), false),
            8 => base64(whole.as_bytes(), URL_SAFE),
            _ => unreachable!(),
        };
        let scrubbed = one(&key).line(&encoded).into_owned();
        prop_assert!(scrubbed.contains("[secret:key]"), "{encoded} became {scrubbed}");
        // What is left is shorter than the key's own part in that encoding.
        let left = scrubbed.replace("[secret:key]", "");
        let mine = encoded.len() * key.len() / whole.len();
        prop_assert!(left.len() <= encoded.len() - mine + 24, "{encoded} became {scrubbed}");
        prop_assert!(!left.contains(&key));
    }

    #[test]
    fn hex_digits_are_found(key in key(), before in "[0-9]{0,3}") {
        let lower: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        for digits in [lower.to_uppercase(), lower] {
            let text = format!("{before}{digits}");
            prop_assert_eq!(one(&key).line(&text), format!("{before}[secret:key]"));
        }
    }

    #[test]
    fn a_key_never_leaves_in_a_message(key in key(), before in "\\PC{0,9}", escaped in any::<bool>()) {
        let text = serde_json::to_string(&[format!("{before}{key}")]).unwrap();
        let text = if escaped { format!("[\"{}\"]", unicode(&format!("{before}{key}"))) } else { text };
        let scrubbed = one(&key).message(&json(&text), Kinds::NONE).text.unwrap();
        let read: Vec<String> = serde_json::from_str(scrubbed.as_str()).unwrap();
        // A backslash before a key that begins with one may go too: both can be read as one escape.
        let left = read[0].strip_suffix("[secret:key]");
        prop_assert!(left.is_some_and(|left| left.trim_end_matches('\\') == before.trim_end_matches('\\')), "{read:?}");
        prop_assert!(!read[0].contains(&key));
    }

    #[test]
    fn what_holds_no_key_is_not_touched(text in "[a-z%\\\\u0-9]{0,200}") {
        prop_assert!(matches!(one("KEY-WITH-CAPITALS").line(&text), Cow::Borrowed(_)));
    }
}

/// The bounds are for a build without optimisation on a busy machine; what they catch is work that grows with the
/// square of a text.
#[test]
fn a_long_text_costs_little_whatever_is_in_it() {
    let secrets: Vec<(String, Secret)> =
        (0..20).map(|n| (n.to_string(), Secret::new(format!("sk_live_{n:04}CANARYabcdefghijklmnop{n:04}")))).collect();
    let scrubber = Scrubber::new(secrets.iter().map(|(name, key)| (name.as_str(), key)));
    let ordinary = "{\\\"id\\\": \\\"cus_123\\\", \\\"balance\\\": 4200}, ".repeat(1 << 15);
    let near = "sk_live_0001CANARYabcdefghijklmnop000".repeat(1 << 15);
    let ends = "mnop0001".repeat(1 << 17);
    let nested = "%25255c\\\\u005c".repeat(1 << 16);
    let begins = "sk_live_0001CANARY".repeat(1 << 16);
    let lines = "QUJDREVGR0hJSktMTU5PUFFS\n".repeat(1 << 16);
    let groups = "73:6b 5f ".repeat(1 << 17);
    let odd = "a0b ".repeat(1 << 18);
    let mut texts = vec![(ordinary, true), (near, false), (begins, true), (ends, true), (nested, true)];
    texts.extend([(lines, true), (groups, true), (odd, true)]);
    let dump = "00000000  73 6b 5f 6c 69 76 65 5f  30 30 30 31 43 41 4e 41  |sk_live_0001CANA|\n".repeat(1 << 14);
    texts.extend([(dump, true), ("\"0000 ".repeat(1 << 15), true), ("0000 \\n0 ".repeat(1 << 16), true)]);
    texts.extend([
        (" 0000".repeat(1 << 18), true),
        ("0000\t".repeat(1 << 18), true),
        ("\n0000 0 0".repeat(1 << 16), true),
    ]);
    for (text, clean) in texts {
        let start = Instant::now();
        assert_eq!(matches!(scrubber.line(&text), Cow::Borrowed(_)), clean, "{text:.20}");
        let taken = start.elapsed();
        assert!(taken < Duration::from_secs(5), "{taken:?} for {} bytes of {:.20}", text.len(), text);
    }
}

/// A key of which all but the last characters are known to everybody, as of a signed token.
const KNOWN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.";

#[test]
fn a_client_learns_nothing_from_a_piece_of_a_key() {
    let key = format!("{KNOWN}Zm9vYmFyYmF6cXV4Y29ycmVjdGhvcnNlYmF0dGVyeQ");
    let scrubber = one(&key);
    assert!(matches!(scrubber.line(&key[key.len() / 2..]), Cow::Owned(_)), "in an answer a piece is taken out");
    for length in 1..key.len() {
        for piece in [&key[..length], &key[key.len() - length..]] {
            for text in [piece.to_owned(), json!([piece, piece]).to_string(), format!("{piece} {}", piece.repeat(3))] {
                assert!(!scrubber.has_whole(&text), "{length} bytes");
            }
            // The first and the last bytes of base64 depend on what stands beside it.
            if length < key.len() - 2 {
                assert!(!scrubber.has_whole(&base64(piece.as_bytes(), STANDARD)), "{length} bytes");
            }
            let digits: String = piece.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!scrubber.has_whole(&digits), "{length} bytes");
        }
    }
}

proptest! {
    #[test]
    fn a_client_cannot_send_a_whole_key_in_any_encoding(
        key in "[ -~]{8,80}",
        before in "[ -~]{0,40}",
        after in "[ -~]{0,40}",
    ) {
        let scrubber = one(&key);
        let around = |text: &str| format!("{before}{text}{after}");
        let bytes = around(&key);
        let digits: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        let spelled = [
            bytes.clone(),
            base64(bytes.as_bytes(), STANDARD),
            base64(bytes.as_bytes(), URL_SAFE),
            around(&digits),
            around(&digits.to_uppercase()),
            around(&percent(&key, true)),
            json!({"a": [bytes]}).to_string(),
            format!("{{\"a\":\"{}\"}}", unicode(&bytes)),
            json!(json!(bytes).to_string()).to_string(),
        ];
        for text in &spelled {
            prop_assert!(scrubber.has_whole(text), "{key:?} in {text:?}");
        }
    }
}

/// Whether pieces are found in a text, and in a message.
fn pieces(scrubber: &Scrubber, text: &str) -> (bool, bool) {
    let (text, message) = (scrubber.text(text, Kinds::NONE), scrubber.message(&json_of(text), Kinds::NONE));
    assert!([&text.pieces, &message.pieces].iter().all(|keys| keys.iter().all(|key| key == "key")));
    (!text.pieces.is_empty(), !message.pieces.is_empty())
}

const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\n\
                   OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n-----END PRIVATE KEY-----";

#[test]
fn a_whole_key_in_an_answer_is_no_guess_and_a_piece_may_be_one() {
    let body = PEM.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    for (key, secret) in [(KEY, KEY), (PEM, &*body)] {
        let scrubber = one(key);
        let line = key.lines().nth(1).unwrap_or(key);
        for whole in [key.to_owned(), format!("{key}{key}"), base64(key.as_bytes(), STANDARD), line.to_owned()] {
            assert_eq!(pieces(&scrubber, &format!("a {whole} b")), (false, false), "{whole}");
        }
        let cut = &secret[..secret.len() - 1];
        assert_eq!(pieces(&scrubber, &format!("a {cut} b")), (true, true));
        assert_eq!(pieces(&scrubber, &format!("a {key} b {cut} c")), (true, true), "also beside a whole one");
        assert_eq!(pieces(&scrubber, "nothing"), (false, false));
    }
}

/// Of what everybody may know about a key a piece is none: it is said again, and counts for nothing.
#[test]
fn pieces_are_looked_for_only_where_all_is_secret() {
    let url = "postgres://billing_app:p%40ss-CANARY7Qm2@db-7.internal.example.com:5432/billing_production";
    let scrubber = one(url);
    let host = "could not connect to db-7.internal.example.com:5432/billing_production?sslmode=require";
    for said in [host, "postgres://billing_app:x@db-7.internal.example.com:5432/billing_production", "billing_app"] {
        assert_eq!(scrubber.line(said), said);
        assert_eq!(pieces(&scrubber, said), (false, false));
        assert!(!scrubber.has_whole(said));
    }
    for secret in [url, "p%40ss-CANARY7Qm2", "p@ss-CANARY7Qm2", "billing_app:p%40ss-CANARY7Qm2"] {
        assert_eq!(scrubber.line(&format!("({secret})")), "([secret:key])", "{secret}");
        assert!(scrubber.has_whole(secret), "{secret}");
    }
    let basic = base64(b"billing_app:p@ss-CANARY7Qm2", STANDARD);
    assert!(!scrubber.line(&basic).contains(&basic[4..20]) && scrubber.has_whole(&basic));
    // A password that the address says anyway, or a short one, is no word to look for.
    for address in ["postgres://postgres:postgres@localhost:5432/app", "redis://:short@cache.example.com:6379/0"] {
        for word in ["postgres", "short", "localhost:5432/app", "cache.example.com:6379/0"] {
            assert_eq!(one(address).line(word), word);
        }
        assert_eq!(one(address).line(address), "[secret:key]");
    }

    let key = PEM.replace('\n', "\\n");
    let account = format!(
        "{{\n  \"type\": \"service_account\",\n  \"project_id\": \"billing-production-417\",\n  \"private_key\": \
         \"{key}\\n\",\n  \"token_uri\": \"https://oauth2.googleapis.com/token\"\n}}"
    );
    let body = PEM.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    for account in [account.clone(), account.replace('\n', "")] {
        let scrubber = one(&account);
        let public =
            "{\"type\": \"service_account\", \"project_id\": \"billing-production-417\", \"private_key\": \"-----BEGIN";
        assert_eq!(pieces(&scrubber, public), (false, false));
        assert_eq!(pieces(&scrubber, "https://oauth2.googleapis.com/token"), (false, false));
        assert_eq!(scrubber.line(&account), "[secret:key]");
        assert_eq!(scrubber.line(&body), "[secret:key]");
        let line = PEM.lines().nth(2).unwrap();
        assert_eq!(scrubber.line(line), "[secret:key]");
        assert_eq!(pieces(&scrubber, line), (false, false));
        assert_eq!(pieces(&scrubber, &body[..body.len() - 9]), (true, true));
    }

    let header = "Bearer sk_live_CANARY7Qm2Zt9XeVb4Kd6Lw";
    assert_eq!(one(header).line(header), "[secret:key]");
    assert_eq!(one(header).line("sk_live_CANARY7Qm2Zt9XeVb4Kd6Lw"), "[secret:key]");
}

/// A key that ends with what everybody knows is compared from its first byte nowhere: what has its end has no hash of it.
#[test]
fn the_known_end_of_a_key_is_nothing_to_begin_with() {
    let needles: Vec<Needle> = [PEM, "postgres://app:CANARY7Qm2@db.example.com/app", KEY]
        .iter()
        .flat_map(|key| forms::of(key))
        .map(|form| Needle { name: 0, form: Arc::new(form) })
        .collect();
    for needle in needles.iter().filter(|needle| needle.form.whole) {
        let hashed = whole::window(needle);
        assert!(hashed == needle.text().len() || needle.form.pieces && hashed >= 24, "{hashed}");
    }
    let scrubber = one(PEM);
    assert!(scrubber.has_whole(PEM));
    assert!(!scrubber.has_whole(&PEM.replacen("MIGH", "MIGG", 1)));
}

/// What a server can say is as much as a message holds, and it knows its own key.
#[test]
fn many_pieces_inside_of_whole_keys_cost_little() {
    // In both alphabets the same but for one letter near the end.
    let key = (0_u8..255).map(|n| format!("sk_live_CANARY7Qm2Zt9XeVb4{n:02x}~~?>")).find(|key| {
        let core = base64(key.as_bytes(), STANDARD);
        core.rfind(['+', '/']).is_some_and(|at| at > core.len() / 2)
    });
    let key = key.unwrap();
    let text = format!("{} ", base64(key.as_bytes(), STANDARD)).repeat(1 << 16);
    let start = Instant::now();
    let scrubbed = one(&key).text(&text, Kinds::NONE);
    let taken = start.elapsed();
    assert!(scrubbed.pieces.is_empty() && scrubbed.names == ["key"]);
    assert!(taken < Duration::from_secs(10), "{taken:?} for {} bytes", text.len());
}

#[test]
fn guesses_are_counted_for_each_key_until_it_is_another() {
    let scrubber = Scrubber::default();
    let (first, second) = (value(0), value(1));
    scrubber.learn("key", &first);
    for count in 1..=TOLD {
        assert_eq!(scrubber.count_piece("key"), count);
        assert!(scrubber.guessed().is_empty());
    }
    assert_eq!(scrubber.count_piece("other"), 1);
    assert_eq!(scrubber.count_piece("key"), TOLD + 1);
    assert_eq!(scrubber.guessed(), ["key"]);
    // That the same one is said again, or another is tried out, changes nothing.
    scrubber.learn("key", &first);
    scrubber.try_out("key", &second);
    assert_eq!(scrubber.guessed(), ["key"]);
    scrubber.learn("key", &second);
    assert!(scrubber.guessed().is_empty());
    assert_eq!((scrubber.count_piece("key"), scrubber.count_piece("other")), (1, 2));
}

fn json_of(text: &str) -> JsonText {
    json(&json!(text).to_string())
}
