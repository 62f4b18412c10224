//! Requests that stand alone, in the one session that their principal has with a child.

use super::*;

fn ask(token: &str, id: &str, progress: &str) -> String {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"get_balance",{}}}}}"#,
        META.replace("{\"io", &format!("{{\"progressToken\":{progress},\"io"))
    );
    post(token, &MODERN, &body).replace("/mcp/stripe", "/mcp/child")
}

/// The number that the request has in the session.
async fn number(session: &mut NewSession) -> i64 {
    let message = message(session).await;
    let Some(Id::Number(number)) = message.id() else { panic!("{message:?}") };
    let token = message.text().view().pointer("/params/_meta/progressToken").unwrap().as_i64();
    assert_eq!(token, Some(*number));
    *number
}

#[tokio::test]
async fn requests_with_the_same_names_get_their_own_answers() {
    let mut rig = Rig::start(Limits::default()).await;
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    one.send(&ask(A, "\"\\u0061\"", "\"t\"")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    assert_eq!((session.server.as_str(), session.client.peer.as_deref()), ("child", None));
    let first = number(&mut session).await;
    two.send(&ask(A, "\"a\"", "7")).await;
    let second = number(&mut session).await;
    assert_ne!(first, second);
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    say(&session, &progress(&second.to_string())).await;
    assert_eq!(two.head().await.header("content-type").unwrap(), "text/event-stream");
    assert_eq!(two.event().await, progress("7"));
    say(&session, &progress(&first.to_string())).await;
    one.head().await;
    assert_eq!(one.event().await, progress("\"t\""));
    // What names nobody, or names somebody in another way, is nobody's.
    for stray in [progress("99"), progress(&format!("\"{first}\"")), result(99), result(-1)] {
        say(&session, &stray).await;
    }
    say(&session, r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#).await;
    say(&session, r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}"#).await;
    say(&session, &result(second)).await;
    say(&session, &result(first)).await;
    assert_eq!(two.event().await, r#"{"jsonrpc":"2.0","id":"a","result":{"ok":true}}"#);
    assert_eq!(one.event().await, r#"{"jsonrpc":"2.0","id":"\u0061","result":{"ok":true}}"#);
    rig.nothing_passed();
}

#[tokio::test]
async fn a_log_message_goes_to_the_one_who_asked_for_it() {
    let mut rig = Rig::start(Limits::default()).await;
    let wants = |id: &str| {
        let level = r#""io.modelcontextprotocol/logLevel":"info","#;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"get_balance",{}}}}}"#,
            META.replace("{\"io", &format!("{{{level}\"io"))
        );
        post(A, &MODERN, &body).replace("/mcp/stripe", "/mcp/child")
    };
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    let (mut plain, mut one, mut two) = (rig.client().await, rig.client().await, rig.client().await);
    plain.send(&ask(A, "1", "1")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    let silent = number(&mut session).await;
    one.send(&wants("1")).await;
    let first = message(&mut session).await;
    say(&session, log).await;
    one.head().await;
    assert_eq!(one.event().await, log);
    // Of two nobody knows which is meant.
    two.send(&wants("1")).await;
    message(&mut session).await;
    say(&session, log).await;
    say(&session, &format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, first.id().unwrap())).await;
    assert_eq!(one.event().await, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    say(&session, &result(silent)).await;
    assert_eq!(plain.reply().await.body, result(1));
}

#[tokio::test]
async fn a_subscription_is_named_as_its_client_named_it() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    let body = format!(r#"{{"jsonrpc":"2.0","id":"sub-1","method":"subscriptions/listen","params":{{{META}}}}}"#);
    let fields = [MODERN[0], ("Mcp-Method", "subscriptions/listen")];
    client.send(&post(A, &fields, &body).replace("/mcp/stripe", "/mcp/child")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    let number = message(&mut session).await.id().unwrap().clone();
    let changed = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    say(&session, &changed("77")).await;
    say(&session, &changed(&number.to_json())).await;
    client.head().await;
    assert_eq!(client.event().await, changed("\"sub-1\""));
    let over = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number}}}}}"#);
    say(&session, &over).await;
    assert_eq!(client.event().await, over.replace(&number.to_json(), "\"sub-1\""));
    drop(client);
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(id)) if id == number));
}

#[tokio::test]
async fn principals_and_servers_have_sessions_of_their_own() {
    let mut rig = Rig::start(Limits::default()).await;
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    one.send(&ask(A, "1", "1")).await;
    let first = rig.sessions.recv().await.unwrap();
    two.send(&ask(B, "1", "1")).await;
    let mut second = rig.sessions.recv().await.unwrap();
    assert_eq!((first.principal.name.as_str(), second.principal.name.as_str()), ("a", "b"));
    let theirs = number(&mut second).await;
    // The same number in the other's session.
    say(&first, &result(theirs).replace("true", "false")).await;
    say(&second, &result(theirs)).await;
    assert_eq!((one.reply().await.body, two.reply().await.body), (result(1).replace("true", "false"), result(1)));
}

#[tokio::test]
async fn whoever_hangs_up_takes_back_its_own_request_only() {
    let mut rig = Rig::start(Limits::default()).await;
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    one.send(&ask(A, "1", "1")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    let first = number(&mut session).await;
    two.send(&ask(A, "1", "1")).await;
    let second = number(&mut session).await;
    session.link.outbound.send(ToClient::Waiting(Id::Number(first))).await.unwrap();
    one.head().await;
    drop(one);
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(Id::Number(id))) if id == first));
    // Too late, and nobody else's.
    say(&session, &result(first)).await;
    say(&session, &result(second)).await;
    assert_eq!(two.reply().await.body, result(1));
}

#[tokio::test]
async fn a_session_that_ended_is_replaced_and_nothing_is_sent_again() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&ask(A, "1", "1")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    number(&mut session).await;
    drop(session);
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.code()), (503, sse::INTERNAL_ERROR));
    assert!(reply.body.contains("\"id\":1"));
    client.send(&ask(A, "2", "2")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    let number = number(&mut session).await;
    // It takes nothing any more, but its other end is still there.
    session.link.inbound.close();
    let mut other = rig.client().await;
    other.send(&ask(A, "3", "3")).await;
    let mut next = rig.sessions.recv().await.unwrap();
    let theirs = self::number(&mut next).await;
    say(&next, &result(theirs)).await;
    assert_eq!(other.reply().await.body, result(3));
    say(&session, &result(number)).await;
    assert_eq!(client.reply().await.body, result(2));
}

#[tokio::test]
async fn the_requests_of_a_joint_session_are_counted() {
    let mut rig = Rig::start(Limits { in_flight: 1, ..Limits::default() }).await;
    let mut one = rig.client().await;
    one.send(&ask(A, "1", "1")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    let first = number(&mut session).await;
    let reply = rig.raw(ask(A, "2", "2")).await;
    assert_eq!((reply.status, reply.header("retry-after").as_deref()), (503, Some("5")));
    say(&session, &result(first)).await;
    assert_eq!(one.reply().await.status, 200);
}

#[tokio::test]
async fn a_server_that_asks_is_told_that_nobody_is_asked() {
    let mut rig = Rig::start(Limits::default()).await;
    let mut client = rig.client().await;
    client.send(&ask(A, "1", "1")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    number(&mut session).await;
    say(&session, r#"{"jsonrpc":"2.0","id":"q","method":"ping"}"#).await;
    let declined = message(&mut session).await;
    assert_eq!(declined.id(), Some(&Id::String("q".into())));
    assert!(declined.text().as_str().contains("-32601"));
}

#[tokio::test]
async fn a_reader_that_does_not_read_loses_its_stream_and_keeps_nobody_waiting_for_long() {
    let mut rig = Rig::start(Limits::default()).await;
    let (mut slow, mut quick) = (rig.client().await, rig.client().await);
    slow.send(&ask(A, "1", "1")).await;
    let mut session = rig.sessions.recv().await.unwrap();
    let first = number(&mut session).await;
    quick.send(&ask(A, "2", "2")).await;
    let second = number(&mut session).await;
    let note = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{first},"progress":1,"message":"{}"}}}}"#,
        "x".repeat(200_000)
    );
    // Far more than the buffers on the way take.
    for _ in 0..200 {
        say(&session, &note).await;
    }
    say(&session, &result(second)).await;
    // It has waited for longer than a second, so it gets events.
    quick.head().await;
    assert_eq!(quick.event().await, result(2));
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(Id::Number(id))) if id == first));
}
