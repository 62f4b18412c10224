//! Whether the scripted run went as told: judged by what reached the billing server and by what is on disk, not by
//! what the daemon says of itself.

use std::io;

use serde_json::Value;

use super::agent::{Answer, Report, SMALL, small_refund};
use super::billing::Received;
use super::books::Books;
use super::operator::NO;
use super::stage::{Log, Stage};
use super::story::{Check, Line};

/// What is left when everybody has gone home.
#[derive(Debug)]
pub struct Remains {
    pub report: Report,
    pub transcript: Vec<Line>,
    pub log: Log,
    /// The audit, one text for each record.
    pub records: Vec<String>,
    /// What `audit verify` says, where it is not intact.
    pub broken: Option<String>,
}

/// Everything that has to be true, whether it is or not.
///
/// # Errors
/// Where the files of the daemon cannot be read.
pub fn checks(stage: &Stage, remains: &Remains) -> io::Result<Vec<Check>> {
    let mut checks = told(&remains.report);
    checks.extend(reached(&stage.billing.log(), &stage.billing.books()));
    checks.push(leaks(stage, remains)?);
    let audit = remains.broken.clone().map_or_else(|| intact(remains.records.len()), Err);
    checks.push(Check::equal("the audit is intact", &Ok(()), &audit));
    Ok(checks)
}

/// An audit without records is no audit: two rulings, a denial and their calls leave many.
fn intact(records: usize) -> Result<(), String> {
    if records < 10 { Err(format!("{records} records")) } else { Ok(()) }
}

/// What the agent was told.
fn told(report: &Report) -> Vec<Check> {
    let outcome = |answer: &Answer| match answer {
        Answer::Done(_) => "done".to_owned(),
        Answer::Failed(text) => format!("failed: {text}"),
        Answer::Refused { outcome, .. } => outcome.clone(),
    };
    let delete = report.delete.as_ref().map(outcome);
    let has_reason = matches!(&report.large_refund, Answer::Refused { text, .. } if text.contains(NO));
    vec![
        Check::equal("the delete was refused by policy", &Some("denied".to_owned()), &delete),
        Check::equal("the approved refund was made", &"done".to_owned(), &outcome(&report.small_refund)),
        Check::equal(
            "the rejected refund was refused, with the operator's reason",
            &("rejected".to_owned(), true),
            &(outcome(&report.large_refund), has_reason),
        ),
    ]
}

/// What arrived at the billing server, by its own log and its books.
fn reached(received: &[Received], books: &Books) -> Vec<Check> {
    let calls: Vec<(String, Value)> = received.iter().filter_map(Received::call).collect();
    let of = |tool: &'static str| calls.iter().filter(move |(name, _)| name == tool);
    let refunds: Vec<Value> = of("create_refund").map(|(_, arguments)| arguments.clone()).collect();
    let paid: Vec<i64> = books.refunds().iter().map(|refund| refund.amount).collect();
    let deletes = of("delete_customer").count();
    let bare = received.iter().filter(|request| !request.authorized).count();
    vec![
        Check::equal(
            "one refund reached the billing server, the approved one",
            &(vec![Value::Object(small_refund().arguments)], vec![SMALL]),
            &(refunds, paid),
        ),
        Check::equal(
            "no delete reached the billing server",
            &(0, Books::opening().customers()),
            &(deletes, books.customers()),
        ),
        Check::equal("every request that reached it had the key", &(0, true), &(bare, !received.is_empty())),
    ]
}

/// Where the key is that it should not be.
fn leaks(stage: &Stage, remains: &Remains) -> io::Result<Check> {
    let mut found = stage.files_with_key()?;
    if remains.transcript.iter().any(|line| stage.holds_key(&line.text)) {
        found.push("the transcript".to_owned());
    }
    if remains.records.iter().any(|record| stage.holds_key(record)) {
        found.push("the audit".to_owned());
    }
    match remains.log.text() {
        Some(log) if log.is_empty() => found.push("the log is empty, so nothing was searched".to_owned()),
        Some(log) if stage.holds_key(&log) => found.push("the log".to_owned()),
        Some(_) => {}
        None => found.push("the log is too long to be searched".to_owned()),
    }
    Ok(Check::equal("the key is in no transcript, record, file or log line", &Vec::<String>::new(), &found))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;
    use crate::demo::agent::large_refund;
    use crate::demo::bridge::post;
    use crate::demo::story::Voice;

    fn refused(outcome: &str, text: &str) -> Answer {
        Answer::Refused { outcome: outcome.into(), text: text.into() }
    }

    fn good() -> Remains {
        let mut log = Log::default();
        log.write_all(b"a line\n").unwrap();
        Remains {
            report: Report {
                delete: Some(refused("denied", "no")),
                small_refund: Answer::Done(json!({})),
                large_refund: refused("rejected", &format!("Rejected by the operator: {NO}.")),
            },
            transcript: vec![],
            log,
            records: vec!["{}".into(); 10],
            broken: None,
        }
    }

    fn received(tool: &str, arguments: &Value) -> Received {
        let body = json!({"method": "tools/call", "params": {"name": tool, "arguments": arguments}}).to_string();
        Received { authorized: true, http: http::Method::POST, body }
    }

    fn deviations(checks: &[Check]) -> Vec<&'static str> {
        checks.iter().filter(|check| check.deviation.is_some()).map(|check| check.what).collect()
    }

    #[test]
    fn the_agent_must_be_told_what_was_decided() {
        assert_eq!(deviations(&told(&good().report)), Vec::<&str>::new());
        let done = Answer::Done(json!({}));
        let all_done = Report { delete: Some(done.clone()), small_refund: done.clone(), large_refund: done };
        assert_eq!(deviations(&told(&all_done)).len(), 2);
        let silent = Report { large_refund: refused("rejected", "no reason"), delete: None, ..good().report };
        assert_eq!(deviations(&told(&silent)).len(), 2);
    }

    #[test]
    fn whatever_else_reaches_the_server_is_a_deviation() {
        let small = Value::Object(small_refund().arguments);
        let large = Value::Object(large_refund().arguments);
        let mut books = Books::opening();
        books.refund("cus_harbor", "in_2042", Some(SMALL), "x").unwrap();
        let one = received("create_refund", &small);
        assert_eq!(deviations(&reached(std::slice::from_ref(&one), &books)), Vec::<&str>::new());
        assert_eq!(deviations(&reached(&[one.clone(), one.clone()], &books)).len(), 1);
        assert_eq!(deviations(&reached(&[one.clone(), received("create_refund", &large)], &books)).len(), 1);
        assert_eq!(deviations(&reached(&[one.clone(), received("delete_customer", &json!({}))], &books)).len(), 1);
        assert_eq!(deviations(&reached(&[Received { authorized: false, ..one.clone() }], &books)).len(), 1);
        assert_eq!(deviations(&reached(&[], &Books::opening())).len(), 2);
        books.delete("cus_atlas").unwrap();
        assert_eq!(deviations(&reached(&[one], &books)).len(), 1);
    }

    #[tokio::test]
    async fn a_key_anywhere_is_found() {
        let stage = Stage::set().await.unwrap();
        let key = std::fs::read_to_string(stage.config_path().with_file_name("billing.key")).unwrap();
        assert!(leaks(&stage, &good()).unwrap().deviation.is_none());
        let mut said = good();
        said.transcript.push(Line { voice: Voice::Hears, text: format!("a{key}b") });
        said.records.push(key.clone());
        said.log.write_all(key.as_bytes()).unwrap();
        std::fs::write(stage.state_dir().join("x"), &key).unwrap();
        let found = leaks(&stage, &said).unwrap().deviation.unwrap().found;
        assert!(["transcript", "audit", "the log", "state/x"].iter().all(|place| found.contains(place)), "{found}");
        let silent = Remains { log: Log::default(), ..good() };
        assert!(leaks(&stage, &silent).unwrap().deviation.is_some());
    }

    #[tokio::test]
    async fn the_whole_verdict_of_an_empty_run_is_not_as_told() {
        let stage = Stage::set().await.unwrap();
        post(&stage.billing.url(), None, None, String::new()).await;
        let remains = Remains { broken: Some("record 3 was changed".into()), ..good() };
        let checks = checks(&stage, &remains).unwrap();
        let expected = [
            "one refund reached the billing server, the approved one",
            "every request that reached it had the key",
            "the audit is intact",
        ];
        assert_eq!(deviations(&checks), expected);
        assert!(intact(3).is_err());
    }
}
