//! Amounts of money in words: the number as the call spells it first, then what it comes to. Nothing is guessed: where
//! the currency is not in the call, or its smallest unit is not the same for everybody, that is what it says.

use crate::call::Money;

/// ISO 4217 currencies whose smallest unit is the hundredth. Source: ISO 4217 list one, 2024.
const HUNDREDTHS: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD \
    CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF \
    IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD \
    NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP \
    SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG";
/// Without a smaller unit, for ISO and for payment processors alike.
const WHOLE: &str = "BIF CLP DJF GNF JPY KMF KRW PYG RWF VND VUV XAF XOF XPF";
const THOUSANDTHS: &str = "BHD IQD JOD KWD LYD OMR TND";
/// ISO 4217 says one thing and payment processors another: ISK and UGX are whole and written in hundredths, MGA and MRU
/// the other way round.
const DISPUTED: &str = "ISK UGX MGA MRU";

fn is_in(list: &str, code: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == code)
}

/// Digits behind the point of a currency; nothing where it is unknown or disputed.
fn exponent(code: &str) -> Option<usize> {
    match () {
        () if is_in(HUNDREDTHS, code) => Some(2),
        () if is_in(WHOLE, code) => Some(0),
        () if is_in(THOUSANDTHS, code) => Some(3),
        () => None,
    }
}

/// The number as it is spelled first; what is not in the call is said to be missing and never guessed.
pub fn words(money: &Money) -> String {
    let currency = match &money.currency {
        Some(currency) => format!(", currency {currency}"),
        None => "; the currency is not in the call".to_owned(),
    };
    match (&money.amount, &money.absent) {
        (Some(amount), _) => format!("{amount} {} units{currency}{}", money.unit, comes_to(amount, money)),
        (None, Some(absent)) => format!("no amount in the call, which means: {absent}{currency}"),
        (None, None) => format!("no amount in the call{currency}"),
    }
}

/// What an amount is in the currency's own unit, where both are in the call.
fn comes_to(amount: &str, money: &Money) -> String {
    let Some(currency) = &money.currency else { return String::new() };
    let code = currency.to_ascii_uppercase();
    let is_minor = money.unit == "minor";
    if is_in(DISPUTED, &code) {
        let why = if is_minor { ": how much a minor unit is depends on whom you ask" } else { "" };
        return format!("{}{why}", if is_minor { String::new() } else { major(amount, &code) });
    }
    match exponent(&code) {
        None => "; not a currency that is known here".to_owned(),
        Some(exponent) if is_minor => {
            shifted(amount, exponent).map(|sum| format!(" = {sum} {code}")).unwrap_or_default()
        }
        Some(_) => major(amount, &code),
    }
}

fn major(amount: &str, code: &str) -> String {
    shifted(amount, 0).map(|sum| format!(" = {sum} {code}")).unwrap_or_default()
}

/// A whole number with its point moved and its thousands apart. Anything else stays as it is spelled.
fn shifted(amount: &str, exponent: usize) -> Option<String> {
    let (sign, digits) = amount.strip_prefix('-').map_or(("", amount), |digits| ("-", digits));
    if digits.is_empty() || digits.len() > 24 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{digits:0>width$}", width = exponent + 1);
    let (whole, rest) = padded.split_at_checked(padded.len().checked_sub(exponent)?)?;
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = if rest.is_empty() { "" } else { "." };
    Some(format!("{sign}{grouped}{point}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(amount: &str, unit: &str, currency: Option<&str>) -> String {
        let money = Money {
            amount: Some(amount.to_owned()),
            unit: unit.to_owned(),
            currency: currency.map(str::to_owned),
            absent: None,
        };
        words(&money)
    }

    #[test]
    fn money_is_what_the_currency_says_and_never_guessed() {
        for (amount, unit, currency, wanted) in [
            ("125000", "minor", Some("usd"), "125000 minor units, currency usd = 1,250.00 USD"),
            ("125000", "minor", Some("JPY"), "125000 minor units, currency JPY = 125,000 JPY"),
            ("1250", "minor", Some("kwd"), "1250 minor units, currency kwd = 1.250 KWD"),
            ("5", "minor", Some("eur"), "5 minor units, currency eur = 0.05 EUR"),
            ("-5", "minor", Some("eur"), "-5 minor units, currency eur = -0.05 EUR"),
            ("1234567", "major", Some("usd"), "1234567 major units, currency usd = 1,234,567 USD"),
            ("125000", "minor", None, "125000 minor units; the currency is not in the call"),
            ("125000", "minor", Some("zzz"), "125000 minor units, currency zzz; not a currency that is known here"),
            (
                "500",
                "minor",
                Some("ISK"),
                "500 minor units, currency ISK: how much a minor unit is depends on whom you ask",
            ),
            // Not whole numbers: spelled as they are.
            ("1e5", "minor", Some("usd"), "1e5 minor units, currency usd"),
            ("12.5", "minor", Some("usd"), "12.5 minor units, currency usd"),
            ("\"125\"", "minor", Some("usd"), "\"125\" minor units, currency usd"),
        ] {
            assert_eq!(said(amount, unit, currency), wanted);
        }
        let full = Money { amount: None, unit: "minor".to_owned(), currency: None, absent: Some("full".to_owned()) };
        assert_eq!(words(&full), "no amount in the call, which means: full; the currency is not in the call");
    }

    #[test]
    fn no_currency_is_in_two_lists() {
        let all = [HUNDREDTHS, WHOLE, THOUSANDTHS, DISPUTED].join(" ");
        let mut codes: Vec<_> = all.split_ascii_whitespace().collect();
        assert!(codes.iter().all(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())));
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
