//! Reads an event stream (the WHATWG format) in whatever pieces it comes.
//!
//! Invariant: at most the limit is held for one event, and how the bytes were cut makes no difference.

use std::collections::VecDeque;

/// One event with data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Absent where the stream does not name it: then it is a `message`.
    pub name: Option<String>,
    pub data: Vec<u8>,
}

/// An event longer than the limit: the stream cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an event of more than {0} bytes")]
pub struct TooLong(pub usize);

/// Longest name, id or retry value that is kept; longer ones are ignored.
const SHORT: usize = 1 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    /// The name is still being read.
    Name,
    Data,
    Event,
    Id,
    Retry,
    /// A comment, or a field that nobody knows.
    Other,
}

/// The reader's state between two pieces.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    field: Field,
    /// The field's name, or the value of a short field.
    short: Vec<u8>,
    /// One space after the colon does not count.
    value_begun: bool,
    data: Option<Vec<u8>>,
    name: Option<String>,
    /// The id as the stream has it now; it counts from the end of its event on.
    id: Option<String>,
    last_id: Option<String>,
    retry: Option<u64>,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
    /// Bytes of a byte order mark that the stream may begin with.
    mark: usize,
    events: VecDeque<Event>,
}

impl Decoder {
    pub fn new(limit: usize) -> Decoder {
        Decoder {
            limit,
            field: Field::Name,
            short: Vec::new(),
            value_begun: false,
            data: None,
            name: None,
            id: None,
            last_id: None,
            retry: None,
            after_return: false,
            mark: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes the next piece of the stream.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), TooLong> {
        while let Some((&first, rest)) = piece.split_first() {
            if self.mark < 3 {
                if [0xef, 0xbb, 0xbf].get(self.mark) == Some(&first) {
                    self.mark += 1;
                    piece = rest;
                    continue;
                }
                self.mark = 3;
            }
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                piece = rest;
                continue;
            }
            let end = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = piece.split_at(end.unwrap_or(piece.len()));
            self.part(part)?;
            match rest.split_first() {
                Some((&end, rest)) => {
                    self.after_return = end == b'\r';
                    self.line_end();
                    if self.data.as_ref().is_some_and(|data| data.len() > self.limit) {
                        return Err(TooLong(self.limit));
                    }
                    piece = rest;
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// The next complete event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The id of the last event that came whole, as it is given back when the stream is asked for again.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Begins again with a new stream that goes on where this one broke off: half an event is forgotten.
    pub fn restart(&mut self) {
        let fresh = Decoder::new(self.limit);
        let (last_id, retry) = (self.last_id.take(), self.retry);
        *self = Decoder { id: last_id.clone(), last_id, retry, ..fresh };
    }

    /// After how many milliseconds to ask for the stream again, where the stream says it.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// A part of a line without its end.
    fn part(&mut self, mut part: &[u8]) -> Result<(), TooLong> {
        if self.field == Field::Name {
            let colon = part.iter().position(|byte| *byte == b':');
            let (name, rest) = part.split_at(colon.unwrap_or(part.len()));
            self.keep(name);
            let Some((_, rest)) = rest.split_first() else { return Ok(()) };
            self.begin_value();
            part = rest;
        }
        if let Some((first, rest)) = part.split_first()
            && !std::mem::replace(&mut self.value_begun, true)
            && *first == b' '
        {
            part = rest;
        }
        match (self.field, &mut self.data) {
            (Field::Data, Some(data)) => {
                if data.len() + part.len() > self.limit {
                    return Err(TooLong(self.limit));
                }
                data.extend_from_slice(part);
            }
            (Field::Event | Field::Id | Field::Retry, _) => self.keep(part),
            (Field::Data, None) | (Field::Name | Field::Other, _) => {}
        }
        Ok(())
    }

    /// One byte above the bound is kept as the sign that it is too long.
    fn keep(&mut self, part: &[u8]) {
        let room = (SHORT + 1).saturating_sub(self.short.len());
        self.short.extend(part.iter().take(room));
    }

    fn begin_value(&mut self) {
        self.field = match self.short.as_slice() {
            b"data" => Field::Data,
            b"event" => Field::Event,
            b"id" => Field::Id,
            b"retry" => Field::Retry,
            _ => Field::Other,
        };
        if self.field == Field::Data {
            match &mut self.data {
                Some(data) => data.push(b'\n'),
                None => self.data = Some(Vec::new()),
            }
        }
        self.short.clear();
        self.value_begun = false;
    }

    fn line_end(&mut self) {
        if self.field == Field::Name {
            if self.short.is_empty() {
                return self.dispatch();
            }
            // A line without a colon is a field with an empty value.
            self.begin_value();
        }
        let value = std::mem::take(&mut self.short);
        let value = (value.len() <= SHORT).then(|| String::from_utf8(value).ok()).flatten();
        match self.field {
            Field::Event => self.name = value,
            // An id that cannot be kept is none: with the one before, what came since would come again.
            Field::Id => match value {
                Some(value) if value.contains('\0') => {}
                value => self.id = value.filter(|value| !value.is_empty()),
            },
            Field::Retry => self.retry = value.and_then(|value| value.parse().ok()).or(self.retry),
            Field::Data | Field::Name | Field::Other => {}
        }
        self.field = Field::Name;
    }

    fn dispatch(&mut self) {
        if self.last_id != self.id {
            self.last_id.clone_from(&self.id);
        }
        let name = self.name.take().filter(|name| !name.is_empty());
        if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
            self.events.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\nevent: message\nid: 1\ndata: {\"a\":1}\n\ndata:x\r\ndata:  y\r\n\r\ndata\n\nid\nretry: 250\nevent:ping\rdata: z\r\rdata: é\n\ndata: lost";

    fn read(pieces: &[&[u8]]) -> (Vec<(Option<String>, String)>, Decoder) {
        let mut decoder = Decoder::new(100);
        let mut found = Vec::new();
        for piece in pieces {
            decoder.push(piece).unwrap();
            while let Some(event) = decoder.next_event() {
                found.push((event.name, String::from_utf8(event.data).unwrap()));
            }
        }
        (found, decoder)
    }

    #[test]
    fn a_stream_reads_the_same_however_it_is_cut() {
        let whole = read(&[STREAM.as_bytes()]).0;
        let text = |name: Option<&str>, data: &str| (name.map(str::to_owned), data.to_owned());
        let expected =
            vec![text(Some("message"), "{\"a\":1}"), text(None, "x\n y"), text(Some("ping"), "z"), text(None, "é")];
        assert_eq!(whole, expected);
        for cut in 0..=STREAM.len() {
            let (before, after) = STREAM.as_bytes().split_at(cut);
            assert_eq!(read(&[before, after]).0, expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes).0, expected);
    }

    #[test]
    fn ids_and_retry_are_remembered() {
        assert_eq!(read(&[b"id: 7\ndata: a\n\n"]).1.last_id(), Some("7"));
        assert_eq!(read(&[b"id: 7\ndata: a\n\nid\n\n"]).1.last_id(), None);
        // Half an event has not come: it is asked for again.
        assert_eq!(read(&[b"id: 7\ndata: a\n\nid: 8\ndata: b\n"]).1.last_id(), Some("7"));
        assert_eq!(read(&[b"id: 7\ndata: \n\n"]).1.last_id(), Some("7"));
        let long = format!("id: 7\ndata: a\n\nid: {}\ndata: b\n\n", "8".repeat(SHORT + 1));
        assert_eq!(read(&[long.as_bytes()]).1.last_id(), None);
        assert_eq!(read(&[b"retry: 250\n"]).1.retry(), Some(250));
        assert_eq!(read(&[b"retry: soon\n"]).1.retry(), None);
    }

    #[test]
    fn a_stream_that_broke_goes_on_after_its_last_whole_event() {
        let (_, mut decoder) = read(&[b"retry: 9\nid: 7\ndata: a\n\nid: 8\nevent: x\ndata: {\"half"]);
        decoder.restart();
        decoder.push(b"\xef\xbb\xbfdata: b\n\n").unwrap();
        assert_eq!(decoder.next_event(), Some(Event { name: None, data: b"b".to_vec() }));
        assert_eq!((decoder.last_id(), decoder.retry()), (Some("7"), Some(9)));
    }

    #[test]
    fn an_event_is_bounded_however_it_grows() {
        let mut one_line = Decoder::new(10);
        assert!(one_line.push(b"data: 0123456789").is_ok());
        assert_eq!(one_line.push(b"0"), Err(TooLong(10)));
        let mut many_lines = Decoder::new(10);
        let result = (0..100).try_for_each(|_| many_lines.push(b"data: 1\n"));
        assert_eq!(result, Err(TooLong(10)));
        let mut name = Decoder::new(10);
        (0..10_000).for_each(|_| name.push(b"xxxxxxxxxx").unwrap());
        assert!(name.short.len() <= SHORT + 1);
        // Empty data lines grow by their line feeds.
        let mut empty = Decoder::new(10);
        assert_eq!((0..100).try_for_each(|_| empty.push(b"data\n")), Err(TooLong(10)));
    }
}
