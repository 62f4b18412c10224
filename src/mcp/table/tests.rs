//! The table, cell by cell, written down a second time: a row that is changed has to be changed here too. Every method
//! that any revision of the protocol or its tasks extension names has a line.

use super::*;

/// What a cell says, in a word.
fn client_request(era: Era, method: &str) -> String {
    match request(era, method) {
        None => "refused".into(),
        Some(Row::Pass) => "passes".into(),
        Some(Row::Task) => "own task".into(),
        Some(Row::Decide(decided)) => {
            assert_eq!(decided.as_str(), method);
            assert!(!decided.is_answer());
            "decided".into()
        }
    }
}

fn client_notice(era: Era, method: &str) -> String {
    match notice(era, method) {
        None => "dropped".into(),
        Some(Notice::Pass) => "passes".into(),
        Some(Notice::Cancel) => "sent request".into(),
        Some(Notice::Progress) => "open question".into(),
        Some(Notice::Offered(capability)) => format!("offered {capability}"),
    }
}

fn upstream_request(era: Era, method: &str) -> String {
    match question(era, method) {
        None => "declined".into(),
        Some(Question { needs, answer, in_a_call }) => {
            if let Some(decided) = answer {
                assert_eq!(decided.as_str(), method);
                assert!(decided.is_answer());
            }
            let answer = if answer.is_some() { "decided" } else { "passes" };
            let call = if in_a_call { " in a call" } else { "" };
            format!("{}{call}, {answer}", needs.unwrap_or("anybody"))
        }
    }
}

fn upstream_notice(era: Era, method: &str) -> String {
    if news(era, method) { "passes" } else { "dropped" }.into()
}

/// Method, client's request (up to 2025-11-25, from 2026-07-28 on), the upstream's request likewise.
const REQUESTS: &[[&str; 5]] = &[
    ["initialize", "passes", "refused", "declined", "declined"],
    ["ping", "passes", "refused", "anybody, passes", "declined"],
    ["server/discover", "refused", "passes", "declined", "declined"],
    ["logging/setLevel", "passes", "refused", "declined", "declined"],
    ["tools/list", "passes", "passes", "declined", "declined"],
    ["tools/call", "decided", "decided", "declined", "declined"],
    ["resources/list", "passes", "passes", "declined", "declined"],
    ["resources/templates/list", "passes", "passes", "declined", "declined"],
    ["resources/read", "decided", "decided", "declined", "declined"],
    ["resources/subscribe", "decided", "refused", "declined", "declined"],
    ["resources/unsubscribe", "passes", "refused", "declined", "declined"],
    ["prompts/list", "passes", "passes", "declined", "declined"],
    ["prompts/get", "decided", "decided", "declined", "declined"],
    ["completion/complete", "decided", "decided", "declined", "declined"],
    ["subscriptions/listen", "refused", "decided", "declined", "declined"],
    ["tasks/get", "own task", "own task", "tasks, passes", "declined"],
    ["tasks/result", "own task", "refused", "tasks, decided", "declined"],
    ["tasks/list", "passes", "refused", "tasks, passes", "declined"],
    ["tasks/cancel", "own task", "own task", "tasks, passes", "declined"],
    ["tasks/update", "refused", "decided", "declined", "declined"],
    ["roots/list", "refused", "refused", "roots, decided", "roots, decided"],
    ["sampling/createMessage", "refused", "refused", "sampling in a call, decided", "sampling in a call, decided"],
    ["elicitation/create", "refused", "refused", "elicitation in a call, decided", "elicitation in a call, decided"],
    // Nobody's.
    ["tools/invoke", "refused", "refused", "declined", "declined"],
    ["Tools/Call", "refused", "refused", "declined", "declined"],
    ["tools/call ", "refused", "refused", "declined", "declined"],
    ["x-vendor/tools/call", "refused", "refused", "declined", "declined"],
    ["", "refused", "refused", "declined", "declined"],
];

/// Notifications, in the same columns.
const NOTICES: &[[&str; 5]] = &[
    ["notifications/initialized", "passes", "dropped", "dropped", "dropped"],
    ["notifications/cancelled", "sent request", "sent request", "passes", "passes"],
    ["notifications/progress", "open question", "dropped", "passes", "passes"],
    ["notifications/message", "dropped", "dropped", "passes", "passes"],
    ["notifications/roots/list_changed", "offered roots", "dropped", "dropped", "dropped"],
    ["notifications/tools/list_changed", "dropped", "dropped", "passes", "passes"],
    ["notifications/prompts/list_changed", "dropped", "dropped", "passes", "passes"],
    ["notifications/resources/list_changed", "dropped", "dropped", "passes", "passes"],
    ["notifications/resources/updated", "dropped", "dropped", "passes", "passes"],
    ["notifications/elicitation/complete", "dropped", "dropped", "passes", "dropped"],
    ["notifications/tasks/status", "offered tasks", "dropped", "passes", "dropped"],
    ["notifications/tasks", "dropped", "dropped", "dropped", "passes"],
    ["notifications/subscriptions/acknowledged", "dropped", "dropped", "dropped", "passes"],
    // Nobody's.
    ["notifications/x", "dropped", "dropped", "dropped", "dropped"],
    ["tools/call", "dropped", "dropped", "dropped", "dropped"],
];

#[test]
fn every_method_in_every_era_and_direction() {
    for [method, legacy, modern, asked, asked_modern] in REQUESTS {
        assert_eq!(client_request(Era::Legacy, method), *legacy, "{method}");
        assert_eq!(client_request(Era::Modern, method), *modern, "{method}");
        assert_eq!(upstream_request(Era::Legacy, method), *asked, "{method}");
        assert_eq!(upstream_request(Era::Modern, method), *asked_modern, "{method}");
    }
    for [method, legacy, modern, told, told_modern] in NOTICES {
        assert_eq!(client_notice(Era::Legacy, method), *legacy, "{method}");
        assert_eq!(client_notice(Era::Modern, method), *modern, "{method}");
        assert_eq!(upstream_notice(Era::Legacy, method), *told, "{method}");
        assert_eq!(upstream_notice(Era::Modern, method), *told_modern, "{method}");
    }
}

/// No row is left out above, and none stands twice.
#[test]
fn the_table_has_no_other_rows() {
    fn check(names: impl Iterator<Item = &'static str>, known: &[[&str; 5]]) {
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            assert!(known.iter().any(|[method, ..]| *method == name), "{name} is not in the test");
            assert!(seen.insert(name), "{name} has two rows");
        }
    }
    check(super::REQUESTS.iter().map(|row| row.0), REQUESTS);
    check(super::QUESTIONS.iter().map(|row| row.0), REQUESTS);
    check(super::NOTICES.iter().map(|row| row.0), NOTICES);
    check(super::NEWS.iter().map(|row| row.0), NOTICES);
}
