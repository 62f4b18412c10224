//! Streams that break, go on, stay open, or never end.

use std::sync::atomic::AtomicU32;

use super::*;

const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

/// The beginning of a session without an id; then `rest`.
async fn session(rest: impl Fn(&str) -> Act + Send + Sync + 'static, limits: Limits) -> (Server, UpstreamLink) {
    let mut server = Server::start(move |request| match request.contains("initialize\"") {
        true => Act::Write(json(&result(0))),
        false => rest(request),
    })
    .await;
    let mut link = server.link(limits);
    link.outbound.send(message(INIT)).await.unwrap();
    next(&mut link).await;
    server.saw().await;
    (server, link)
}

/// Events on a stream that ends as it should not: the connection is cut.
fn cut(body: &str) -> Act {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    Act::Last(format!("{head}{:x}\r\n{body}\r\n", body.len()))
}

#[tokio::test]
async fn a_broken_answer_goes_on_where_it_broke_and_the_request_is_sent_once() {
    for ended in [false, true] {
        let (mut server, mut link) = session(
            move |request| {
                if request.starts_with("POST") {
                    // Half an event after a whole one: it does not count.
                    let body = format!("retry: 1\nid: a-1\ndata: {NOTE}\n\nid: a-2\ndata: {{\"half\"");
                    return if ended { Act::Write(events(&body)) } else { cut(&body) };
                }
                let again = format!("id: a-2\ndata: {NOTE}\n\nid: a-3\ndata: {}\n\n", result(1));
                Act::Write(events(&again))
            },
            Limits::default(),
        )
        .await;
        link.outbound.send(request(1)).await.unwrap();
        for expected in [NOTE, NOTE, &result(1)] {
            assert_eq!(next(&mut link).await, format!("1 {expected}"));
        }
        assert!(server.saw().await.starts_with("POST"));
        let resumed = server.saw().await;
        assert!(resumed.starts_with("GET") && resumed.contains("last-event-id: a-1\r\n"), "{resumed}");
        assert!(server.seen.try_recv().is_err());
    }
}

/// A server may close a stream whenever it likes, to be asked again later: that is its way of not holding connections.
#[tokio::test]
async fn a_server_that_wants_to_be_polled_is_polled() {
    let polls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&polls);
    let (_server, mut link) = session(
        move |request| match request.starts_with("GET") {
            true if counted.fetch_add(1, Ordering::SeqCst) == 9 => {
                Act::Write(events(&format!("data: {}\n\n", result(1))))
            }
            true => Act::Write(events(&format!("id: {}\ndata: \n\n", counted.load(Ordering::SeqCst)))),
            false => Act::Write(events("retry: 1\nid: first\ndata: \n\n")),
        },
        Limits::default(),
    )
    .await;
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
    assert_eq!(polls.load(Ordering::SeqCst), 10);
}

/// What kind of answer it is, is told before anything of it, and that it pauses only where it was meant to.
#[tokio::test]
async fn the_form_of_an_answer_is_told_first() {
    let rest = format!("data: {NOTE}\n\ndata: {}\n\n", result(1));
    let first = "retry: 1\nid: a\ndata: \n\n";
    let (note, answer) = (format!("1 {NOTE}"), format!("1 {}", result(1)));
    for (posted, expected) in [
        (json(&result(1)), vec![answer.as_str()]),
        (events(&rest), vec!["form 1 streams", &note, &answer]),
        (events(first), vec!["form 1 streams", "form 1 pauses", &note, &answer]),
    ] {
        let rest = rest.clone();
        let act =
            move |request: &str| Act::Write(if request.starts_with("GET") { events(&rest) } else { posted.clone() });
        let (_server, mut link) = session(act, Limits::default()).await;
        link.outbound.send(request(1)).await.unwrap();
        for expected in expected {
            assert_eq!(event(&mut link).await, expected);
        }
    }
    // A connection that breaks is no wish to be polled, nor is an end that nobody can come back after.
    for ended in [true, false] {
        let act = move |request: &str| match (request.starts_with("GET"), ended) {
            (true, _) => Act::Write(response("405 Method Not Allowed", "", "")),
            (false, true) => Act::Write(events("data: \n\n")),
            (false, false) => cut(first),
        };
        let (_server, mut link) = session(act, Limits::default()).await;
        link.outbound.send(request(1)).await.unwrap();
        assert_eq!(event(&mut link).await, "form 1 streams");
        assert!(event(&mut link).await.starts_with("lost 1 Unknown"));
    }
}

#[tokio::test]
async fn a_stream_that_brings_nothing_is_given_up_after_a_few_tries() {
    let (mut server, mut link) = session(
        |request| match request.starts_with("GET") {
            true => Act::Last(String::new()),
            false => cut("retry: 1\nid: x\ndata: \n\n"),
        },
        Limits::default(),
    )
    .await;
    link.outbound.send(request(1)).await.unwrap();
    let told = next(&mut link).await;
    assert!(told.starts_with("lost 1 Unknown the upstream's stream") && told.contains("5 more tries"), "{told}");
    assert!(server.saw().await.starts_with("POST"));
    for _ in 0..5 {
        assert!(server.saw().await.starts_with("GET"));
    }
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn polling_for_ever_ends_with_the_time_for_an_answer() {
    let limits = Limits { answer_timeout: Duration::from_millis(700), ..Limits::default() };
    let polls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&polls);
    let (_server, mut link) = session(
        move |_| Act::Write(events(&format!("retry: 0\nid: {}\ndata: \n\n", counted.fetch_add(1, Ordering::SeqCst)))),
        limits,
    )
    .await;
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 Unknown no answer from the upstream within"));
    assert!(polls.load(Ordering::SeqCst) <= 8, "it is not asked without a pause");
}

#[tokio::test]
async fn what_cannot_be_resumed_is_lost() {
    // No id; an upstream that does not do it; a session that is over.
    for (body, get, reason) in [
        ("data: \n\n", "405 Method Not Allowed", "broke"),
        ("retry: 1\nid: x\ndata: \n\n", "405 Method Not Allowed", "does not go on with it (405"),
    ] {
        let (_server, mut link) = session(
            move |request| match request.starts_with("GET") {
                true => Act::Write(response(get, "", "")),
                false => cut(body),
            },
            Limits::default(),
        )
        .await;
        link.outbound.send(request(1)).await.unwrap();
        let told = next(&mut link).await;
        assert!(told.starts_with("lost 1 Unknown the upstream's stream") && told.contains(reason), "{told}");
    }
    // The era without sessions has no such thing: ids mean nothing there.
    let mut server = Server::start(|_| cut("retry: 1\nid: x\ndata: \n\n")).await;
    let mut link = server.link(Limits::default());
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 Unknown the upstream's stream broke"));
    server.saw().await;
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn the_listening_stream_is_opened_again_where_it_ended() {
    let (mut server, mut link) = session(
        move |request| {
            if !request.starts_with("GET") {
                return Act::Write(response("202 Accepted", "", ""));
            }
            let first = !request.contains("last-event-id");
            let body = format!("retry: 1\nid: e-1\ndata: {NOTE}\n\n");
            if first { Act::Write(events(&body)) } else { Act::Hang }
        },
        Limits::default(),
    )
    .await;
    link.outbound.send(message(INITED)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("none {NOTE}"));
    let saw = [server.saw().await, server.saw().await, server.saw().await];
    assert!(saw[2].starts_with("GET") && saw[2].contains("last-event-id: e-1\r\n"), "{saw:?}");
    drop(link);
    assert_eq!(server.saw().await, "hung up");
}

#[tokio::test]
async fn a_session_that_is_gone_when_its_stream_is_asked_for_again_is_over() {
    let mut server = Server::start(|request| {
        if request.contains("initialize\"") {
            let fields = "content-type: application/json\r\nmcp-session-id: s\r\n";
            return Act::Write(response("200 OK", fields, &result(0)));
        }
        match (request.starts_with("GET"), request.contains("last-event-id")) {
            (true, false) => Act::Write(events(&format!("retry: 1\nid: e-1\ndata: {NOTE}\n\n"))),
            (true, true) => Act::Write(response("404 Not Found", "", "")),
            _ => Act::Write(response("202 Accepted", "", "")),
        }
    })
    .await;
    let mut link = server.link(Limits::default());
    link.outbound.send(message(INIT)).await.unwrap();
    next(&mut link).await;
    link.outbound.send(message(INITED)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("none {NOTE}"));
    assert!(next(&mut link).await.starts_with("closed the upstream ended the session (404"));
    assert_eq!(next(&mut link).await, "end");
    for _ in 0..4 {
        server.saw().await;
    }
    assert!(server.seen.try_recv().is_err(), "a session that is over is not ended");
}

/// A subscription outlives the time for an answer, and closing it is what ends it.
#[tokio::test]
async fn a_subscription_stays_open_until_nobody_wants_it() {
    let limits = Limits { answer_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut server = Server::start(|request| {
        if !request.contains("subscriptions/listen") {
            return Act::Hang;
        }
        let body = format!("data: {NOTE}\n\n");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        Act::Write(format!("{head}{:x}\r\n{body}\r\n", body.len()))
    })
    .await;
    let mut link = server.link(limits);
    let listen = r#"{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    link.outbound.send(message(listen)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("\"s\" {NOTE}"));
    server.saw().await;
    // Another request, asked later, runs out of its time first.
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 Unknown no answer"));
    server.saw().await;
    assert_eq!(server.saw().await, "hung up");
    link.outbound.send(ToUpstream::Abandon(Id::String("s".into()))).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost \"s\" Unknown nobody waited"));
}

/// The result of a task of 2025-11-25 comes when the task ends, and until then nothing need come at all.
#[tokio::test]
async fn the_wait_for_a_task_outlives_the_time_for_an_answer() {
    let mut server = Server::start(|_| Act::Hang).await;
    let mut link = server.link(Limits { answer_timeout: Duration::from_millis(200), ..Limits::default() });
    let waits = r#"{"jsonrpc":"2.0","id":"w","method":"tasks/result","params":{"taskId":"t"}}"#;
    link.outbound.send(message(waits)).await.unwrap();
    server.saw().await;
    // Others, asked later, run out of their time one after the other, and the wait goes on.
    for id in [1, 2] {
        link.outbound.send(request(id)).await.unwrap();
        assert!(next(&mut link).await.starts_with(&format!("lost {id} Unknown no answer")));
    }
    link.outbound.send(ToUpstream::Abandon(Id::String("w".into()))).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost \"w\" Unknown nobody waited"));
}

#[tokio::test]
async fn a_subscription_that_is_not_taken_up_in_time_is_given_up() {
    let server = Server::start(|_| Act::Hang).await;
    let mut link = server.link(Limits { answer_timeout: Duration::from_millis(200), ..Limits::default() });
    let listen = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}"#;
    link.outbound.send(message(listen)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 Unknown no answer"));
}

/// A session that does not take what comes stops the upstream: nothing piles up in between.
#[tokio::test]
async fn a_slow_session_holds_the_upstream_back() {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut link = link(&url, Limits { queue: 1, ..Limits::default() });
    link.outbound.send(request(1)).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    read(&mut stream, &mut Vec::new()).await.unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let event =
        format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{{\"a\":\"{}\"}}}}\n\n", "x".repeat(60_000));
    // Far more than any buffer on the way: the write has to stand still.
    let mut written = 0;
    let all = 64 << 20;
    while written < all {
        match timeout_at(Instant::now() + Duration::from_secs(1), stream.write_all(event.as_bytes())).await {
            Ok(wrote) => wrote.unwrap(),
            Err(_) => break,
        }
        written += event.len();
    }
    assert!(written < all, "nothing held it back");
    // It goes on as soon as somebody reads.
    for _ in 0..written / event.len() {
        assert!(next(&mut link).await.starts_with("1 {"));
    }
}

/// A client that says again and again that the session has begun opens one stream and keeps nobody waiting.
#[tokio::test]
async fn one_stream_listens_whatever_the_client_repeats() {
    let listens = Arc::new(AtomicUsize::new(0));
    let opened = Arc::clone(&listens);
    let server = Server::start(move |request| {
        if request.starts_with("GET") {
            opened.fetch_add(1, Ordering::SeqCst);
            return Act::Hang;
        }
        let id = if request.contains("\"id\":1") { 1 } else { 0 };
        match request.contains("\"id\":") {
            true => Act::Write(json(&result(id))),
            false => Act::Write(response("202 Accepted", "", "")),
        }
    })
    .await;
    let mut link = server.link(Limits { in_flight: 2, ..Limits::default() });
    link.outbound.send(message(INIT)).await.unwrap();
    assert!(next(&mut link).await.starts_with("0 "));
    for _ in 0..2 + 2 * RESERVE {
        link.outbound.send(message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)).await.unwrap();
    }
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
    while listens.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
    assert_eq!(listens.load(Ordering::SeqCst), 1);
}
