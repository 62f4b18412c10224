//! Sessions of the era that has them, from `initialize` to their end.

use super::*;

#[tokio::test]
async fn a_legacy_session_lives_from_initialize_to_delete() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized(A).await;
    assert_eq!(rig.front.sessions(), 1);
    let fields = [("Mcp-Session-Id", id.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let reply = rig.raw(post(A, &fields, note)).await;
    assert_eq!((reply.status, reply.body.as_str()), (202, ""));
    assert_eq!(message(&mut session).await.text().as_str(), note);
    let mut client = rig.client().await;
    client.send(&post(A, &fields, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)).await;
    message(&mut session).await;
    say(&session, &result(1)).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.body), (200, result(1)));
    assert!(reply.head.contains("application/json"));
    let delete = format!(
        "DELETE /mcp/stripe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {A}\r\nMcp-Session-Id: {id}\r\n\r\n"
    );
    assert_eq!(rig.raw(&delete).await.status, 204);
    assert!(session.link.inbound.recv().await.is_none());
    assert_eq!(rig.raw(post(A, &fields, note)).await.status, 404);
    assert_eq!(rig.raw(&delete).await.status, 404);
}

#[tokio::test]
async fn a_session_id_is_worth_nothing_to_others() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized(A).await;
    let fields = [("Mcp-Session-Id", id.as_str())];
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let unknown = rig.raw(post(A, &[("Mcp-Session-Id", "0123")], list)).await;
    assert_eq!(unknown.status, 404);
    let mut foreign = vec![post(B, &fields, list), post(B, &fields, note)];
    foreign.push(post(A, &fields, list).replace("/mcp/stripe", "/mcp/stigg"));
    for method in ["GET", "DELETE"] {
        foreign.push(format!(
            "{method} /mcp/stripe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {B}\r\nAccept: \
             text/event-stream\r\nMcp-Session-Id: {id}\r\n\r\n"
        ));
    }
    for request in foreign {
        let reply = rig.raw(&request).await;
        assert_eq!((reply.status, &reply.body), (404, &unknown.body), "{request}");
    }
    assert_eq!(rig.raw(post(A, &[], list)).await.status, 400, "no id at all");
    assert!(session.link.inbound.try_recv().is_err(), "nothing came through");
    // An id that the client chose begins a session with an id of ours.
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
    let mut client = rig.client().await;
    client.send(&post(B, &fields, body)).await;
    let other = rig.sessions.recv().await.unwrap();
    say(&other, &result(0)).await;
    assert_ne!(client.reply().await.header("mcp-session-id").unwrap(), id);
}

#[tokio::test]
async fn a_session_that_fails_to_begin_leaves_nothing() {
    let mut rig = Rig::start(Limits { sessions: 1, ..Limits::default() }).await;
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
    let mut client = rig.client().await;
    client.send(&post(A, &[], body)).await;
    let mut session = rig.sessions.recv().await.unwrap();
    message(&mut session).await;
    let busy = rig.raw(post(A, &[], body)).await;
    assert_eq!((busy.status, busy.header("retry-after").as_deref()), (503, Some("5")));
    say(&session, r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32603,"message":"no upstream"}}"#).await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("mcp-session-id").is_none());
    assert!(session.link.inbound.recv().await.is_none());
    // Nor does one whose client went away meanwhile.
    let mut client = rig.client().await;
    client.send(&post(A, &[], body)).await;
    let mut session = rig.sessions.recv().await.unwrap();
    message(&mut session).await;
    drop(client);
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(Id::Number(0))) | None));
    while session.link.inbound.recv().await.is_some() {}
    drop(session);
    rig.initialized(A).await;
}

#[tokio::test]
async fn the_listening_stream_takes_what_belongs_to_no_request() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, session) = rig.initialized(A).await;
    let get = |accept: &str| {
        format!(
            "GET /mcp/stripe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {A}\r\nAccept: \
             {accept}\r\nMcp-Session-Id: {id}\r\n\r\n"
        )
    };
    assert_eq!(rig.raw(get("application/json")).await.status, 406);
    let mut first = rig.client().await;
    first.send(&get("text/event-stream")).await;
    assert_eq!(first.head().await.status, 200);
    let ask = r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#;
    say(&session, ask).await;
    assert_eq!(first.event().await, ask);
    let mut second = rig.client().await;
    second.send(&get("text/event-stream")).await;
    assert_eq!(second.head().await.status, 200);
    first.until("0\r\n\r\n").await;
    say(&session, ask).await;
    assert_eq!(second.event().await, ask);
    drop(session);
    second.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn an_id_is_open_once() {
    let mut rig = Rig::start(Limits { in_flight: 2, ..Limits::default() }).await;
    let (id, mut session) = rig.initialized(A).await;
    let fields = [("Mcp-Session-Id", id.as_str())];
    let list = |id: i64| post(A, &fields, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#));
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    one.send(&list(1)).await;
    message(&mut session).await;
    assert_eq!(rig.raw(list(1)).await.status, 400);
    two.send(&list(2)).await;
    message(&mut session).await;
    assert_eq!(rig.raw(list(3)).await.status, 503);
    say(&session, &result(2)).await;
    say(&session, &result(1)).await;
    assert_eq!((one.reply().await.body, two.reply().await.body), (result(1), result(2)));
}
