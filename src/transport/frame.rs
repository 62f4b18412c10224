//! Lines: the frames of stdio transports and of the client socket. A line feed ends a frame and nothing else does.
//!
//! Invariant: a reader holds at most its limit and one small read, whatever the other side sends.

use std::io::{self, BufRead as _, IoSlice};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

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
