//! One GET of a public document: a connection of its own, with limits of time and size. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};

use super::http_client::HttpClient;
use super::post::Target;

/// For everything: connecting, the request, and all of the answer.
const TIME: Duration = Duration::from_secs(5);

/// The body of an answer with status 200, and its header fields.
///
/// # Errors
/// Why there is none. No text of the answer is in it.
pub async fn fetch(client: &HttpClient, target: &Target, limit: usize) -> Result<(Vec<u8>, HeaderMap), String> {
    let work = async {
        let request = target.get().header(header::ACCEPT, "application/json").header(header::CONNECTION, "close");
        let request: Request<Full<Bytes>> = request.body(Full::default()).map_err(|error| error.to_string())?;
        let (head, body) = client.ask(target.uri(), request).await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(format!("it answered with status {}", head.status.as_u16()));
        }
        if head.headers.contains_key(header::CONTENT_ENCODING) {
            return Err("it answered with an encoded body".to_owned());
        }
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|_| format!("its answer broke off or is longer than {limit} bytes"))?;
        Ok((body.to_bytes().to_vec(), head.headers))
    };
    match tokio::time::timeout(TIME, work).await {
        Ok(fetched) => fetched,
        Err(_) => Err(format!("no whole answer within {} s", TIME.as_secs())),
    }
}

/// How long an answer may be kept, as it says itself.
pub fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let fields = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|field| field.to_str().ok());
    let words: Vec<String> = fields.flat_map(|field| field.split(',')).map(|word| word.trim().to_lowercase()).collect();
    if words.iter().any(|word| matches!(word.as_str(), "no-store" | "no-cache")) {
        return Some(Duration::ZERO);
    }
    let seconds = words.iter().find_map(|word| word.strip_prefix("max-age=")?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_long_it_may_be_kept() {
        let of = |field: &'static str| {
            max_age(&HeaderMap::from_iter([(header::CACHE_CONTROL, http::HeaderValue::from_static(field))]))
        };
        assert_eq!(of("public, Max-Age=600"), Some(Duration::from_secs(600)));
        assert_eq!(of("max-age=60, no-store"), Some(Duration::ZERO));
        assert_eq!((of("max-age=x"), of("max-age=-1"), of("private")), (None, None, None));
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
