//! Where a message of a session goes, and when a session ends.

use super::*;
use crate::call::PrincipalKind;
use crate::json::Rules;
use crate::transport::http_front::streams::NoPlace;

fn principal(name: &str) -> Arc<Principal> {
    Arc::new(Principal::plain(name, PrincipalKind::Token, Vec::new()))
}

fn session() -> (Arc<Session>, mpsc::Receiver<FromClient>) {
    let (inbound, receiver) = mpsc::channel(4);
    let limits = Limits { in_flight: 4, ..Limits::default() };
    (Session::new("stripe".into(), principal("a"), inbound, Running::default(), &limits).unwrap(), receiver)
}

fn request(id: i64, token: &str) -> [Message; 1] {
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x","params":{{"_meta":{{"progressToken":{token}}}}}}}"#);
    [Message::from_client(text).unwrap()]
}

async fn notify(session: &Session, body: &str, related: Option<Id>) {
    let text = JsonText::parse(body, Rules::CLIENT).unwrap();
    session.deliver(ToClient::Message { text, related }).await;
}

fn got(opened: &mut Opened) -> usize {
    std::iter::from_fn(|| opened.turns.try_recv().ok()).count()
}

#[tokio::test]
async fn messages_find_their_stream() {
    let (session, _inbound) = session();
    let mut one = session.open(&request(1, "\"t\\u00e9\""), true).unwrap();
    let mut two = session.open(&request(2, "7"), true).unwrap();
    let mut plain = session.open(&request(3, "8"), false).unwrap();
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    notify(&session, &progress("\"té\""), None).await;
    assert_eq!((got(&mut one), got(&mut two)), (1, 0));
    notify(&session, &progress("7"), None).await;
    assert_eq!((got(&mut one), got(&mut two)), (0, 1));
    // A request that takes no events, and a token of another type: to the newest that does.
    notify(&session, &progress("8"), None).await;
    notify(&session, &progress("\"7\""), None).await;
    assert_eq!((got(&mut one), got(&mut two), got(&mut plain)), (0, 2, 0));
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    notify(&session, log, Some(Id::Number(1))).await;
    assert_eq!((got(&mut one), got(&mut two)), (1, 0));
    let mut listener = session.listen().unwrap();
    notify(&session, log, None).await;
    assert_eq!((got(&mut listener), got(&mut two)), (1, 0));
    session.leave(listener.stream, listener.reader);
    notify(&session, log, None).await;
    assert_eq!((got(&mut listener), got(&mut two)), (0, 1));
    notify(&session, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#, None).await;
    assert!(matches!(plain.turns.try_recv(), Ok(Turn::Answer { last: true, .. })));
    assert_eq!(session.leave(plain.stream, plain.reader), Left::Nothing);
    assert_eq!(session.leave(two.stream, two.reader), Left::Gone(vec![Id::Number(2)]));
}

#[tokio::test]
async fn a_session_is_bounded_and_its_ids_are_unique() {
    let (session, _inbound) = session();
    let open = |id| session.open(&request(id, "1"), true);
    let streams: Vec<_> = (1..=4).map(|id| open(id).unwrap()).collect();
    assert_eq!(open(5).unwrap_err(), NoPlace::TooMany);
    session.leave(streams[0].stream, streams[0].reader);
    assert_eq!(open(2).unwrap_err(), NoPlace::IdInUse);
    session.end();
    assert_eq!(open(1).unwrap_err(), NoPlace::Ended);
}

#[tokio::test]
async fn a_session_is_its_principals_and_its_servers() {
    let sessions = Sessions::new(1);
    let (session, _inbound) = session();
    assert!(sessions.add(&session));
    assert!(sessions.find(session.id(), &principal("a"), "stripe").is_some());
    assert!(sessions.find(session.id(), &principal("b"), "stripe").is_none());
    assert!(sessions.find(session.id(), &principal("a"), "stigg").is_none());
    let (other, _inbound) = self::session();
    assert!(!sessions.add(&other), "the limit holds");
    assert_ne!(session.id(), other.id());
    assert_eq!(session.id().len(), 32);
}

#[tokio::test(start_paused = true)]
async fn nobody_came_so_it_ends() {
    let sessions = Arc::new(Sessions::new(1));
    let (session, mut inbound) = session();
    sessions.add(&session);
    let (_outbound, receiver) = mpsc::channel(4);
    let idle = Duration::from_secs(60);
    let opened = session.open(&request(1, "1"), true).unwrap();
    let pump = tokio::spawn(Arc::clone(&session).pump(Arc::clone(&sessions), receiver, idle));
    tokio::time::sleep(idle * 3).await;
    assert_eq!(sessions.len(), 1, "an open request keeps it");
    session.leave(opened.stream, opened.reader);
    pump.await.unwrap();
    assert_eq!(sessions.len(), 0);
    assert!(inbound.recv().await.is_none(), "its other end learns of it");
}

/// While a reader of one stream stands still, a client that lost another one is given up all the same.
#[tokio::test(start_paused = true)]
async fn the_time_to_come_back_runs_whatever_else_stands_still() {
    let (session, mut inbound) = session();
    let (outbound, receiver) = mpsc::channel(4);
    let _slow = session.open(&request(1, "1"), true).unwrap();
    let lost = session.open(&request(2, "2"), true).unwrap();
    let pump = Arc::clone(&session).pump(Arc::new(Sessions::new(1)), receiver, Duration::from_secs(3600));
    tokio::spawn(pump);
    let log = JsonText::parse(r#"{"jsonrpc":"2.0","method":"x"}"#, Rules::CLIENT).unwrap();
    tokio::spawn(async move {
        loop {
            let related = Some(Id::Number(1));
            outbound.send(ToClient::Message { text: log.clone(), related }).await.unwrap();
        }
    });
    session.known(lost.stream);
    let begun = Instant::now();
    assert_eq!(session.leave(lost.stream, lost.reader), Left::Waiting);
    assert!(matches!(inbound.recv().await, Some(FromClient::Gone(Id::Number(2)))));
    assert_eq!(begun.elapsed(), Limits::default().resume_window);
}

#[tokio::test(start_paused = true)]
async fn of_several_messages_all_are_handed_over_or_none() {
    let (session, mut inbound) = session();
    let messages = |ids: [i64; 3]| ids.into_iter().flat_map(|id| request(id, "1")).collect::<Vec<_>>();
    session.hand_over(messages([1, 2, 3])).await.unwrap();
    // There is room for one more, and nobody makes any.
    assert_eq!(session.hand_over(messages([4, 5, 6])).await, Err(NotTaken::Full));
    for id in 1..4 {
        let Some(FromClient::Message(message)) = inbound.recv().await else { panic!("no message") };
        assert_eq!(message.id(), Some(&Id::Number(id)));
    }
    assert!(inbound.try_recv().is_err(), "a part of what was refused is there");
    session.hand_over(messages([4, 5, 6])).await.unwrap();
    inbound.close();
    assert_eq!(session.hand_over(messages([7, 8, 9])).await, Err(NotTaken::Ended));
}

#[test]
fn of_a_request_that_is_open_its_token_is_kept_and_no_more() {
    let of = |token: &str| super::token(&request(1, token)[0]);
    assert_eq!(of("\"\\u00e9\"").unwrap().as_str(), "\"\\u00e9\"");
    let long = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(of(&long(TOKEN_BYTES)).unwrap().as_str().len(), TOKEN_BYTES);
    assert!(of(&long(TOKEN_BYTES + 1)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_left_alone_gives_its_place_to_a_new_one() {
    let sessions = Sessions::new(10);
    let take = |server: &str, name: &str| {
        let (inbound, receiver) = mpsc::channel(4);
        let taken =
            Session::new(server.into(), principal(name), inbound, Running::default(), &Limits::default()).unwrap();
        assert!(sessions.add(&taken));
        (taken, receiver)
    };
    let minute = || tokio::time::advance(LEFT_ALONE);
    let (other, stranger) = (take("statsig", "a"), take("stripe", "b"));
    let (calling, listening, oldest) = (take("stripe", "a"), take("stripe", "a"), take("stripe", "a"));
    let _called = calling.0.open(&request(1, "1"), true).unwrap();
    let _listens = listening.0.listen().unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    let newest = take("stripe", "a");
    let ended = |ends: &[&Arc<Session>]| ends.iter().filter(|session| session.has_ended()).count();
    // As long as there is room, or all have been used a moment ago, none has to go.
    sessions.make_room(&principal("a"), "stripe", 4);
    minute().await;
    sessions.make_room(&principal("a"), "stripe", 5);
    assert_eq!(ended(&[&calling.0, &listening.0, &oldest.0, &newest.0, &other.0, &stranger.0]), 0);
    sessions.make_room(&principal("a"), "stripe", 4);
    assert!(oldest.0.has_ended() && oldest.0.inbound().is_none() && oldest.0.open(&request(1, "1"), true).is_err());
    assert_eq!(ended(&[&calling.0, &listening.0, &newest.0, &other.0, &stranger.0]), 0);
    // One that is used again stays, and so do those with something open.
    assert!(newest.0.inbound().is_some());
    sessions.make_room(&principal("a"), "stripe", 3);
    assert_eq!(ended(&[&calling.0, &listening.0, &newest.0, &other.0, &stranger.0]), 0);
    minute().await;
    // Nor does one go in which a task of its server runs, though nobody asks.
    newest.0.running.began("t", None);
    sessions.make_room(&principal("a"), "stripe", 3);
    assert!(!newest.0.has_ended());
    newest.0.running.ended("t");
    sessions.make_room(&principal("a"), "stripe", 3);
    sessions.make_room(&principal("a"), "stripe", 2);
    assert!(newest.0.has_ended());
    assert_eq!(ended(&[&calling.0, &listening.0, &other.0, &stranger.0]), 0);
}
