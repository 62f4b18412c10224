//! What is read of a message, and what is refused before policy.

use super::*;

fn sorted(text: &str) -> Sorted {
    sort(Message::from_client(text).unwrap())
}

fn refusal(text: &str) -> Malformed {
    match sorted(text) {
        Sorted::Refuse(malformed) => malformed,
        other => panic!("{text} was not refused: {other:?}"),
    }
}

#[test]
fn a_tools_call_is_decided_and_keeps_its_bytes() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund","arguments":{"b":1.0,"a":2},"_meta":{"progressToken":1},"task":{"ttl":5}}}"#;
    let Sorted::Decide(call) = sorted(text) else { panic!("not decided") };
    assert_eq!(call.tool(), "refund");
    assert_eq!(call.arguments().as_str(), r#"{"b":1.0,"a":2}"#);
    assert_eq!(call.params().as_str(), r#"{"name":"refund","arguments":{"b":1.0,"a":2},"task":{"ttl":5}}"#);
    assert_eq!(call.message().as_str(), text);
    assert_eq!(call.meta().unwrap().text(), r#"{"progressToken":1}"#);
}

#[test]
fn arguments_may_be_absent_but_not_of_another_kind() {
    let Sorted::Decide(call) = sorted(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#) else {
        panic!("not decided")
    };
    assert_eq!(call.arguments().as_str(), "{}");
    for params in [
        r#"{"name":"x","arguments":[1]}"#,
        r#"{"name":"x","arguments":null}"#,
        r#"{"arguments":{}}"#,
        r#"{"name":1}"#,
        r#"{"name":"a b"}"#,
        r#"{"name":"x","_meta":1}"#,
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        assert_eq!(refusal(&text).code, INVALID_PARAMS, "{params}");
    }
}

#[test]
fn a_method_that_is_not_in_the_table_is_refused() {
    for method in ["tools/invoke", "Tools/Call", "tools/call ", "x-admin/tools/call", "tasks/update", "roots/list", ""]
    {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
        assert_eq!(refusal(&text).code, METHOD_NOT_FOUND, "{method}");
    }
}

#[test]
fn a_call_without_an_id_is_refused_and_not_answered() {
    let malformed = refusal(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#);
    assert!(!malformed.answer);
}

#[test]
fn unknown_notifications_go_nowhere() {
    assert!(matches!(sorted(r#"{"jsonrpc":"2.0","method":"notifications/tools/call"}"#), Sorted::Drop { .. }));
    assert!(matches!(sorted(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Sorted::Notice(_)));
}

/// The required `_meta` of the stateless era.
const MODERN: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;

#[test]
fn what_only_the_other_era_has_is_refused_as_unknown() {
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "tasks/result", "tasks/list"] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"a","method":"{method}","params":{{"taskId":"t",{MODERN}}}}}"#);
        let malformed = refusal(&text);
        assert_eq!(
            (malformed.code, malformed.id),
            (METHOD_NOT_FOUND, Some(super::super::message::Id::String("a".into())))
        );
        assert!(malformed.reason.contains("from 2026-07-28 on"), "{}", malformed.reason);
    }
    for method in ["subscriptions/listen", "tasks/update"] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"taskId":"t"}}}}"#);
        assert_eq!(refusal(&text).code, METHOD_NOT_FOUND, "{method}");
    }
}

#[test]
fn a_request_about_a_task_names_it() {
    for method in ["tasks/get", "tasks/cancel"] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"taskId":"a\u0062"}}}}"#);
        assert!(matches!(sorted(&text), Sorted::Task { task, .. } if task == "ab"));
    }
    let long = "x".repeat(MAX_TASK_ID + 1);
    for params in
        ["{}".to_owned(), r#"{"taskId":7}"#.into(), r#"{"taskId":""}"#.into(), format!(r#"{{"taskId":"{long}"}}"#)]
    {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{params}}}"#);
        assert_eq!(refusal(&text).code, INVALID_PARAMS, "{params}");
    }
}

#[test]
fn answers_are_read_as_a_whole() {
    let read = |text: &str| {
        let Sorted::Answer { passage, .. } = sorted(text) else { panic!("{text}") };
        answer(passage, Decided::Elicited)
    };
    let result =
        read(r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"a":1.0},"_meta":{}}}"#).unwrap();
    assert_eq!(result.arguments().as_str(), r#"{"action":"accept","content":{"a":1.0},"_meta":{}}"#);
    assert_eq!((result.tool(), result.method().as_str()), ("elicitation/create", "elicitation/create"));
    let sent = Message::of_call(&result).unwrap();
    assert!(matches!(sent.shape(), Shape::Response { id: Some(_), is_error: false }));
    let error = read(r#"{"jsonrpc":"2.0","id":"x","error":{"code":-1,"message":"no"}}"#).unwrap();
    assert_eq!(error.params().as_str(), r#"{"error":{"code":-1,"message":"no"}}"#);
    assert!(read(r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#).is_err());
}

#[test]
fn what_a_modern_request_answers_has_its_kind() {
    let with = |more: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x",{more}{MODERN}}}}}"#)
    };
    for odd in
        [r#""inputResponses":[],"#, r#""inputResponses":null,"#, r#""requestState":7,"#, r#""requestState":null,"#]
    {
        assert_eq!(refusal(&with(odd)).code, INVALID_PARAMS, "{odd}");
    }
    let Sorted::Decide(call) = sorted(&with(r#""inputResponses":{"k":{}},"requestState":"s","#)) else { panic!() };
    assert_eq!(call.responses().unwrap().text(), r#"{"k":{}}"#);
}

#[test]
fn a_completion_is_named_by_the_one_thing_that_its_reference_says() {
    let completion = |reference: &str| {
        let argument = r#""argument":{"name":"a","value":"b"}"#;
        let params = format!(r#"{{"ref":{reference},{argument}}}"#);
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{params}}}"#)
    };
    for (reference, named) in [
        (r#"{"type":"ref/prompt","name":"p","title":"t"}"#, "p"),
        (r#"{"type":"ref/resource","uri":"x:/{a}"}"#, "x:/{a}"),
    ] {
        let Sorted::Decide(call) = sorted(&completion(reference)) else { panic!("not decided") };
        assert_eq!(call.tool(), named);
    }
    for reference in [
        r#"{"type":"ref/prompt","name":"p","uri":"x:/harmless"}"#,
        r#"{"type":"ref/resource","uri":"x:/","name":"harmless"}"#,
        r#"{"type":"ref/prompt","uri":"x:/"}"#,
        r#"{"type":"ref/resource","name":"p"}"#,
        r#"{"type":"ref/tool","name":"p"}"#,
        r#"{"name":"p"}"#,
        r#"{"type":"ref/prompt","name":1}"#,
        "[]",
    ] {
        assert_eq!(refusal(&completion(reference)).code, INVALID_PARAMS, "{reference}");
    }
}

#[test]
fn parameters_that_the_protocol_does_not_have_are_refused() {
    let of = |method: &str, params: &str, modern: bool| {
        let meta = match modern {
            true => r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","a/b":1}"#,
            false => r#""_meta":{"progressToken":1,"a/b":1}"#,
        };
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params},{meta}}}}}"#);
        match sorted(&text) {
            Sorted::Decide(_) => Ok(()),
            Sorted::Refuse(malformed) => Err(malformed),
            other => panic!("{other:?}"),
        }
    };
    let answers = r#""inputResponses":{},"requestState":"s""#;
    for (method, params) in [
        ("tools/call", r#""name":"t","arguments":{"a":1}"#),
        ("prompts/get", r#""name":"p","arguments":{"a":"1"}"#),
        ("resources/read", r#""uri":"u:x""#),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""},"context":{}"#,
        ),
    ] {
        for modern in [false, true] {
            assert!(of(method, params, modern).is_ok(), "{method}");
            for more in ["account", "tool", "\\u006eame2", "cursor", "taskId"] {
                let refused = of(method, &format!(r#"{params},"{more}":"acct_other""#), modern).unwrap_err();
                assert_eq!(refused.code, INVALID_PARAMS);
                assert!(refused.reason.contains("have no member") && refused.id.is_some(), "{}", refused.reason);
            }
        }
        let answered = method != "completion/complete";
        assert_eq!(of(method, &format!("{params},{answers}"), true).is_ok(), answered, "{method}");
        assert!(of(method, &format!("{params},{answers}"), false).is_err(), "{method}");
    }
    let call = |task: &str, modern| of("tools/call", &format!(r#""name":"t","task":{task}"#), modern).is_ok();
    assert!(call(r#"{"ttl":60000}"#, false) && call("{}", false) && call("{}", true));
    // As the official TypeScript client writes them.
    for sdk in [r#"{"ttl":null}"#, r#"{"ttl":60000,"pollInterval":500}"#, r#"{"pollInterval":500}"#] {
        assert!(call(sdk, false) && call(sdk, true), "{sdk}");
    }
    for odd in [
        r#"{"ttl":"60000"}"#,
        r#"{"ttl":1,"account":"acct_other"}"#,
        r#"{"pollInterval":null}"#,
        r#"{"pollInterval":{"account":"acct_other"}}"#,
        "[]",
        "null",
        "1",
    ] {
        assert!(!call(odd, false) && !call(odd, true), "{odd}");
    }
    let listen = r#""notifications":{}"#;
    assert!(of("subscriptions/listen", listen, true).is_ok());
    assert!(of("subscriptions/listen", &format!(r#"{listen},"uri":"u""#), true).is_err());
    let update = r#""taskId":"t","inputResponses":{}"#;
    assert!(of("tasks/update", update, true).is_ok());
    assert!(of("tasks/update", &format!(r#"{update},"arguments":{{}}"#), true).is_err());
}
