//! Requests that never become a message: from the wrong place, by nobody, in another form, too many.

use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn requests_from_the_wrong_place_are_refused() {
    let mut rig = Rig::start(Limits::default()).await;
    let good = modern(1);
    let host = |name: &str| good.replace("Host: localhost:1", &format!("Host: {name}"));
    let extra = |field: &str| good.replace("Content-Type", &format!("{field}\r\nContent-Type"));
    let cases = [
        (host("evil.example"), 403),
        (host("localhost.evil.example"), 403),
        (host("127.0.0.1.nip.io:8377"), 403),
        (host("localhost."), 403),
        (host("localhost:80@evil.example"), 403),
        (host(""), 403),
        (good.replace("Host: localhost:1\r\n", ""), 400),
        (good.replace("Host: localhost:1\r\n", "Host: localhost\r\nHost: evil.example\r\n"), 400),
        (good.replace("/mcp/stripe", "http://evil.example/mcp/stripe"), 400),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 505),
        (extra("Origin: https://evil.example"), 403),
        (extra("Origin: null"), 403),
        (extra("Origin: https://app.example\r\nOrigin: https://app.example"), 400),
        (host("evil.example").replace("Content-Type", "X-Forwarded-Host: localhost\r\nContent-Type"), 403),
    ];
    for (request, status) in cases {
        let reply = rig.raw(&request).await;
        assert_eq!(reply.status, status, "{request}");
        assert!(!reply.head.to_ascii_lowercase().contains("access-control"), "{request}");
        let rejected = rig.rejected.recv().await.unwrap();
        assert!(rejected.principal.is_none() && rejected.server.is_none());
    }
    let options = "OPTIONS /mcp/stripe HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    assert_eq!(rig.raw(options).await.status, 403);
    rig.nothing_passed();
    for request in
        [host("mcp.example:443"), host("127.0.0.1"), host("[::1]:8377"), extra("Origin: https://app.example")]
    {
        let mut client = rig.client().await;
        client.send(&request).await;
        assert!(rig.sessions.recv().await.is_some(), "{request}");
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let mut rig = Rig::start(Limits::default()).await;
    let field = format!("Authorization: Bearer {A}\r\n");
    let mut bodies = BTreeSet::new();
    let with = |replacement: &str| modern(1).replace(&field, replacement);
    let requests = [
        with(""),
        with("Authorization: Bearer wrong\r\n"),
        with("Authorization: bearer\r\n"),
        with("Authorization: Basic eA==\r\n"),
        with(&format!("Authorization: Bearer {}\r\n", A.to_ascii_uppercase())),
        with(&format!("Authorization: Bearer {A}x\r\n")),
        with("").replace("/mcp/stripe", &format!("/mcp/stripe?token={A}&access_token={A}")),
        with("").replace("/mcp/stripe", "/mcp/nosuch"),
    ];
    for request in requests {
        let reply = rig.raw(&request).await;
        assert_eq!(reply.status, 401, "{request}");
        assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
        bodies.insert(reply.body);
        let rejected = rig.rejected.recv().await.unwrap();
        assert!(!format!("{rejected:?}").contains("token-of-a"));
    }
    assert_eq!(bodies.len(), 1, "the refusal is the same for all");
    assert_eq!(rig.raw(with(&format!("{field}{field}"))).await.status, 400);
    rig.nothing_passed();
}

#[tokio::test]
async fn only_exact_paths_and_three_methods_are_served() {
    let mut rig = Rig::start(Limits::default()).await;
    for path in [
        "//mcp/stripe",
        "/mcp/stripe/",
        "/%6dcp/stripe",
        "/mcp/stripe;x=1",
        "/mcp/%73tripe",
        "/mcp/STRIPE",
        "/mcp",
        "/",
        "/mcp/../mcp/stripe",
        "/mcp/nosuch",
    ] {
        assert_eq!(rig.raw(modern(1).replace("/mcp/stripe", path)).await.status, 404, "{path}");
    }
    for method in ["PUT", "HEAD", "TRACE", "PATCH", "OPTIONS", "GET", "DELETE"] {
        let request = format!(
            "{method} /mcp/stripe HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {A}\r\nAccept: \
             text/event-stream\r\nConnection: close\r\n\r\n"
        );
        let mut client = rig.client().await;
        client.send(&request).await;
        let reply = client.head().await;
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.header("allow").is_some());
        client.closed().await;
        assert!(!String::from_utf8_lossy(&client.buffer).contains(A));
    }
    rig.nothing_passed();
    let mut client = rig.client().await;
    client.send(&modern(1).replace("/mcp/stripe", "/mcp/stripe?x=/mcp/stigg")).await;
    assert_eq!(rig.sessions.recv().await.unwrap().server, "stripe");
}

#[tokio::test]
async fn bodies_of_another_form_are_refused() {
    let mut rig = Rig::start(Limits { message_bytes: 2000, ..Limits::default() }).await;
    let kind = |kind: &str| modern(1).replace("Content-Type: application/json", kind);
    let length = |field: &str| {
        let (head, _) = modern(1).split_once("Content-Length").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        format!("{head}{field}\r\n\r\n")
    };
    let cases = [
        (kind("Content-Type: text/plain"), 415),
        (kind("Content-Type: application/x-www-form-urlencoded"), 415),
        (kind("X: y"), 415),
        (kind("Content-Type: application/json\r\nContent-Type: text/plain"), 400),
        (kind("Content-Type: application/json\r\nContent-Encoding: gzip"), 415),
        (modern(1).replace("Accept: application/json, text/event-stream", "Accept: text/html"), 406),
        (length("Content-Length: 2\r\nContent-Length: 3") + "{}", 400),
        (length("Expect: 100-continue\r\nContent-Length: 99999999999"), 413),
        (length("Content-Length: 2001"), 413),
        (length("Transfer-Encoding: chunked") + &format!("7d1\r\n{}\r\n0\r\n\r\n", " ".repeat(2001)), 413),
        (post(A, &[], "["), 400),
        (post(A, &[], "[]"), 400),
        (post(A, &[], r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#), 400),
        (post(A, &[], r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#), 400),
        (post(A, &[], ""), 400),
    ];
    for (request, status) in cases {
        let mut client = rig.client().await;
        client.send(&request).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{request} {reply:?}");
        // hyper refuses two lengths by itself.
        if !request.contains("Content-Length: 2\r\nContent-Length: 3") {
            assert!(reply.body.contains("error"), "{request}");
            let rejected = rig.rejected.recv().await.unwrap();
            let named = !request.contains("Content-Type: text/plain\r\nAccept");
            assert!(!named || rejected.principal.as_deref() == Some("a"), "{request} {rejected:?}");
        }
    }
    rig.nothing_passed();
}

#[tokio::test]
async fn two_lengths_never_make_two_requests() {
    let mut rig = Rig::start(Limits::default()).await;
    let smuggled = modern(2);
    let head = post(A, &MODERN, "").replace("Content-Length: 0", "Content-Length: 5\r\nTransfer-Encoding: chunked");
    let mut client = rig.client().await;
    client.send(&format!("{head}0\r\n\r\n{smuggled}")).await;
    // The chunked framing wins: an empty body, which is no message; hyper then closes the connection.
    let reply = client.reply().await;
    assert_eq!(reply.status, 400);
    client.closed().await;
    rig.nothing_passed();
}

#[tokio::test]
async fn header_floods_are_cut() {
    let rig = Rig::start(Limits::default()).await;
    let many = (0..1000).fold(String::new(), |all, n| all + &format!("X-{n}: 1\r\n"));
    assert_eq!(rig.raw(modern(1).replace("Content-Type", &format!("{many}Content-Type"))).await.status, 431);
    let long = format!("X: {}\r\nContent-Type", "a".repeat(40_000));
    assert_eq!(rig.raw(modern(1).replace("Content-Type", &long)).await.status, 431);
    let longer = format!("X: {}\r\nContent-Type", "a".repeat(2_000_000));
    assert_eq!(rig.raw(modern(1).replace("Content-Type", &longer)).await.status, 431);
}
