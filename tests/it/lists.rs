//! What lists show, what is remembered of it, and that lists and calls agree.

use serde_json::{Value, json};

use crate::harness::{Act, Countersign, Spy, call, outcome, request, stateless};

fn tool(name: &str, version: u32) -> Value {
    json!({
        "name": name, "title": format!("v{version}"), "inputSchema": {"type": "object", "x": 1.50},
        "execution": {"taskSupport": "optional"}, "icons": [{"src": "data:,"}], "annotations": {"readOnlyHint": true},
        "_meta": {"vendor/x": [1, 2]},
    })
}

/// Lists the tools with the version that the latest `test/version` notification in a call's arguments set.
async fn versioned() -> Spy {
    Spy::stdio_with(|received, before| {
        let version = before
            .iter()
            .chain([received])
            .filter_map(|message| message.message.pointer("/params/arguments/version")?.as_u64())
            .next_back();
        let version = u32::try_from(version.unwrap_or(1)).unwrap();
        let list =
            json!({"tools": [tool("get_balance", 1), tool("create_refund", version), tool("delete_customer", 1)]});
        match (received.method(), received.tool()) {
            ("tools/list", _) => Some(vec![Act::Result(list)]),
            ("tools/call", "get_balance") => Some(vec![
                Act::Say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})),
                Act::Result(json!({"content": []})),
            ]),
            _ => None,
        }
    })
    .await
}

const REFUND: &str = "create_refund";

#[tokio::test]
async fn an_approval_does_not_outlast_the_definition_that_it_was_given_for() {
    // (what happens while the call is held, is there anything left to approve, does the approval count)
    for (changes, lists_again, approves, counts) in [
        (None, false, true, true),
        (Some(1), true, true, true),
        (Some(2), true, false, false),
        (Some(1), false, true, false),
        (None, true, true, true),
    ] {
        let spy = versioned().await;
        let mut daemon = Countersign::new().upstream(&spy).start().await;
        let mut console = daemon.console().await;
        let mut shim = daemon.shim().await;
        shim.send(&request(1, "tools/list", json!({}))).await;
        shim.answer(1).await;
        shim.send(&call(2, REFUND, json!({"amount": 1}))).await;
        let hold = console.hold().await;
        assert!(hold.definition.is_some());
        if let Some(version) = changes {
            shim.send(&call(3, "get_balance", json!({"version": version}))).await;
            shim.answer(3).await;
        }
        if lists_again {
            shim.send(&request(4, "tools/list", json!({}))).await;
            shim.answer(4).await;
        }
        assert_eq!(console.approve(&hold).await.is_ok(), approves, "{changes:?} {lists_again}");
        let answer = shim.answer(2).await;
        let case = format!("{changes:?} {lists_again}: {answer}");
        if counts {
            assert_eq!(answer["result"]["content"][0]["text"], "done: create_refund", "{case}");
        } else {
            assert_eq!(outcome(&answer), Some("denied"), "{case}");
            assert!(answer.to_string().contains("changed the definition"), "{case}");
        }
        assert_eq!(spy.calls(REFUND), usize::from(counts), "{case}");
        drop(shim);
        daemon.stop().await;
        let closed = daemon.records().await.iter().filter(|record| record["kind"] == "closed").count();
        assert_eq!(closed, usize::from(!counts));
    }
}

/// What one session has seen listed is known to the next, until the server says that it has changed.
#[tokio::test]
async fn a_definition_is_known_to_other_sessions_until_it_is_out_of_date() {
    let spy = versioned().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let (mut one, mut two) = (daemon.shim().await, daemon.shim().await);
    two.send(&call(1, REFUND, json!({}))).await;
    assert_eq!(console.hold().await.definition, None);
    one.send(&request(1, "tools/list", json!({}))).await;
    one.answer(1).await;
    two.send(&call(2, REFUND, json!({}))).await;
    assert!(console.hold().await.definition.is_some());
    one.send(&call(2, "get_balance", json!({}))).await;
    one.answer(2).await;
    // Not identical to the first, behind whose prompt it would wait.
    two.send(&call(3, REFUND, json!({"n": 3}))).await;
    assert_eq!(console.hold().await.definition, None);
}

/// Every tool that is not shown is denied, every tool that is shown is not denied whatever the arguments.
#[tokio::test]
async fn lists_and_calls_agree() {
    let spy = versioned().await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut console = daemon.console().await;
    let mut shim = daemon.shim().await;
    shim.send(&request(1, "tools/list", json!({}))).await;
    let listed = shim.answer(1).await["result"]["tools"].clone();
    for name in ["get_balance", REFUND, "delete_customer"] {
        shim.send(&call(name, name, json!({}))).await;
        if name == REFUND {
            let hold = console.hold().await;
            console.approve(&hold).await.unwrap();
        }
        let denied = outcome(&shim.answer(name).await) == Some("denied");
        let shown = listed.as_array().unwrap().iter().any(|tool| tool["name"] == name);
        assert_eq!(shown, !denied, "{name}");
    }
    // What is shown is what the server wrote.
    assert_eq!(listed, json!([tool("get_balance", 1), tool(REFUND, 1)]));
}

/// Resources, templates and prompts are listed as they are; the cache hints of tools become private.
#[tokio::test]
async fn other_lists_are_not_filtered_and_a_tool_list_is_not_for_everybody() {
    let page = |members: Value| {
        let mut page =
            json!({"resultType": "complete", "nextCursor": "é=", "ttlMs": 5, "cacheScope": "public", "x": 1});
        page.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        page
    };
    let pages = [
        ("tools/list", page(json!({"tools": [tool("get_balance", 1), tool("delete_customer", 1)]}))),
        ("resources/list", page(json!({"resources": [{"uri": "file:///delete_customer", "name": "delete_customer"}]}))),
        ("resources/templates/list", page(json!({"resourceTemplates": [{"uriTemplate": "x://{a}", "name": "t"}]}))),
        ("prompts/list", page(json!({"prompts": [{"name": "delete_customer", "icons": []}]}))),
    ];
    let said = pages.clone();
    let spy = Spy::stdio_with(move |received, _| {
        let (_, page) = said.iter().find(|(method, _)| *method == received.method())?;
        Some(vec![Act::Result(page.clone())])
    })
    .await;
    let daemon = Countersign::new().upstream(&spy).start().await;
    let mut shim = daemon.raw_shim();
    for (method, mut page) in pages {
        shim.send(&stateless(request(method, method, json!({"cursor": "c"})), json!({}))).await;
        if method == "tools/list" {
            page["cacheScope"] = json!("private");
            page["tools"] = json!([tool("get_balance", 1)]);
        }
        assert_eq!(shim.answer(method).await["result"], page, "{method}");
    }
}
