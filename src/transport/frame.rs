//! Lines: the frames of stdio transports and of the client socket. A line feed ends a frame and nothing else does.
//!
//! Invariant: a reader holds at most its limit and one small read, whatever the other side sends.

use std::io::{self, BufRead as _, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::call::Leave;
use crate::json::JsonText;

/// Room for one read.
const ROOM: usize = 8 << 10;
/// Lines from here on are handed out without a copy.
const LARGE: usize = 32 << 10;
/// Up to this much is joined into one buffer before it is written.
const JOINED: usize = 16 << 10;

/// What a reader found.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A line without its end (LF or CRLF). Never empty.
    Line(Vec<u8>),
    /// A line that is longer than the limit: at most the limit of it was read. The stream cannot be read on, except
    /// after [`LineReader::skip`].
    TooLong,
    /// The stream ended inside a line.
    Cut,
    End,
}

/// Reads lines of bounded length. Cancel safe.
#[derive(Debug)]
pub struct LineReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where the current line starts.
    start: usize,
    /// Up to here there is no line end in it.
    scanned: usize,
    limit: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub fn new(source: R, limit: usize) -> LineReader<R> {
        LineReader::with_start(source, Vec::new(), limit)
    }

    /// A reader whose first bytes were read before.
    pub fn with_start(source: R, read: Vec<u8>, limit: usize) -> LineReader<R> {
        LineReader { source, buffer: read, start: 0, scanned: 0, limit }
    }

    /// The next line that is not empty.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn next(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(end) = self.line_end() {
                if end - self.start > self.limit {
                    return Ok(Frame::TooLong);
                }
                let line = self.take(end);
                if line.is_empty() {
                    continue;
                }
                return Ok(Frame::Line(line));
            }
            if self.buffer.len() - self.start > self.limit {
                return Ok(Frame::TooLong);
            }
            if self.fill().await? == 0 {
                return Ok(if self.buffer.len() > self.start { Frame::Cut } else { Frame::End });
            }
        }
    }

    /// After [`Frame::TooLong`]: throws away the rest of that line. False at the end of the stream.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn skip(&mut self) -> io::Result<bool> {
        loop {
            if let Some(end) = self.line_end() {
                self.start = end + 1;
                self.scanned = self.start;
                return Ok(true);
            }
            self.buffer.clear();
            (self.start, self.scanned) = (0, 0);
            if self.fill().await? == 0 {
                return Ok(false);
            }
        }
    }

    /// What is known of the current line: the beginning of one that is too long or was cut.
    pub fn head(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The stream, and what was read of it beyond the last line.
    pub fn into_parts(mut self) -> (R, Vec<u8>) {
        self.buffer.drain(..self.start);
        (self.source, self.buffer)
    }

    /// The stream, for its other direction.
    pub fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// The index of the next line feed.
    fn line_end(&mut self) -> Option<usize> {
        let mut rest = self.buffer.get(self.scanned..).unwrap_or_default();
        let skipped = rest.skip_until(b'\n').unwrap_or(0);
        let after = self.scanned + skipped;
        if skipped > 0 && self.buffer.get(after - 1) == Some(&b'\n') {
            return Some(after - 1);
        }
        self.scanned = self.buffer.len();
        None
    }

    fn take(&mut self, end: usize) -> Vec<u8> {
        let whole = self.start == 0 && end + 1 == self.buffer.len();
        let mut line = if whole && end >= LARGE {
            (self.start, self.scanned) = (0, 0);
            let mut line = std::mem::take(&mut self.buffer);
            line.truncate(end);
            line
        } else {
            let line = self.buffer.get(self.start..end).unwrap_or_default().to_vec();
            self.start = end + 1;
            self.scanned = self.start;
            line
        };
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        line
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > LARGE {
            self.buffer = Vec::new();
        }
        if self.buffer.capacity() - self.buffer.len() < ROOM {
            let wanted =
                self.buffer.len().max(ROOM).min((self.limit + ROOM).saturating_sub(self.buffer.len()).max(ROOM));
            self.buffer.reserve_exact(wanted);
        }
        self.source.read_buf(&mut self.buffer).await
    }
}

/// A write that failed, and how many bytes of it were taken before.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct WriteFailed {
    pub written: usize,
    pub source: io::Error,
}

/// A sink whose first byte is asked for, where it is one of a decided call. A pipe may be full for long, so that is done
/// with each try.
#[derive(Debug)]
pub struct Gated<'a, W> {
    pub sink: &'a mut W,
    /// Nothing once it has left.
    pub leave: Option<&'a Leave>,
}

impl<W: AsyncWrite + Unpin> Gated<'_, W> {
    fn poll(&mut self, write: impl FnOnce(Pin<&mut W>) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let sink = Pin::new(&mut *self.sink);
        let Some(leave) = self.leave else { return write(sink) };
        let attempt = || {
            let written = write(sink);
            let left = matches!(written, Poll::Ready(Ok(1..)));
            (written, left)
        };
        let written = leave.attempt(attempt).unwrap_or_else(|why| Poll::Ready(Err(io::Error::other(why))));
        if let Poll::Ready(Ok(1..)) = written {
            self.leave = None;
        }
        written
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Gated<'_, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|sink| sink.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|sink| sink.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.sink.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.sink).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.sink).poll_shutdown(cx)
    }
}

/// Writes each text and a line feed, in order.
///
/// # Errors
/// With the count of bytes that had left.
pub async fn write_lines<W: AsyncWrite + Unpin>(sink: &mut W, texts: &[JsonText]) -> Result<(), WriteFailed> {
    let total: usize = texts.iter().map(|text| text.as_str().len() + 1).sum();
    if total <= JOINED {
        let mut joined = Vec::with_capacity(total);
        for text in texts {
            joined.extend_from_slice(text.as_str().as_bytes());
            joined.push(b'\n');
        }
        return write_slices(sink, &mut [IoSlice::new(&joined)]).await;
    }
    let mut slices: Vec<IoSlice<'_>> =
        texts.iter().flat_map(|text| [IoSlice::new(text.as_str().as_bytes()), IoSlice::new(b"\n")]).collect();
    write_slices(sink, &mut slices).await
}

async fn write_slices<W: AsyncWrite + Unpin>(sink: &mut W, mut slices: &mut [IoSlice<'_>]) -> Result<(), WriteFailed> {
    let mut written = 0;
    while !slices.is_empty() {
        match sink.write_vectored(slices).await {
            Ok(0) => return Err(WriteFailed { written, source: io::ErrorKind::WriteZero.into() }),
            Ok(count) => {
                written += count;
                IoSlice::advance_slices(&mut slices, count);
            }
            Err(source) => return Err(WriteFailed { written, source }),
        }
    }
    sink.flush().await.map_err(|source| WriteFailed { written, source })
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    async fn frames(chunks: &[&[u8]], limit: usize) -> Vec<Frame> {
        let (mut theirs, ours) = duplex(1 << 20);
        for chunk in chunks {
            theirs.write_all(chunk).await.unwrap();
        }
        drop(theirs);
        let mut reader = LineReader::new(ours, limit);
        let mut found = Vec::new();
        loop {
            let frame = reader.next().await.unwrap();
            let last = !matches!(frame, Frame::Line(_));
            found.push(frame);
            if last {
                return found;
            }
        }
    }

    fn line(text: &str) -> Frame {
        Frame::Line(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn line_feeds_split_and_nothing_else_does() {
        let text = b"a\r\n\n\r\nb\rc\n\xe2\x80\xa8d\n";
        let expected = vec![line("a"), line("b\rc"), line("\u{2028}d"), Frame::End];
        assert_eq!(frames(&[text], 100).await, expected);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(frames(&bytes, 100).await, expected);
    }

    #[tokio::test]
    async fn a_byte_at_a_time_and_all_at_once_read_the_same() {
        let (mut theirs, ours) = duplex(1);
        let writer = tokio::spawn(async move {
            for byte in b"{\"a\":1}\n{\"b\":2}\n" {
                theirs.write_all(&[*byte]).await.unwrap();
            }
        });
        let mut reader = LineReader::new(ours, 100);
        assert_eq!(reader.next().await.unwrap(), line("{\"a\":1}"));
        assert_eq!(reader.next().await.unwrap(), line("{\"b\":2}"));
        assert_eq!(reader.next().await.unwrap(), Frame::End);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_cut() {
        assert_eq!(frames(&[b"a\nb"], 100).await, vec![line("a"), Frame::Cut]);
    }

    #[tokio::test]
    async fn the_limit_holds_to_the_byte() {
        assert_eq!(frames(&[b"1234\n"], 4).await, vec![line("1234"), Frame::End]);
        assert_eq!(frames(&[b"12345\n"], 4).await, vec![Frame::TooLong]);
        assert_eq!(frames(&[b"1234567890123"], 4).await, vec![Frame::TooLong]);
    }

    #[tokio::test]
    async fn an_endless_line_stays_within_the_limit() {
        let limit = 100_000;
        let mut reader = LineReader::new(tokio::io::repeat(b'a'), limit);
        assert_eq!(reader.next().await.unwrap(), Frame::TooLong);
        assert!(reader.buffer.capacity() <= limit + 2 * ROOM, "{}", reader.buffer.capacity());
    }

    #[tokio::test]
    async fn a_skipped_line_does_not_hide_the_next() {
        let (mut theirs, ours) = duplex(1 << 20);
        theirs.write_all(format!("{}\nb\n", "x".repeat(50_000)).as_bytes()).await.unwrap();
        drop(theirs);
        let mut reader = LineReader::new(ours, 1000);
        assert_eq!(reader.next().await.unwrap(), Frame::TooLong);
        assert!(reader.head().starts_with(b"xxx"));
        assert!(reader.skip().await.unwrap());
        assert_eq!(reader.next().await.unwrap(), line("b"));
    }

    #[tokio::test]
    async fn large_lines_come_whole_and_release_their_buffer() {
        let big = "y".repeat(300_000);
        let text = format!("{big}\n{big}\nz\n");
        let found = frames(&[text.as_bytes()], 1 << 20).await;
        assert_eq!(found, vec![line(&big), line(&big), line("z"), Frame::End]);
    }

    /// A source that gives what it has in the pieces that it was told.
    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(into.remaining()));
                into.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            std::task::Poll::Ready(Ok(()))
        }
    }

    /// What a stream says, without looking at how it comes.
    fn expected(text: &[u8], limit: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut rest = text;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if end > limit {
                frames.push(Frame::TooLong);
                return frames;
            }
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            if !line.is_empty() {
                frames.push(Frame::Line(line.to_vec()));
            }
            rest = &rest[end + 1..];
        }
        frames.push(match rest.len() {
            0 => Frame::End,
            length if length > limit => Frame::TooLong,
            _ => Frame::Cut,
        });
        frames
    }

    /// Reads to the end, or to the first line that is too long.
    fn read_in_pieces(pieces: Vec<Vec<u8>>, limit: usize) -> Vec<Frame> {
        // An empty read is an end.
        let source = Pieces(pieces.into_iter().filter(|piece| !piece.is_empty()).collect());
        let mut reader = LineReader::new(source, limit);
        let mut found = Vec::new();
        loop {
            // Nothing here ever waits.
            let frame = futures_util::FutureExt::now_or_never(reader.next()).unwrap().unwrap();
            assert!(reader.buffer.capacity() <= 2 * (limit + ROOM), "{}", reader.buffer.capacity());
            let last = !matches!(frame, Frame::Line(_));
            found.push(frame);
            if last {
                return found;
            }
        }
    }

    fn byte() -> impl proptest::strategy::Strategy<Value = u8> {
        use proptest::prelude::*;
        // Line ends, marks, NUL and broken UTF-8 come often.
        prop_oneof![
            3 => Just(b'\n'), 2 => Just(b'\r'), 1 => Just(0), 1 => Just(0xef), 1 => Just(0xbb), 1 => Just(0xbf), 6 => any::<u8>()
        ]
    }

    proptest::proptest! {
        #[test]
        fn frames_do_not_depend_on_how_the_bytes_come(
            pieces in proptest::collection::vec(proptest::collection::vec(byte(), 0..40), 0..30),
            limit in 1_usize..60,
        ) {
            let text = pieces.concat();
            proptest::prop_assert_eq!(read_in_pieces(pieces, limit), expected(&text, limit));
        }

        /// Around the sizes at which the reader changes what it does.
        #[test]
        fn large_lines_are_no_exception(
            lengths in proptest::collection::vec((0_usize..5, -3_isize..4), 1..6),
            piece in 1_usize..200_000,
            limit in 30_000_usize..70_000,
        ) {
            let sizes = [ROOM, LARGE, LARGE + ROOM, limit, 10];
            let text: Vec<u8> = lengths.iter().flat_map(|(size, more)| {
                let mut line = vec![b'x'; sizes[*size].saturating_add_signed(*more)];
                line.push(b'\n');
                line
            }).collect();
            let pieces = text.chunks(piece).map(<[u8]>::to_vec).collect();
            proptest::prop_assert_eq!(read_in_pieces(pieces, limit), expected(&text, limit));
        }
    }

    #[tokio::test]
    async fn a_line_of_8_mib_comes_whole_and_one_byte_more_does_not() {
        let limit = 8 << 20;
        let mut line = vec![b'x'; limit];
        line.push(b'\n');
        let halves = |text: &[u8]| text.chunks(1 << 16).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(read_in_pieces(halves(&line), limit), [Frame::Line(vec![b'x'; limit]), Frame::End]);
        line.insert(0, b'x');
        assert_eq!(read_in_pieces(halves(&line), limit), [Frame::TooLong]);
    }

    /// A sink that takes a few bytes at a time, and then no more.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            let room = (self.room - self.taken.len()).min(7).min(bytes.len());
            if room == 0 {
                return std::task::Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.taken.extend_from_slice(&bytes[..room]);
            std::task::Poll::Ready(Ok(room))
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn partial_writes_are_continued_and_counted() {
        for size in [3, 40_000] {
            let text = JsonText::parse(format!("\"{}\"", "z".repeat(size)), crate::json::Rules::CLIENT).unwrap();
            let whole = format!("{0}\n{0}\n", text.as_str());
            let texts = [text.clone(), text];
            let mut sink = Narrow { taken: Vec::new(), room: whole.len() };
            write_lines(&mut sink, &texts).await.unwrap();
            assert_eq!(sink.taken, whole.as_bytes());
            for room in [0, 1, 5] {
                let mut sink = Narrow { taken: Vec::new(), room };
                assert_eq!(write_lines(&mut sink, &texts).await.unwrap_err().written, room);
                assert_eq!(sink.taken, &whole.as_bytes()[..room]);
            }
        }
    }

    #[tokio::test]
    async fn writes_are_lines_however_large() {
        let small = JsonText::parse("{\"a\":1}", crate::json::Rules::CLIENT).unwrap();
        let large = JsonText::parse(format!("\"{}\"", "z".repeat(40_000)), crate::json::Rules::CLIENT).unwrap();
        let mut out = Vec::new();
        write_lines(&mut out, &[small.clone(), large.clone()]).await.unwrap();
        write_lines(&mut out, std::slice::from_ref(&small)).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"a\":1}}\n{}\n{{\"a\":1}}\n", large.as_str()));
    }
}
