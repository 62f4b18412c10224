//! What bounds everything that grows or waits. Data: whoever holds the thing that is bounded enforces it.

/// Most that `held_bytes` may be: what is longer would not fit into what one operator is shown at once.
pub const MAX_HELD_BYTES: usize = 8 << 20;

/// Sizes, counts and times that bound everything. The defaults are what `limits:` in the configuration starts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// One message from a client, in bytes.
    pub message_bytes: usize,
    /// One message from an upstream, in bytes.
    pub answer_bytes: usize,
    /// Parameters of a held call, in bytes: more cannot be shown to an operator and is refused.
    pub held_bytes: usize,
    /// All headers of an HTTP request, in bytes.
    pub header_bytes: usize,
    pub header_timeout: std::time::Duration,
    pub body_timeout: std::time::Duration,
    /// Time to reach an upstream or to see it start.
    pub connect_timeout: std::time::Duration,
    /// Time for an upstream to answer one request.
    pub answer_timeout: std::time::Duration,
    /// An HTTP session without a request ends after this.
    pub session_idle: std::time::Duration,
    /// A client that lost an event stream of its session is waited for this long.
    pub resume_window: std::time::Duration,
    /// Grace for calls that are already sent when the daemon stops.
    pub drain: std::time::Duration,
    pub sessions: usize,
    pub sessions_per_principal: usize,
    pub connections: usize,
    /// Requests of one session that are not answered yet.
    pub in_flight: usize,
    /// Messages that wait in one queue.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        use std::time::Duration;
        Limits {
            message_bytes: 4 << 20,
            answer_bytes: 32 << 20,
            held_bytes: 2 << 20,
            header_bytes: 32 << 10,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(300),
            session_idle: Duration::from_secs(3600),
            resume_window: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            sessions: 1000,
            sessions_per_principal: 64,
            connections: 2000,
            in_flight: 256,
            queue: 64,
        }
    }
}
