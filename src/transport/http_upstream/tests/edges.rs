//! Statuses, forms and framings that are not plain answers.

use super::*;

#[tokio::test]
async fn http_errors_are_losses_unless_they_carry_the_answer() {
    let json = "content-type: application/json\r\n";
    let error =
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"no","data":{"supported":["2026-07-28"]}}}"#;
    for status in ["400 Bad Request", "404 Not Found", "500 Internal Server Error", "503 Service Unavailable"] {
        assert_eq!(answer(move || Act::Write(response(status, json, error))).await, format!("1 {error}"));
        // An error without an id is about the request that it answers.
        let nameless = error.replace("\"id\":1", "\"id\":null");
        assert_eq!(answer(move || Act::Write(response(status, json, &nameless))).await, format!("1 {error}"));
    }
    let metadata = "www-authenticate: Bearer resource_metadata=\"http://169.254.169.254/\"\r\n";
    let wait = "retry-after: 7\r\ncontent-type: application/json\r\n";
    for (status, fields, body, reason) in [
        ("401 Unauthorized", metadata, "", "Refused it does not accept the key: 401"),
        ("403 Forbidden", json, error, "Refused it does not accept the key: 403"),
        ("202 Accepted", "", "", "Unknown the upstream answered 202"),
        ("204 No Content", "", "", "Unknown the upstream answered 204"),
        ("206 Partial Content", json, error, "Unknown the upstream answered 206"),
        ("409 Conflict", json, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, "Refused it answered 409"),
        ("429 Too Many Requests", wait, error, "Refused it has had too many: 429"),
        ("500 Internal Server Error", "", "", "Unknown the upstream answered 500"),
        ("503 Service Unavailable", wait, error, "Unknown the upstream answered 503"),
    ] {
        let told = answer(move || Act::Write(response(status, fields, body))).await;
        assert!(told.starts_with("lost 1 ") && told.contains(reason), "{told}");
        assert!(!told.contains("169.254"), "{told}");
    }
}

#[tokio::test]
async fn a_time_to_wait_and_a_cause_come_along() {
    use crate::mcp::loss::Cause::{Busy, Key, Other};
    for (status, fields, cause, wait) in [
        ("429 Too Many Requests", "retry-after: 7\r\n", Busy, Some(7)),
        ("503 Service Unavailable", "retry-after: 8\r\n", Busy, Some(8)),
        ("429 Too Many Requests", "", Busy, None),
        ("401 Unauthorized", "retry-after: 9\r\n", Key, None),
        ("302 Found", "retry-after: 9\r\n", Other, None),
    ] {
        let server = Server::start(move |_| Act::Write(response(status, fields, ""))).await;
        let mut link = server.link(Limits::default());
        link.outbound.send(request(1)).await.unwrap();
        let Some(FromUpstream::Lost { loss, .. }) = link.inbound.recv().await else { panic!("{status}") };
        assert_eq!((loss.cause, loss.retry_after.map(|wait| wait.as_secs())), (cause, wait), "{status}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut elsewhere = Server::start(|_| Act::Write(json(&result(1)))).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {}\r\n", elsewhere.url);
        let told = answer(move || Act::Write(response(status, &location, ""))).await;
        assert!(told.starts_with("lost 1 Unknown redirects are not followed"), "{told}");
    }
    assert!(elsewhere.seen.try_recv().is_err());
}

/// Bodies whose end is not where their head says, and bodies with something behind them.
#[tokio::test]
async fn odd_framings_are_losses() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let good = result(1);
    let length = good.len();
    for (text, reason) in [
        (format!("{head}content-length: {}\r\n\r\n{good}", length + 5), "broke off"),
        (format!("{head}content-length: {length}\r\ncontent-length: 3\r\n\r\n{good}"), "the connection"),
        (format!("{head}content-length: {}\r\n\r\n{good}xyz", length + 3), "cannot be read"),
        (format!("{head}content-length: 20000\r\n\r\n{good}"), "longer than 10000 bytes"),
        (format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{good}\r\nnonsense"), "broke off"),
        (format!("{head}transfer-encoding: gzip, chunked\r\ncontent-encoding: gzip\r\n\r\n0\r\n\r\n"), "encoded"),
        (format!("{head}content-length: 0\r\n\r\n"), "cannot be read"),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "the connection"),
        (format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200)), "the connection"),
    ] {
        let sent = text.clone();
        let told = answer(move || Act::Last(sent.clone())).await;
        assert!(told.starts_with("lost 1 Unknown") && told.contains(reason), "{told} / {text}");
    }
    // What stands behind a whole answer is another's: the connection is not used again.
    let server = Server::start(move |_| Act::Write(format!("{}{}", json(&result(1)), json(&result(9))))).await;
    let mut link = server.link(Limits::default());
    for _ in 0..3 {
        link.outbound.send(request(1)).await.unwrap();
        assert_eq!(next(&mut link).await, format!("1 {}", result(1)));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

/// A session of the older era, past its beginning. `rest` answers what is neither `initialize` nor a notification.
async fn session(rest: impl Fn(&str) -> Act + Send + Sync + 'static) -> (Server, UpstreamLink) {
    let mut server = Server::start(move |request| {
        if request.contains("initialize\"") {
            let fields = "content-type: application/json\r\nmcp-session-id: s\r\n";
            return Act::Write(response("200 OK", fields, &result(0)));
        }
        rest(request)
    })
    .await;
    let mut link = server.link(Limits::default());
    link.outbound.send(message(INIT)).await.unwrap();
    next(&mut link).await;
    server.saw().await;
    (server, link)
}

#[tokio::test]
async fn a_session_that_the_upstream_ended_is_closed() {
    let json = "content-type: application/json\r\n";
    let nameless = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#;
    for body in ["", nameless] {
        let (mut server, mut link) = session(move |_| Act::Write(response("404 Not Found", json, body))).await;
        link.outbound.send(request(1)).await.unwrap();
        assert!(next(&mut link).await.starts_with("lost 1 Refused the upstream ended the session (404"));
        assert!(next(&mut link).await.starts_with("closed the upstream ended the session"));
        assert_eq!(next(&mut link).await, "end");
        server.saw().await;
        assert!(server.seen.try_recv().is_err(), "nothing is sent again, and there is nothing to end");
    }
}

#[tokio::test]
async fn an_error_about_the_session_reaches_the_client_before_its_end() {
    let json = "content-type: application/json\r\n";
    let named = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Session not found"}}"#;
    let (_server, mut link) = session(move |_| Act::Write(response("404 Not Found", json, named))).await;
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, format!("1 {named}"));
    assert!(next(&mut link).await.starts_with("closed"));
    // A method that a server does not know ends nothing.
    let unknown = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#;
    let (_server, mut link) = session(move |_| Act::Write(response("404 Not Found", json, unknown))).await;
    for _ in 0..2 {
        link.outbound.send(request(1)).await.unwrap();
        assert_eq!(next(&mut link).await, format!("1 {unknown}"));
    }
}

#[tokio::test]
async fn what_is_open_when_a_session_ends_is_lost_and_what_waits_is_not_sent() {
    let (mut server, mut link) = session(|request| match request.contains("\"id\":1") {
        true => Act::Hang,
        false => Act::Write(response("404 Not Found", "", "")),
    })
    .await;
    link.outbound.send(request(1)).await.unwrap();
    server.saw().await;
    link.outbound.send(request(2)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 2 Refused the upstream ended"));
    assert!(next(&mut link).await.starts_with("lost 1 Unknown the upstream ended"));
    assert!(next(&mut link).await.starts_with("closed"));
}

/// A server of the transport that came before.
fn old_transport(request: &str) -> Act {
    if request.starts_with("GET") {
        let body = "event: endpoint\ndata: /messages?session=1\n\n";
        let chunk = format!("{:x}\r\n{body}\r\n", body.len());
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        return Act::Write(format!("{head}{chunk}"));
    }
    Act::Write(response("405 Method Not Allowed", "content-type: text/plain\r\n", "no"))
}

#[tokio::test]
async fn the_transport_that_came_before_is_named() {
    let mut server = Server::start(old_transport).await;
    let mut link = server.link(Limits::default());
    link.outbound.send(message(INIT)).await.unwrap();
    let told = next(&mut link).await;
    assert!(told.starts_with("lost 0 Refused it speaks HTTP+SSE") && told.contains("2024-11-05"), "{told}");
    assert!(server.saw().await.starts_with("POST") && server.saw().await.starts_with("GET"));
    // It is looked at once.
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 Refused it answered 405"));
    assert!(server.saw().await.starts_with("POST"));
    assert!(server.seen.try_recv().is_err());
    // One that answers a POST in that way is the same.
    let told = answer(|| Act::Write(events("event: endpoint\ndata: /messages\n\n"))).await;
    assert!(told.starts_with("lost 1 Unknown it speaks HTTP+SSE"), "{told}");
}

#[tokio::test]
async fn a_server_that_only_refuses_is_not_taken_for_it() {
    for kind in ["text/plain", "text/event-stream"] {
        let mut server = Server::start(move |request| {
            let status = if request.starts_with("GET") { "200 OK" } else { "404 Not Found" };
            let body = "event: message\ndata: endpoint\n\n";
            Act::Last(response(status, &format!("content-type: {kind}\r\n"), body))
        })
        .await;
        let mut link = server.link(Limits::default());
        link.outbound.send(message(INIT)).await.unwrap();
        assert!(next(&mut link).await.starts_with("lost 0 Refused it answered 404"));
        let (_, probe) = (server.saw().await, server.saw().await);
        assert!(probe.starts_with("GET") && probe.contains(KEY), "the same server, asked in the same way: {probe}");
    }
    // One that has answered before is not looked at.
    let mut server = Server::start(|request| match request.contains("initialize") {
        true => Act::Write(json(&result(0))),
        false => Act::Write(response("405 Method Not Allowed", "", "")),
    })
    .await;
    let mut link = server.link(Limits::default());
    link.outbound.send(message(INIT)).await.unwrap();
    next(&mut link).await;
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 Refused it answered 405"));
    let (_, _) = (server.saw().await, server.saw().await);
    assert!(server.seen.try_recv().is_err());
}
