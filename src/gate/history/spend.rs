//! What one call adds to what its principal has spent: one call, and its amount where that is known beyond doubt.
//!
//! Invariant: an amount is exact. Whatever could mean something else than it says (a sign, an exponent in a string, a
//! zero, more digits than a double holds) is not known, and neither is one beside which the call does more: a budget
//! for sums then refuses.

use std::fmt;

use crate::call::{CallContext, Class, Decided, Money, Operation, ToolCall};
use crate::json::{JsonText, Rules};

/// Decimals that are counted, and digits before them.
const DECIMALS: usize = 6;
const DIGITS: usize = 15;

/// A sum of money, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Amount(i128);

impl Amount {
    const ONE: i128 = 1_000_000;

    pub fn plus(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount)
    }

    /// `None` where it would be less than nothing.
    pub fn minus(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).filter(|left| *left >= 0).map(Amount)
    }

    /// The amount that this JSON text says: a positive number, or a string with digits and perhaps a point.
    pub fn read(json: &str) -> Option<Amount> {
        let value = JsonText::parse(json, Rules::CLIENT).ok()?;
        let text = value.as_str();
        let (number, exponent) = match text.strip_prefix('"') {
            Some(quoted) => (quoted.strip_suffix('"')?, 0),
            None => match text.split_once(['e', 'E']) {
                Some((number, exponent)) => (number, exponent.trim_start_matches('+').parse::<i32>().ok()?),
                None => (text, 0),
            },
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.len() <= 40 && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        // digits × 10^scale millionths
        let all = format!("{whole}{fraction}");
        let significant = all.trim_end_matches('0');
        let scale = i32::try_from(DECIMALS).ok()?
            + exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?
            + i32::try_from(all.len() - significant.len()).ok()?;
        let value: i128 = significant.trim_start_matches('0').parse().ok()?;
        let value = value.checked_mul(10_i128.checked_pow(u32::try_from(scale).ok()?)?)?;
        let most = Self::ONE.checked_mul(10_i128.checked_pow(u32::try_from(DIGITS).ok()?)?)?;
        (value > 0 && value < most).then_some(Amount(value))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::ONE, self.0 % Self::ONE);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let rest = format!("{rest:06}");
        write!(f, "{whole}.{}", rest.trim_end_matches('0'))
    }
}

/// What one call adds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spend {
    /// Currency, in lower case, or `none` where the call names none; and amount. `None` where it is not known.
    pub money: Option<(String, Amount)>,
}

impl Spend {
    /// Nothing where the call is not counted: what a client answers belongs to a call that was, and so does what goes
    /// on from one. What code asks of an API counts by itself: the call that runs it says nothing about it.
    pub fn of(call: &ToolCall, context: &CallContext) -> Option<Spend> {
        Spend::counted(call.method().as_str(), context.continues.is_some(), &context.operation)
    }

    /// The same, from what a record says.
    pub fn counted(method: &str, continues: bool, operation: &Operation) -> Option<Spend> {
        let belongs = [Decided::TasksUpdate, Decided::Elicited, Decided::Sampled, Decided::Roots, Decided::TaskOutcome];
        let goes_on = continues && method != Decided::ApiRequest.as_str();
        if goes_on || belongs.iter().any(|other| other.as_str() == method) {
            return None;
        }
        Some(Spend { money: operation.money.as_ref().filter(|_| is_all(operation)).and_then(known) })
    }
}

/// The amount is all that the operation does: nothing in it does more, and no quantity or percentage stands beside it.
fn is_all(operation: &Operation) -> bool {
    let alone = operation.magnitude.as_ref().is_none_or(|magnitude| match magnitude.unit.as_str() {
        "count" => magnitude.value.as_deref() == Some("1"),
        unit => unit != "percent",
    });
    alone && !operation.unmeasured && operation.class != Class::Unknown
}

fn known(money: &Money) -> Option<(String, Amount)> {
    let amount = Amount::read(money.amount.as_deref()?)?;
    let currency = match money.currency.as_deref() {
        None => "none".to_owned(),
        Some(code) if code.len() == 3 && code.bytes().all(|b| b.is_ascii_alphabetic()) => code.to_ascii_lowercase(),
        Some(_) => return None,
    };
    Some((currency, amount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Magnitude;

    #[test]
    fn an_amount_is_what_it_says_or_is_not_known() {
        for (text, amount) in [
            ("1", "1"),
            ("5000", "5000"),
            ("10.50", "10.5"),
            ("\"10.50\"", "10.5"),
            ("\"5000\"", "5000"),
            ("1e3", "1000"),
            ("1E+3", "1000"),
            ("1.5e2", "150"),
            ("1500e-2", "15"),
            ("0.000001", "0.000001"),
            ("1.0000000", "1"),
            ("999999999999999", "999999999999999"),
        ] {
            assert_eq!(Amount::read(text).map(|amount| amount.to_string()).as_deref(), Some(amount), "{text}");
        }
        for odd in [
            "0",
            "0.0",
            "-0",
            "-1",
            "-0.01",
            "1e15",
            "1e300",
            "1e-7",
            "0.0000001",
            "1000000000000000",
            "null",
            "true",
            "[]",
            "[5]",
            "{}",
            "\"\"",
            "\"1e3\"",
            "\"-1\"",
            "\"+1\"",
            "\" 1\"",
            "\"1 \"",
            "\"0x10\"",
            "\"010\"",
            "\"1,5\"",
            "\"1.\"",
            "\".5\"",
            "\"\\u0031\"",
            "\"١\"",
            "\"1.2.3\"",
            "full",
            "",
        ] {
            assert_eq!(Amount::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn sums_are_exact() {
        let [a, b] = ["0.1", "0.2"].map(|text| Amount::read(text).unwrap());
        assert_eq!(a.plus(b).unwrap().to_string(), "0.3");
        assert_eq!(a.plus(b).unwrap().minus(b), Some(a));
        assert_eq!(a.minus(b), None);
        assert_eq!(Amount(i128::MAX).plus(a), None);
    }

    #[test]
    fn a_currency_is_three_letters_or_none() {
        let money = |currency: Option<&str>| Money {
            amount: Some("7".into()),
            unit: "minor".into(),
            currency: currency.map(str::to_owned),
            absent: None,
        };
        let of = |currency| known(&money(currency)).map(|(currency, _)| currency);
        assert_eq!(of(Some("EUR")).as_deref(), Some("eur"));
        assert_eq!(of(None).as_deref(), Some("none"));
        for odd in ["", "eu", "euro", "e r", "none", "€€€", "any1"] {
            assert_eq!(of(Some(odd)), None, "{odd}");
        }
        assert_eq!(known(&Money { amount: None, absent: Some("full".into()), ..money(None) }), None);
    }

    #[test]
    fn an_amount_beside_which_a_call_does_more_is_not_known() {
        let with = |change: fn(&mut Operation)| {
            let mut operation = Operation::bare("refund", Class::Financial);
            operation.money =
                Some(Money { amount: Some("7".into()), unit: "minor".into(), currency: None, absent: None });
            change(&mut operation);
            Spend::counted("tools/call", false, &operation).unwrap().money.is_some()
        };
        fn beside(operation: &mut Operation, value: Option<&str>, unit: &str) {
            let value = value.map(str::to_owned);
            operation.magnitude = Some(Magnitude { value, unit: unit.into(), absent: None });
        }
        assert!(with(|_| {}));
        assert!(with(|operation| beside(operation, Some("1"), "count")));
        assert!(with(|operation| beside(operation, Some("500"), "credits")), "it says what the money buys");
        assert!(!with(|operation| operation.unmeasured = true));
        assert!(!with(|operation| operation.class = Class::Unknown));
        assert!(!with(|operation| beside(operation, Some("100000"), "count")));
        assert!(!with(|operation| beside(operation, None, "count")), "it may be any");
        assert!(!with(|operation| beside(operation, Some("[1]"), "count")));
        assert!(!with(|operation| beside(operation, Some("100"), "percent")));
    }

    #[test]
    fn what_belongs_to_a_counted_call_is_not_counted() {
        let none = Operation::bare("refund", Class::Financial);
        assert!(Spend::counted("tools/call", false, &none).is_some());
        assert!(Spend::counted("resources/read", false, &none).is_some());
        assert!(Spend::counted("tools/call", true, &none).is_none());
        assert!(Spend::counted("api/request", true, &none).is_some());
        for method in ["tasks/update", "elicitation/create", "sampling/createMessage", "roots/list", "tasks/result"] {
            assert!(Spend::counted(method, false, &none).is_none(), "{method}");
        }
    }
}
