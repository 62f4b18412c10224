//! The bounds of what is kept, and what a client that comes back finds.

use super::*;
use crate::json::Rules;

const WINDOW: Duration = Duration::from_secs(10);

fn text(text: &str) -> JsonText {
    JsonText::parse(text, Rules::UPSTREAM).unwrap()
}

fn note(data: usize) -> JsonText {
    text(&format!(r#"{{"method":"x","params":{{"data":{data}}}}}"#))
}

fn requests(ids: impl IntoIterator<Item = i64>) -> Vec<(Id, Option<JsonText>)> {
    ids.into_iter().map(|id| (Id::Number(id), None)).collect()
}

fn opened(streams: &mut Streams, id: i64) -> Opened {
    let opened = streams.open(requests([id]), true, false).unwrap();
    streams.known(opened.stream);
    opened
}

fn after(opened: &Opened, place: u64) -> EventId {
    EventId { stream: opened.stream, place }
}

#[tokio::test]
async fn an_event_id_is_read_as_it_is_written_and_in_no_other_form() {
    for stream in [StreamId::Listening(7), StreamId::Request(0)] {
        let id = EventId { stream, place: 12 };
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
    }
    assert_eq!(EventId { stream: StreamId::Request(3), place: 0 }.to_string(), "p3-0");
    for odd in ["", "p", "p1", "p1-", "p-1", "x1-1", "é1-1", "p1-1 ", "p+1-1", "p1--1", "p1-00000000000000000001"] {
        assert_eq!(EventId::parse(odd), None, "{odd}");
    }
}

#[tokio::test]
async fn what_is_kept_is_bounded_by_count_and_by_bytes() {
    let mut streams = Streams::new(4, WINDOW);
    let first = opened(&mut streams, 1);
    for data in 0..2 * KEPT_EVENTS {
        streams.tell(note(data), Some(&Id::Number(1))).unwrap();
    }
    assert_eq!(streams.kept.len(), KEPT_EVENTS);
    assert_eq!(streams.resume(after(&first, 0)).unwrap().missed.len(), KEPT_EVENTS, "the newest are there");
    let large = text(&format!(r#"{{"x":"{}"}}"#, "x".repeat(KEPT_BYTES)));
    for _ in 0..3 {
        streams.tell(large.clone(), Some(&Id::Number(1))).unwrap();
        assert_eq!((streams.kept.len(), streams.bytes), (1, large.as_str().len()), "one, however long");
    }
    streams.tell(note(1), Some(&Id::Number(1))).unwrap();
    assert_eq!((streams.kept.len(), streams.bytes), (1, note(1).as_str().len()));
}

#[tokio::test]
async fn streams_whose_answers_were_not_fetched_are_bounded() {
    let mut streams = Streams::new(4, WINDOW);
    for id in 0..1000 {
        let opened = opened(&mut streams, id);
        assert_eq!(streams.leave(opened.stream, opened.reader), Left::Waiting);
        streams.answer(&Id::Number(id), text("{}")).unwrap();
    }
    assert_eq!((streams.streams.len(), streams.of.len()), (KEPT_EVENTS, 0));
    assert_eq!(streams.expire(Instant::now() + WINDOW), []);
    assert_eq!((streams.streams.len(), streams.kept.len(), streams.bytes), (0, 0, 0));
}

#[tokio::test]
async fn a_client_that_left_has_the_window_and_no_more() {
    let mut streams = Streams::new(4, WINDOW);
    let (one, two) = (opened(&mut streams, 1), opened(&mut streams, 2));
    assert_eq!(streams.next_end(), None);
    assert_eq!(streams.leave(one.stream, one.reader), Left::Waiting);
    let end = streams.next_end().unwrap();
    assert_eq!(streams.expire(end - Duration::from_millis(1)), []);
    // Whoever comes back is there again, and has the whole window when it leaves again.
    let back = streams.resume(after(&one, 0)).unwrap();
    assert_eq!(streams.next_end(), None);
    assert_eq!(streams.leave(one.stream, one.reader), Left::Nothing, "the reader before has nothing to say");
    assert_eq!(streams.leave(back.stream, back.reader), Left::Waiting);
    assert_eq!(streams.expire(streams.next_end().unwrap()), [Id::Number(1)]);
    assert!(streams.resume(after(&one, 0)).is_none());
    assert!(streams.in_use(), "the other one is read");
    assert_eq!(streams.leave(two.stream, two.reader), Left::Waiting);
    assert!(streams.in_use(), "and may come back");
    streams.expire(streams.next_end().unwrap());
    assert!(!streams.in_use());
}

#[tokio::test]
async fn the_first_answer_cannot_be_taken_back_and_its_loss_ends_the_session() {
    let mut streams = Streams::new(4, WINDOW);
    let begin = streams.open(requests([0]), true, true).unwrap();
    streams.known(begin.stream);
    streams.cancel(&Id::Number(0));
    assert!(streams.reader(&Id::Number(0)).is_some());
    assert_eq!(streams.leave(begin.stream, begin.reader), Left::Session);
}

#[tokio::test]
async fn a_stream_of_several_requests_ends_with_the_last_answer() {
    let mut streams = Streams::new(4, WINDOW);
    let batch = streams.open(requests([1, 2, 3]), true, false).unwrap();
    assert_eq!(streams.open(requests([4, 5]), true, false).unwrap_err(), NoPlace::TooMany);
    assert_eq!(streams.open(requests([3]), true, false).unwrap_err(), NoPlace::IdInUse);
    let last = |streams: &mut Streams, id| match streams.answer(&Id::Number(id), text("{}")) {
        Some((Some(_), Turn::Answer { last, .. })) => last,
        other => panic!("{other:?}"),
    };
    assert!(!last(&mut streams, 2));
    streams.cancel(&Id::Number(1));
    assert!(streams.answer(&Id::Number(1), text("{}")).is_none());
    assert!(last(&mut streams, 3));
    assert_eq!(streams.leave(batch.stream, batch.reader), Left::Nothing);
    assert!(streams.streams.is_empty());
}

#[tokio::test]
async fn what_belongs_to_no_request_waits_for_a_listener_that_may_come_back() {
    let mut streams = Streams::new(4, WINDOW);
    let listener = streams.listen().unwrap();
    streams.known(listener.stream);
    assert_eq!(streams.leave(listener.stream, listener.reader), Left::Waiting);
    let (reader, _) = streams.tell(note(1), None).unwrap();
    assert!(reader.is_none());
    assert_eq!(streams.resume(after(&listener, 0)).unwrap().missed.len(), 1);
    // A listener that asks anew has lost the one before.
    let other = streams.listen().unwrap();
    assert!(streams.resume(after(&listener, 0)).is_none());
    assert_eq!(streams.leave(other.stream, other.reader), Left::Nothing);
    assert!(streams.tell(note(2), None).is_none(), "nobody may come back");
}
