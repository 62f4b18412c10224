//! What a value of a call comes to, for the line below it: texts that are wrapped in another coding, numbers written with
//! an exponent, times. Nothing of it is sent, and whoever shows it says so.
//!
//! Bounded in what is read and in what is said. A value that is not plainly one of these has no preview: a guess would
//! be worse than none.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::json::{JsonText, Rules};

/// Longest text that is decoded, in bytes.
const READ: usize = 64 << 10;
/// Characters of a decoded text that are shown.
const SHOWN: usize = 400;
/// Shortest text that may be hex or base64: shorter ones are words.
const SHORTEST: usize = 12;
/// Digits that an exponent may add.
const DIGITS: i64 = 40;
/// Largest integer up to which a reader who uses doubles keeps every one exact.
const EXACT: u64 = 1 << 53;

/// By whose clock times are told, and what they are compared with.
#[derive(Clone, Debug)]
pub struct Clock {
    pub zone: TimeZone,
    /// When the call was held.
    pub held: Timestamp,
}

/// What a string comes to. `raw` is its spelling in the call, quotes included.
pub fn string(raw: &str, text: &str, clock: &Clock) -> Vec<String> {
    let mut found = Vec::new();
    if raw.contains("\\u") {
        found.push(labelled("the \\u escapes", text));
    }
    if text.len() > READ {
        found.push(format!("{} bytes in one string: no decoding was tried", text.len()));
        return found;
    }
    found.extend(json(text).map(|inner| labelled("JSON in a string", &inner)));
    found.extend(url(text).map(|inner| labelled("URL-encoded", &inner)));
    found.extend(hex(text).or_else(|| base64(text)).map(|(how, inner)| labelled(how, &inner)));
    found.extend(written_time(text, clock));
    found
}

/// What a number comes to. `key` is the name that it stands under.
pub fn number(spelled: &str, key: Option<&str>, clock: &Clock) -> Vec<String> {
    let mut found: Vec<_> = expanded(spelled).into_iter().collect();
    if is_inexact(spelled) {
        found.push("beyond 2^53: many readers round it".to_owned());
    }
    found.extend(unix_time(spelled, key, clock));
    found
}

/// Whether readers that use doubles change this number.
pub fn is_inexact(spelled: &str) -> bool {
    let digits = spelled.trim_start_matches('-');
    digits
        .parse::<u64>()
        .map_or_else(|_| !spelled.contains(['.', 'e', 'E']) && spelled.len() > 15, |number| number > EXACT)
}

fn labelled(how: &str, text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).collect();
    let more = text.chars().count().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" … and {more} characters more") } else { String::new() };
    format!("{how}, decoded by countersign, not sent: {shown}{more}")
}

fn json(text: &str) -> Option<String> {
    let trimmed = text.trim();
    let inner = trimmed.starts_with(['{', '[']).then(|| JsonText::parse(trimmed, Rules::UPSTREAM).ok())??;
    // A marker in brackets is prose.
    (inner.as_str().len() > 4).then(|| inner.as_str().to_owned())
}

fn url(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut escapes = 0;
    while let Some((first, after)) = rest.split_first() {
        let escaped = if *first == b'%' { after.get(..2).and_then(byte) } else { None };
        out.push(escaped.unwrap_or(*first));
        escapes += usize::from(escaped.is_some());
        rest = after.get(if escaped.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    (escapes > 0).then(|| String::from_utf8(out).ok())?
}

fn byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

fn hex(text: &str) -> Option<(&'static str, String)> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() < SHORTEST || !digits.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<_>> = digits.as_bytes().chunks_exact(2).map(byte).collect();
    Some(("hex", readable(bytes?)?))
}

fn base64(text: &str) -> Option<(&'static str, String)> {
    if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)) {
        return None;
    }
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let bytes = engines.into_iter().find_map(|engine| engine.decode(text).ok())?;
    Some(("base64", readable(bytes)?))
}

/// Bytes that are a text: what decodes to anything else was hardly meant to be decoded.
fn readable(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let odd = text.chars().filter(|letter| letter.is_control() && !letter.is_whitespace()).count();
    (!text.is_empty() && odd == 0).then_some(text)
}

/// A number without its exponent; nothing where it has none, or where it is too long.
fn expanded(spelled: &str) -> Option<String> {
    let (mantissa, exponent) = spelled.split_once(['e', 'E'])?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().ok().filter(|exponent: &i64| exponent.abs() <= DIGITS)?;
    let mut digits = format!("{whole}{part}");
    let point = i64::try_from(whole.len()).ok()? + exponent;
    if point <= 0 {
        digits.insert_str(0, &"0".repeat(usize::try_from(1 - point).ok()?));
    }
    let point = usize::try_from(point.max(1)).ok()?;
    if digits.len() < point {
        digits.push_str(&"0".repeat(point - digits.len()));
    }
    let (whole, part) = digits.split_at_checked(point)?;
    let whole = Some(whole.trim_start_matches('0')).filter(|whole| !whole.is_empty()).unwrap_or("0");
    let part = part.trim_end_matches('0');
    let dot = if part.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{dot}{part}"))
}

/// A date or a time that is written as RFC 3339 has it.
fn written_time(text: &str, clock: &Clock) -> Option<String> {
    if text.len() < 10 || text.len() > 40 || !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(when(at, clock));
    }
    let date = Some(text).filter(|text| text.len() == 10)?.parse::<Date>().ok()?;
    let held = clock.held.to_zoned(clock.zone.clone()).date();
    let days = held.until(date).ok()?.get_days();
    let words = match days {
        0 => "the day of the call".to_owned(),
        1.. => format!("{} after the call", counted(i64::from(days), "day")),
        _ => format!("{} before the call", counted(i64::from(days).abs(), "day")),
    };
    Some(format!("a {}, {words}", date.strftime("%A")))
}

/// A number under a name that speaks of time, if it is what such names mostly hold.
fn unix_time(spelled: &str, key: Option<&str>, clock: &Clock) -> Option<String> {
    const ENDS: [&str; 9] = ["_at", "_on", "date", "time", "timestamp", "created", "until", "_end", "_start"];
    let key = key?.to_ascii_lowercase();
    if !ENDS.iter().any(|end| key.ends_with(end)) {
        return None;
    }
    let number: i64 = spelled.parse().ok()?;
    let (unit, at) = match spelled.len() {
        9 | 10 => ("seconds", Timestamp::from_second(number)),
        12 | 13 => ("milliseconds", Timestamp::from_millisecond(number)),
        _ => return None,
    };
    Some(format!("if it counts {unit} since 1970: {}", when(at.ok()?, clock)))
}

/// A time by the operator's clock, and how far from the call it is.
fn when(at: Timestamp, clock: &Clock) -> String {
    format!("{}, {}", at.to_zoned(clock.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z"), distance(at, clock))
}

/// How far a time is from the call.
pub fn distance(at: Timestamp, clock: &Clock) -> String {
    let seconds = at.as_second().saturating_sub(clock.held.as_second());
    let distance = match seconds.abs() {
        0..120 => counted(seconds.abs(), "second"),
        120..7200 => counted(seconds.abs() / 60, "minute"),
        7200..172_800 => counted(seconds.abs() / 3600, "hour"),
        _ => counted(seconds.abs() / 86_400, "day"),
    };
    match seconds {
        0 => "when the call was held".to_owned(),
        1.. => format!("{distance} after the call"),
        _ => format!("{distance} before the call"),
    }
}

fn counted(count: i64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock { zone: TimeZone::UTC, held: "2026-11-21T14:00:00Z".parse().unwrap() }
    }

    fn of(text: &str) -> Vec<String> {
        let raw = serde_json::to_string(text).unwrap();
        string(&raw, text, &clock())
    }

    const NOT_SENT: &str = "decoded by countersign, not sent";

    #[test]
    fn wrapped_texts_are_unwrapped() {
        assert_eq!(of(r#"{"a": 1}"#), [format!("JSON in a string, {NOT_SENT}: {{\"a\":1}}")]);
        assert_eq!(of("DROP%20TABLE"), [format!("URL-encoded, {NOT_SENT}: DROP TABLE")]);
        assert_eq!(of("64726f70207461626c65"), [format!("hex, {NOT_SENT}: drop table")]);
        assert_eq!(of("ZHJvcCB0YWJsZSB1c2Vycw=="), [format!("base64, {NOT_SENT}: drop table users")]);
        assert_eq!(of("ZHJvcCB0YWJsZSB1c2Vycw"), [format!("base64, {NOT_SENT}: drop table users")]);
        let escaped = string(r#""\u0061dmin""#, "admin", &clock());
        assert_eq!(escaped, [format!("the \\u escapes, {NOT_SENT}: admin")]);
    }

    #[test]
    fn what_is_not_plainly_wrapped_is_left_alone() {
        for text in [
            "pi_3PqLx2eZvKYlo2C1k8Yt",
            "requested_by_customer",
            "cus_123",
            "100% of it",
            "[x]",
            "deadbeef",
            "",
            "9c41e0b79c41e0b79c41e0b79c41e0b7",
            "checkout_v2",
            "administrator",
            "{not json}",
            "%zz%",
            "2026",
        ] {
            assert_eq!(of(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn previews_are_bounded() {
        let long = of(&"%41".repeat(10_000));
        assert_eq!(long.len(), 1);
        assert!(long[0].ends_with(" … and 9600 characters more") && long[0].len() < 600, "{}", long[0]);
        assert_eq!(of(&"%41".repeat(40_000)), ["120000 bytes in one string: no decoding was tried"]);
    }

    #[test]
    fn numbers_keep_their_spelling_and_say_what_they_come_to() {
        for (spelled, wanted) in [
            ("1e5", "100000"),
            ("1.5E+3", "1500"),
            ("-12.50e1", "-125"),
            ("5e-3", "0.005"),
            ("125e-1", "12.5"),
            ("0e9", "0"),
        ] {
            assert_eq!(number(spelled, None, &clock()), [wanted], "{spelled}");
        }
        assert_eq!(number("1e400", None, &clock()), [""; 0]);
        assert_eq!(number("125000", Some("amount"), &clock()), [""; 0]);
        assert_eq!(number("9007199254740993", None, &clock()), ["beyond 2^53: many readers round it"]);
        assert_eq!(number("9007199254740992", None, &clock()), [""; 0]);
    }

    #[test]
    fn times_have_a_zone_and_a_distance() {
        assert_eq!(of("2026-11-22T15:00:00+01:00"), ["2026-11-22 14:00:00 UTC, 24 hours after the call"]);
        assert_eq!(of("2026-11-20"), ["a Friday, 1 day before the call"]);
        let expires = number("1795269600", Some("expires_at"), &clock());
        assert_eq!(expires, ["if it counts seconds since 1970: 2026-11-21 14:00:00 UTC, when the call was held"]);
        assert_eq!(number("1795269600", Some("amount"), &clock()), [""; 0]);
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let clock = Clock { zone, ..clock() };
        assert_eq!(when(clock.held, &clock), "2026-11-21 16:00:00 +02, when the call was held");
    }
}
