//! How a signed ruling is verified without this program: commands for a shell, from one record alone.
//!
//! Invariant: nothing of the record can end the quotation that it stands in. A record that could is not printed so.

use crate::json::{Json, JsonText};
use crate::signing::NAMESPACE;

/// What stands around quoted text. No line of a signed text, a signature or a list of operators looks like it.
const END: &str = "END";

/// The commands, where the record of a ruling holds a signature; `Err` where it has one of another form.
pub fn commands(body: &JsonText) -> Option<Result<String, &'static str>> {
    let body = body.view();
    let signed = body.get("signed")?;
    Some(build(body, signed).ok_or("the record has a signature of an unknown form"))
}

fn build(body: Json<'_>, signed: Json<'_>) -> Option<String> {
    let part = |name: &str| quotable(&signed.get(name)?.as_str()?);
    let (signer, text, signature) = (part("signer")?, part("text")?, part("signature")?);
    let operator = body.get("operator")?.as_str()?;
    if !crate::signing::is_name(&operator) {
        return None;
    }
    Some(format!(
        "d=$(mktemp -d)\n\
         cat >\"$d/signers\" <<'{END}'\n{signer}{END}\n\
         cat >\"$d/text\" <<'{END}'\n{text}{END}\n\
         cat >\"$d/signature\" <<'{END}'\n{signature}{END}\n\
         ssh-keygen -Y verify -n {NAMESPACE} -I {operator} -f \"$d/signers\" -s \"$d/signature\" <\"$d/text\""
    ))
}

/// Whole lines of plain characters, none of which ends the quotation.
fn quotable(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n'));
    let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    (plain && text.lines().all(|line| line != END)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Rules;

    fn of(body: &serde_json::Value) -> Option<Result<String, &'static str>> {
        commands(&JsonText::parse(body.to_string(), Rules::UPSTREAM).unwrap())
    }

    #[test]
    fn nothing_of_a_record_becomes_a_command() {
        let body = |operator: &str, text: &str| {
            serde_json::json!({
                "operator": operator, "signed": {"signer": "a b", "text": text, "signature": "s", "key": "k"},
            })
        };
        let good = of(&body("anna", "countersign ruling 1\n$(reboot) `reboot`\n")).unwrap().unwrap();
        assert!(good.contains("<<'END'\ncountersign ruling 1\n$(reboot) `reboot`\nEND\n"), "{good}");
        assert!(of(&serde_json::json!({"operator": "anna"})).is_none());
        for (operator, text) in [
            ("anna; reboot", "x\n"),
            ("-f", "x\n"),
            ("", "x\n"),
            ("anna", "x\nEND\nreboot\n"),
            ("anna", "END"),
            ("anna", "x\r\n"),
            ("anna", "\u{1b}[2J"),
        ] {
            assert!(of(&body(operator, text)).unwrap().is_err(), "{operator:?} {text:?}");
        }
    }
}
