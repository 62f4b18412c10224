//! Numbers of schemas and arguments. Some readers take every number for a double and some do not: where that matters,
//! nobody can tell.

use std::cmp::Ordering;

use serde_json::Number;

/// How close two numbers may be without readers agreeing which is the larger.
const NEAR: f64 = 1e-12;

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// `None`: readers disagree.
pub fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    let exact = whole(one).zip(whole(other)).map(|(one, other)| one.cmp(&other));
    let (one, other) = (one.as_f64()?, other.as_f64()?);
    let rough = one.partial_cmp(&other)?;
    match exact {
        Some(exact) => (exact == rough).then_some(exact),
        None if one == other => Some(Ordering::Equal),
        None if (one - other).abs() <= NEAR * one.abs().max(other.abs()) => None,
        None => Some(rough),
    }
}

/// Whether it is a whole number, `1.0` too.
pub fn is_whole(number: &Number) -> bool {
    whole(number).is_some() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// `None`: readers disagree, or the divisor is none.
pub fn is_multiple(number: &Number, of: &Number) -> Option<bool> {
    if let (Some(number), Some(of)) = (whole(number), whole(of)) {
        return (of > 0).then(|| number % of == 0);
    }
    let quotient = number.as_f64()? / of.as_f64().filter(|of| *of > 0.0)?;
    if !quotient.is_finite() {
        return None;
    }
    match (quotient - quotient.round()).abs() {
        0.0 => Some(true),
        rest if rest <= 1e-6 * quotient.abs().max(1.0) => None,
        _ => Some(false),
    }
}
