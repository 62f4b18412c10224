//! What an HTTP status says about a request that it answers without an answer: to the client, and to the operator.

use std::time::Duration;

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tracing::{error, warn};

use crate::credential::scrub::Scrubber;
use crate::mcp::loss::{Cause, Fate, Loss};

/// No server may keep a client away for longer.
const LONGEST_WAIT: u64 = 24 * 3600;
/// How much of a server's challenge the log shows.
const CHALLENGE: usize = 300;

/// True where no body can say more than the status and its fields.
pub(super) fn is_final(status: StatusCode, headers: &HeaderMap) -> bool {
    status.is_redirection()
        || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        || (is_busy(status) && headers.contains_key(RETRY_AFTER))
}

/// What became of a request. Only a status of the 400s says that it was not carried out.
pub(super) fn loss(status: StatusCode, headers: &HeaderMap) -> Loss {
    let (fate, cause, reason) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (Fate::Refused, Cause::Key, format!("it does not accept the key: {status}"))
        }
        StatusCode::TOO_MANY_REQUESTS => (Fate::Refused, Cause::Busy, format!("it has had too many: {status}")),
        StatusCode::SERVICE_UNAVAILABLE => (Fate::Unknown, Cause::Busy, format!("the upstream answered {status}")),
        _ if status.is_redirection() => {
            (Fate::Unknown, Cause::Other, format!("redirects are not followed, and the upstream answered {status}"))
        }
        _ if status.is_client_error() => (Fate::Refused, Cause::Other, format!("it answered {status}")),
        _ if status.is_success() => (Fate::Unknown, Cause::Other, format!("the upstream answered {status} only")),
        _ => (Fate::Unknown, Cause::Other, format!("the upstream answered {status}")),
    };
    let retry_after = if is_busy(status) { retry_after(headers, Timestamp::now()) } else { None };
    Loss { retry_after, ..Loss::new(fate, cause, reason) }
}

/// Tells the operator what to do, where it is the operator who has to do it.
pub(super) fn report(server: &str, status: StatusCode, headers: &HeaderMap, scrubber: &Scrubber) {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let challenge = headers.get(WWW_AUTHENTICATE).map(|field| String::from_utf8_lossy(field.as_bytes()));
        let challenge: String = scrubber
            .line(challenge.as_deref().unwrap_or_default())
            .chars()
            .take(CHALLENGE)
            .flat_map(char::escape_debug)
            .collect();
        error!(
            server, %status, challenge,
            "the upstream does not accept the key; see to its secret, and to servers.{server}.upstream.http.headers or `query`"
        );
    } else if is_busy(status) {
        let seconds = retry_after(headers, Timestamp::now()).map(|wait| wait.as_secs());
        warn!(server, %status, retry_after_seconds = seconds, "the upstream asks for fewer requests");
    } else if status.is_redirection() {
        error!(
            server, %status,
            "the upstream redirects, which is never followed because the key would go along; put the address that it \
             means into servers.{server}.upstream.http.url"
        );
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let field = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = if field.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time as well.
        field.parse().unwrap_or(LONGEST_WAIT)
    } else {
        let date = jiff::fmt::rfc2822::parse(field).ok()?.timestamp();
        u64::try_from(date.as_second().saturating_sub(now.as_second())).unwrap_or(0)
    };
    (!field.is_empty()).then(|| Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_read_in_both_forms_and_bounded() {
        let now = Timestamp::from_second(784_111_777).unwrap();
        let wait = |field: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, field.parse().unwrap())]);
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(wait("Sun, 06 Nov 1994 08:40:00 GMT"), Some(0));
        assert_eq!(wait("Sat, 06 Nov 2094 08:40:00 GMT"), Some(LONGEST_WAIT));
        assert_eq!(wait("99999999999999999999999999"), Some(LONGEST_WAIT));
        assert_eq!((wait("soon"), wait(""), wait("-1")), (None, None, None));
    }

    #[test]
    fn only_a_refusal_says_that_nothing_happened() {
        for code in 200..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let loss = loss(status, &HeaderMap::new());
            assert_eq!(loss.fate == Fate::Refused, status.is_client_error(), "{status}");
            assert!(loss.reason.contains(status.as_str()));
        }
    }
}
