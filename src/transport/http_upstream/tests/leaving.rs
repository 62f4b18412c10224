//! Calls that wait at the link: for the session to begin, or for a connection.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::call::{Ended, Outcome};

/// A call that may leave until it is `stopped`.
fn call(id: i64, stopped: &Arc<AtomicBool>) -> (ToUpstream, Leave) {
    let stopped = Arc::clone(stopped);
    let look = move || stopped.load(Ordering::SeqCst).then(|| (Outcome::Rejected, "stopped".to_owned()));
    let leave = Leave::new(Instant::now() + Duration::from_secs(3600), look);
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"a"}}}}"#);
    (ToUpstream::Call(Message::from_client(text).unwrap(), leave.clone()), leave)
}

#[tokio::test]
async fn a_call_that_is_stopped_while_the_session_begins_does_not_leave() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut link = link(&format!("http://{}/", listener.local_addr().unwrap()), Limits::default());
    let stopped = Arc::default();
    let ((first, _), (second, taken_back)) = (call(1, &stopped), call(2, &stopped));
    for message in [message(INIT), first, second] {
        link.outbound.send(message).await.unwrap();
    }
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = Vec::new();
    assert!(read(&mut stream, &mut buffer).await.unwrap().contains("initialize"));
    stopped.store(true, Ordering::SeqCst);
    assert!(taken_back.take_back(Outcome::Withdrawn, "cancelled"));
    stream.write_all(json(&result(0)).as_bytes()).await.unwrap();
    assert!(next(&mut link).await.starts_with("0 "));
    let mut lost = [next(&mut link).await, next(&mut link).await];
    lost.sort();
    assert_eq!(lost, ["lost 1 NotSent stopped", "lost 2 NotSent cancelled"]);
    stopped.store(false, Ordering::SeqCst);
    let (third, leave) = call(3, &stopped);
    link.outbound.send(third).await.unwrap();
    // Whichever connection it comes on: on those that were opened for the others stood nothing.
    let elsewhere = async {
        loop {
            let (mut other, _) = listener.accept().await.unwrap();
            if let Some(seen) = read(&mut other, &mut Vec::new()).await {
                return seen;
            }
        }
    };
    let seen = tokio::select! {
        Some(seen) = read(&mut stream, &mut buffer) => seen,
        seen = elsewhere => seen,
    };
    assert!(seen.contains(r#""id":3,"#) && leave.has_left());
}

/// It is asked when there is a connection, not before: to get one may take long.
#[tokio::test]
async fn a_call_is_asked_when_there_is_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let mut unreachable = link(&url, Limits::default());
    let (never, leave) = call(1, &Arc::new(AtomicBool::new(true)));
    unreachable.outbound.send(never).await.unwrap();
    let lost = next(&mut unreachable).await;
    assert!(lost.starts_with("lost 1 NotSent the upstream cannot be reached"), "{lost}");
    assert_eq!(leave.refused(), None, "nobody has asked");
}

/// An answer to a question of the server gets none itself: its link says how far it came, as far as that is known.
#[tokio::test]
async fn how_far_an_answer_came_is_told() {
    let server = Server::start(|request| match request {
        _ if request.contains("taken") => Act::Write(response("202 Accepted", "", "")),
        _ if request.contains("refused") => Act::Write(response("400 Bad Request", "", "")),
        _ if request.contains("between") => Act::Write(response("502 Bad Gateway", "", "")),
        _ => Act::Last(String::new()),
    })
    .await;
    let refused = Ended::Refused("the upstream answered with status 400".to_owned());
    let link = server.link(Limits::default());
    for (id, end) in [("taken", Some(Ended::Taken)), ("refused", Some(refused)), ("between", None), ("lost", None)] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{}}}}"#);
        let (message, leave) = (Message::from_client(text).unwrap(), Leave::free());
        link.outbound.send(ToUpstream::Call(message, leave.clone())).await.unwrap();
        leave.over().await;
        assert_eq!((leave.end(), leave.has_left()), (end, true), "{id}");
    }
}
