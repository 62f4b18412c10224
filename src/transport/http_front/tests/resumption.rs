//! Streams that a client loses and comes back to.

use super::*;

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

fn get(token: &str, session: &str, last: Option<&str>) -> String {
    let last = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
    format!(
        "GET /mcp/stripe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nAccept: \
         text/event-stream\r\n{last}Mcp-Session-Id: {session}\r\n\r\n"
    )
}

fn note(data: usize) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":{data}}}}}"#)
}

async fn tell(session: &NewSession, body: &str, id: i64) {
    let related = Some(Id::Number(id));
    session.link.outbound.send(ToClient::Message { text: text(body), related }).await.unwrap();
}

impl Client {
    /// The id of the next event that has one.
    async fn id(&mut self) -> String {
        self.until("id: ").await;
        self.until("\n").await.trim_end().to_owned()
    }
}

/// A request whose stream is open, and the id that it begins with.
async fn opened(rig: &Rig, id: &str, session: &mut NewSession, body: &str) -> (Client, String) {
    let mut client = rig.client().await;
    client.send(&post(A, &[("Mcp-Session-Id", id)], body)).await;
    let request = message(session).await.id().unwrap().clone();
    session.link.outbound.send(ToClient::Waiting(request)).await.unwrap();
    client.head().await;
    let first = client.id().await;
    client.until("retry: 1000\ndata:\n\n").await;
    (client, first)
}

fn short() -> Limits {
    Limits { resume_window: Duration::from_millis(200), ..Limits::default() }
}

#[tokio::test]
async fn a_lost_stream_goes_on_where_the_client_left_it() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized(A).await;
    let (mut client, _) = opened(&rig, &id, &mut session, LIST).await;
    tell(&session, &note(1), 1).await;
    let seen = client.id().await;
    assert_eq!(client.event().await, note(1));
    tell(&session, &note(2), 1).await;
    client.event().await;
    drop(client);
    // What is said meanwhile, and what the client may not have read.
    tell(&session, &note(3), 1).await;
    let mut back = rig.client().await;
    back.send(&get(A, &id, Some(&seen))).await;
    assert_eq!(back.head().await.status, 200);
    assert_eq!((back.event().await, back.event().await), (note(2), note(3)));
    tell(&session, &note(4), 1).await;
    let last = back.id().await;
    assert_eq!(back.event().await, note(4));
    say(&session, &result(1)).await;
    assert_eq!(back.event().await, result(1));
    back.until("0\r\n\r\n").await;
    assert!(session.link.inbound.try_recv().is_err(), "nobody was gone");
    // The answer can be had once more, as long as the client may not have read it; what was read is not sent again.
    let mut again = rig.client().await;
    again.send(&get(A, &id, Some(&last))).await;
    again.head().await;
    let end = again.id().await;
    assert_eq!(again.event().await, result(1));
    again.until("0\r\n\r\n").await;
    assert_eq!(rig.raw(get(A, &id, Some(&end))).await.status, 204);
}

#[tokio::test]
async fn an_answer_that_came_meanwhile_waits_for_its_client() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized(A).await;
    let (client, first) = opened(&rig, &id, &mut session, LIST).await;
    drop(client);
    say(&session, &result(1)).await;
    let mut back = rig.client().await;
    back.send(&get(A, &id, Some(&first))).await;
    back.head().await;
    assert_eq!(back.event().await, result(1));
    back.until("0\r\n\r\n").await;
}

/// Where the server closes its stream to be asked again later, so does the front: nobody is gone, and nothing is lost.
#[tokio::test]
async fn a_stream_without_news_ends_and_its_client_comes_back() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized(A).await;
    let (mut client, mut last) = opened(&rig, &id, &mut session, LIST).await;
    for data in 1..=3 {
        session.link.outbound.send(ToClient::Later(Id::Number(1))).await.unwrap();
        client.until("0\r\n\r\n").await;
        tell(&session, &note(data), 1).await;
        client = rig.client().await;
        client.send(&get(A, &id, Some(&last))).await;
        client.head().await;
        client.until("data:\n\n").await;
        last = client.id().await;
        assert_eq!(client.event().await, note(data));
    }
    say(&session, &result(1)).await;
    assert_eq!(client.event().await, result(1));
    client.until("0\r\n\r\n").await;
    assert!(session.link.inbound.try_recv().is_err(), "nobody was gone");
}

/// A client that could not come back, or would not think of it, keeps its stream.
#[tokio::test]
async fn a_stream_stays_open_for_whoever_would_not_come_back() {
    let seconds = Duration::from_secs;
    for (window, revision) in [(seconds(0), "2025-11-25"), (seconds(2), "2025-11-25"), (seconds(60), "2025-06-18")] {
        let mut rig = Rig::start(Limits { resume_window: window, ..Limits::default() }).await;
        let (id, mut session) = rig.initialized_in(A, revision).await;
        let mut client = rig.client().await;
        client.send(&post(A, &[("Mcp-Session-Id", &id)], LIST)).await;
        message(&mut session).await;
        tell(&session, &note(1), 1).await;
        session.link.outbound.send(ToClient::Later(Id::Number(1))).await.unwrap();
        say(&session, &result(1)).await;
        client.head().await;
        assert_eq!((client.event().await, client.event().await), (note(1), result(1)), "{revision}");
    }
    // A request that stands alone, and the one that begins a session.
    let mut rig = Rig::start(Limits::default()).await;
    let initialize = post(A, &[], r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#);
    for request in [modern(1), initialize] {
        let mut client = rig.client().await;
        client.send(&request).await;
        let session = rig.sessions.recv().await.unwrap();
        session.link.outbound.send(ToClient::Waiting(Id::Number(1))).await.unwrap();
        session.link.outbound.send(ToClient::Later(Id::Number(1))).await.unwrap();
        say(&session, &result(1)).await;
        client.head().await;
        assert_eq!(client.event().await, result(1));
    }
}

#[tokio::test]
async fn a_client_that_does_not_come_back_is_gone() {
    let mut rig = Rig::start(short()).await;
    let (id, mut session) = rig.initialized(A).await;
    let (client, first) = opened(&rig, &id, &mut session, LIST).await;
    drop(client);
    assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(Id::Number(1)))));
    say(&session, &result(1)).await;
    assert_eq!(rig.raw(get(A, &id, Some(&first))).await.status, 204);
    // Its id is free again.
    opened(&rig, &id, &mut session, LIST).await;
}

#[tokio::test]
async fn without_a_window_or_an_id_a_lost_stream_is_a_lost_client() {
    for (window, revision) in [(Duration::ZERO, "2025-11-25"), (Duration::from_secs(60), "2025-06-18")] {
        let mut rig = Rig::start(Limits { resume_window: window, ..Limits::default() }).await;
        let (id, mut session) = rig.initialized_in(A, revision).await;
        let mut client = rig.client().await;
        client.send(&post(A, &[("Mcp-Session-Id", &id)], LIST)).await;
        message(&mut session).await;
        session.link.outbound.send(ToClient::Waiting(Id::Number(1))).await.unwrap();
        client.head().await;
        drop(client);
        assert!(matches!(session.link.inbound.recv().await, Some(FromClient::Gone(Id::Number(1)))), "{revision}");
    }
}

#[tokio::test]
async fn older_revisions_come_back_after_their_first_event() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized_in(A, "2025-06-18").await;
    let mut client = rig.client().await;
    client.send(&post(A, &[("Mcp-Session-Id", &id)], LIST)).await;
    message(&mut session).await;
    tell(&session, &note(1), 1).await;
    client.head().await;
    let seen = client.id().await;
    client.until("retry: 1000\nevent: message\n").await;
    client.event().await;
    drop(client);
    say(&session, &result(1)).await;
    let mut back = rig.client().await;
    back.send(&get(A, &id, Some(&seen))).await;
    back.head().await;
    assert_eq!(back.event().await, result(1));
}

#[tokio::test]
async fn a_stream_is_replayed_alone_and_to_its_own_client() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized(A).await;
    let (one, first) = opened(&rig, &id, &mut session, LIST).await;
    let (mut two, _) = opened(&rig, &id, &mut session, &LIST.replace(":1,", ":2,")).await;
    drop(one);
    tell(&session, &note(1), 1).await;
    tell(&session, &note(2), 2).await;
    assert_eq!(two.event().await, note(2));
    // Another session, another principal, another form.
    let (other, _other) = rig.initialized(A).await;
    assert_eq!(rig.raw(get(A, &other, Some(&first))).await.status, 204);
    assert_eq!(rig.raw(get(B, &id, Some(&first))).await.status, 404);
    for odd in ["x", "", "p1", "p-1", "p1-", "p+1-1", "P1-1", "p1-99999999999999999999", "g1-1-1", "p1-1é"] {
        assert_eq!(rig.raw(get(A, &id, Some(odd))).await.status, 400, "{odd}");
    }
    let twice = get(A, &id, Some(&first)).replace("Last-Event-ID", "Last-Event-ID: p1-0\r\nLast-Event-ID");
    assert_eq!(rig.raw(twice).await.status, 400);
    let mut back = rig.client().await;
    back.send(&get(A, &id, Some(&first))).await;
    back.head().await;
    assert_eq!(back.event().await, note(1));
    say(&session, &result(1)).await;
    assert_eq!(back.event().await, result(1));
}

#[tokio::test]
async fn of_two_readers_the_later_one_has_the_stream() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized(A).await;
    let (mut old, first) = opened(&rig, &id, &mut session, LIST).await;
    let mut new = rig.client().await;
    new.send(&get(A, &id, Some(&first))).await;
    new.head().await;
    old.until("0\r\n\r\n").await;
    drop(old);
    say(&session, &result(1)).await;
    assert_eq!(new.event().await, result(1));
    assert!(session.link.inbound.try_recv().is_err(), "nobody is gone");
}

#[tokio::test]
async fn the_listening_stream_is_resumed_or_begun_again() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, session) = rig.initialized(A).await;
    let mut client = rig.client().await;
    client.send(&get(A, &id, None)).await;
    client.head().await;
    let first = client.id().await;
    say(&session, &note(1)).await;
    assert_eq!(client.event().await, note(1));
    drop(client);
    let mut back = rig.client().await;
    back.send(&get(A, &id, Some(&first))).await;
    back.head().await;
    assert_eq!(back.event().await, note(1));
    // One that is not known any more is a new one, and what was said before is not in it.
    let mut new = rig.client().await;
    new.send(&get(A, &id, Some("g77-0"))).await;
    assert_eq!(new.head().await.status, 200);
    assert_ne!(new.id().await, first);
    say(&session, &note(2)).await;
    assert_eq!(new.event().await, note(2));
}

#[tokio::test]
async fn the_end_of_the_session_and_a_cancellation_end_a_lost_stream() {
    let mut rig = Rig::start(Limits::default()).await;
    let (id, mut session) = rig.initialized(A).await;
    let (client, first) = opened(&rig, &id, &mut session, LIST).await;
    drop(client);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(rig.raw(post(A, &[("Mcp-Session-Id", &id)], cancel)).await.status, 202);
    assert_eq!(message(&mut session).await.text().as_str(), cancel);
    assert_eq!(rig.raw(get(A, &id, Some(&first))).await.status, 204);
    let (client, first) = opened(&rig, &id, &mut session, LIST).await;
    drop(client);
    assert_eq!(rig.raw(get(A, &id, None).replace("GET", "DELETE")).await.status, 204);
    assert!(session.link.inbound.recv().await.is_none(), "nobody is waited for");
    assert_eq!(rig.raw(get(A, &id, Some(&first))).await.status, 404);
}

#[tokio::test]
async fn a_cancelled_request_frees_its_place_and_its_stream() {
    let mut rig = Rig::start(Limits { in_flight: 1, ..Limits::default() }).await;
    let (id, mut session) = rig.initialized(A).await;
    for _ in 0..3 {
        let (mut client, _) = opened(&rig, &id, &mut session, LIST).await;
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(rig.raw(post(A, &[("Mcp-Session-Id", &id)], cancel)).await.status, 202);
        message(&mut session).await;
        client.until("0\r\n\r\n").await;
    }
}
