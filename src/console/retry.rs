//! A call that asks for less of what was refused just before: an agent that feels its way to a limit. It only informs.

use jiff::Timestamp;

use crate::control::wire::{CallLine, Size};

/// A refusal that is longer ago has nothing to do with it.
const LATELY: i64 = 600;

/// What there is to say of the call at a place among the last ones of its session, newest first; it has not passed the
/// escape function.
pub fn smaller(last: &[CallLine], at: usize) -> Option<String> {
    let call = last.get(at)?;
    let time = |line: &CallLine| line.at.parse::<Timestamp>().ok();
    let at_time = time(call)?;
    // Whatever came between: a read, or the same for less, makes nothing of a refusal forgotten.
    let mut refused = last.iter().skip(at + 1).filter(|other| other.operation == call.operation && is_refused(other));
    refused.find_map(|before| {
        let seconds = at_time.duration_since(time(before)?).as_secs();
        let (now, then) = call.sizes.iter().find_map(|now| {
            let then = before.sizes.iter().find(|then| then.unit.eq_ignore_ascii_case(&now.unit))?;
            is_less(now, then).then_some((now, then))
        })?;
        (0..=LATELY).contains(&seconds).then(|| {
            format!("retried smaller, {} after {} {}, {seconds} s after a refusal", now.value, then.value, then.unit)
        })
    })
}

/// Policy or an operator said no. What ended without an answer was not refused for its size.
fn is_refused(call: &CallLine) -> bool {
    call.effect == "deny" || call.result.as_deref().is_some_and(|result| matches!(result, "denied" | "rejected"))
}

fn is_less(one: &Size, other: &Size) -> bool {
    match (one.value.parse::<i128>(), other.value.parse::<i128>()) {
        (Ok(one), Ok(other)) => one < other,
        // What is no number is less than nothing.
        (_, _) => match (one.value.parse::<f64>(), other.value.parse::<f64>()) {
            (Ok(one), Ok(other)) => one < other,
            (_, _) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Digest;

    fn call(id: &str, at: &str, effect: &str, result: Option<&str>, value: &str, unit: &str) -> CallLine {
        CallLine {
            id: id.parse().unwrap(),
            at: format!("2026-11-21T14:{at}Z"),
            operation: "create_refund".to_owned(),
            effect: effect.to_owned(),
            result: result.map(str::to_owned),
            rule: None,
            digest: Digest::of_bytes(b"x"),
            sizes: vec![Size { value: value.to_owned(), unit: unit.to_owned() }],
        }
    }

    #[test]
    fn less_of_the_same_after_a_refusal_is_told_and_nothing_else() {
        let now = call("H7K2QW0A1B2C", "05:12", "hold", None, "125000", "minor");
        let told = |now: &CallLine, before: CallLine| smaller(&[now.clone(), before], 0);
        let denied = |value: &str, unit: &str| call("H7K1AAAAAAAA", "04:11", "deny", None, value, unit);
        let words = "retried smaller, 125000 after 200000 minor, 61 s after a refusal";
        assert_eq!(told(&now, denied("200000", "minor")).as_deref(), Some(words));
        let rejected = call("H7K1AAAAAAAA", "04:11", "hold", Some("rejected"), "2e5", "minor");
        assert!(told(&now, rejected).is_some());
        assert!(told(&now, denied("200000", "MINOR")).is_some(), "one unit in two spellings");
        // What passed in between, or was refused for less, is no answer to the larger one.
        let passed = call("H7K1BBBBBBBB", "04:50", "allow", Some("ok"), "10", "minor");
        let between = [now.clone(), passed, denied("100", "minor"), denied("200000", "minor")];
        assert_eq!(smaller(&between, 0).as_deref(), Some(words));
        for (what, before) in [
            ("more", denied("100", "minor")),
            ("the same", denied("125000", "minor")),
            ("of another unit", denied("200000", "usd")),
            ("no number", denied("plenty", "minor")),
            ("approved", call("H7K1AAAAAAAA", "04:11", "hold", Some("ok"), "200000", "minor")),
            ("expired", call("H7K1AAAAAAAA", "04:11", "hold", Some("expired"), "200000", "minor")),
            ("long ago", call("H7K1AAAAAAAA", "01:00", "deny", None, "200000", "minor")),
            ("another operation", CallLine { operation: "list".into(), ..denied("200000", "minor") }),
        ] {
            let now = CallLine {
                at: now.at.replace("05:12", if what == "long ago" { "15:12" } else { "05:12" }),
                ..now.clone()
            };
            assert_eq!(told(&now, before), None, "{what}");
        }
        assert_eq!(smaller(&[now], 0), None, "it is the first");
        assert_eq!(smaller(&[], 3), None);
    }
}
