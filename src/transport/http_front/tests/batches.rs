//! Several messages in one array, in the one revision that has them.

use super::*;

fn ask(id: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#)
}

const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;

async fn started(limits: Limits) -> (Rig, String, NewSession) {
    let mut rig = Rig::start(limits).await;
    let (id, session) = rig.initialized_in(A, "2025-03-26").await;
    (rig, id, session)
}

fn array(session: &str, items: &[&str]) -> String {
    post(A, &[("Mcp-Session-Id", session)], &format!("[{}]", items.join(",")))
}

#[tokio::test]
async fn the_items_go_to_the_session_one_by_one_and_their_answers_come_in_one_array() {
    let (rig, id, mut session) = started(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&array(&id, &[&ask(1), NOTE, &ask(2)])).await;
    for expected in [ask(1), NOTE.to_owned(), ask(2)] {
        assert_eq!(message(&mut session).await.text().as_str(), expected);
    }
    say(&session, &result(2)).await;
    say(&session, &result(1)).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.body), (200, format!("[{},{}]", result(2), result(1))));
    assert_eq!(reply.head.matches("application/json").count(), 1);
    // One is an array too.
    client.send(&array(&id, &[&ask(3)])).await;
    message(&mut session).await;
    say(&session, &result(3)).await;
    assert_eq!(client.reply().await.body, format!("[{}]", result(3)));
}

#[tokio::test]
async fn what_has_to_wait_makes_it_a_stream_and_keeps_nothing_back() {
    let (rig, id, mut session) = started(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&array(&id, &[&ask(1), &ask(2)])).await;
    message(&mut session).await;
    message(&mut session).await;
    say(&session, &result(1)).await;
    session.link.outbound.send(ToClient::Waiting(Id::Number(2))).await.unwrap();
    assert_eq!(client.head().await.header("content-type").unwrap(), "text/event-stream");
    assert_eq!(client.event().await, result(1));
    say(&session, &result(2)).await;
    assert_eq!(client.event().await, result(2));
    client.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn without_requests_there_is_nothing_to_answer() {
    let (rig, id, mut session) = started(Limits::default()).await;
    let reply = rig.raw(array(&id, &[NOTE, NOTE])).await;
    assert_eq!((reply.status, reply.body.as_str()), (202, ""));
    message(&mut session).await;
    message(&mut session).await;
    assert_eq!(rig.raw(array(&id, &[&result(8), &result(9)])).await.status, 202);
    assert_eq!(message(&mut session).await.text().as_str(), result(8));
}

#[tokio::test]
async fn an_item_that_is_taken_back_keeps_no_other_from_its_answer() {
    let (rig, id, mut session) = started(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&array(&id, &[&ask(1), &ask(2)])).await;
    message(&mut session).await;
    message(&mut session).await;
    let cancel =
        |id: i64| format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    assert_eq!(rig.raw(post(A, &[("Mcp-Session-Id", &id)], &cancel(1))).await.status, 202);
    assert_eq!(message(&mut session).await.text().as_str(), cancel(1));
    say(&session, &result(2)).await;
    assert_eq!(client.reply().await.body, format!("[{}]", result(2)));
    // Nothing is left open, and nothing at all to say is an empty answer.
    client.send(&array(&id, &[&ask(1), &ask(2)])).await;
    message(&mut session).await;
    message(&mut session).await;
    assert_eq!(rig.raw(array(&id, &[&cancel(1), &cancel(2)])).await.status, 202);
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.body.as_str()), (202, ""));
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let (rig, id, mut session) = started(Limits { in_flight: 3, ..Limits::default() }).await;
    let mut client = rig.client().await;
    client.send(&array(&id, &[&ask(1)])).await;
    message(&mut session).await;
    let modern = call_body(5, "get_balance");
    let begin = r#"{"jsonrpc":"2.0","id":5,"method":"initialize","params":{}}"#;
    let many: Vec<_> = (0..65).map(|_| NOTE).collect();
    let cases = [
        (array(&id, &[]), 400),
        (array(&id, &[&ask(2), &ask(2)]), 400),
        (array(&id, &[&ask(2), &ask(1)]), 400),
        (array(&id, &[&ask(2), "null"]), 400),
        (array(&id, &[&ask(2), &result(1)]), 400),
        (array(&id, &[&ask(2), &modern]), 400),
        (array(&id, &[&ask(2), begin]), 400),
        (array(&id, &many), 400),
        (array(&id, &[&ask(2), &ask(3), &ask(4)]), 503),
        // Not the session's revision, and not a session of this revision.
        (array(&id, &[&ask(2)]).replace("Accept", "MCP-Protocol-Version: 2025-06-18\r\nAccept"), 400),
        (post(A, &[], &format!("[{}]", ask(2))), 400),
        (array(&id, &[&ask(2)]).replace(A, B), 400),
    ];
    for (request, status) in cases {
        let reply = rig.raw(&request).await;
        assert_eq!((reply.status, reply.code()), (status, INVALID_REQUEST), "{request}");
    }
    assert!(session.link.inbound.try_recv().is_err(), "nothing of them was handed over");
    say(&session, &result(1)).await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn other_revisions_have_no_batches() {
    let mut rig = Rig::start(Limits::default()).await;
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28", "x"] {
        let (id, mut session) = rig.initialized_in(A, revision).await;
        let reply = rig.raw(array(&id, &[&ask(1)])).await;
        assert_eq!((reply.status, reply.code()), (400, INVALID_REQUEST), "{revision}");
        assert!(session.link.inbound.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_takes_every_item_back() {
    let (rig, id, mut session) = started(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&array(&id, &[&ask(1), &ask(2)])).await;
    message(&mut session).await;
    message(&mut session).await;
    drop(client);
    let mut gone = Vec::new();
    while gone.len() < 2 {
        match session.link.inbound.recv().await {
            Some(FromClient::Gone(id)) => gone.push(id),
            other => panic!("{other:?}"),
        }
    }
    gone.sort();
    assert_eq!(gone, [Id::Number(1), Id::Number(2)]);
}
