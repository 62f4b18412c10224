//! A request that was let through, to the API: the key joins here. Redirects are not followed, and of the answer's head
//! only what is named here comes back.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{Answered, ApiSpec};
use crate::call::{Leave, Limits};
use crate::mcp::api_request::Outgoing;
use crate::transport::http_client::HttpClient;

/// Fields of an answer that a client of the API may need.
static PASSED: [HeaderName; 5] = [
    CONTENT_TYPE,
    RETRY_AFTER,
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("idempotent-replayed"),
];

/// No answer has come that could be passed on. `sent` is false only where no byte of the request left.
#[derive(Debug)]
pub struct Lost {
    pub sent: bool,
    pub reason: String,
}

impl Lost {
    fn after(reason: impl Into<String>) -> Lost {
        Lost { sent: true, reason: reason.into() }
    }
}

/// Sends a request once, where it may still `leave`, and reads the answer whole.
///
/// # Errors
/// [`Lost`].
pub async fn forward(
    client: &HttpClient,
    spec: &ApiSpec,
    request: Outgoing,
    leave: &Leave,
    limits: &Limits,
) -> Result<Answered, Lost> {
    let request = built(spec, request).map_err(|reason| Lost { sent: false, reason })?;
    let asking = client.link(async {
        let sent = client.send(spec.http.server(), spec.http.uri(), request, Some(leave)).await;
        let (response, connection) = sent.map_err(|no| Lost { sent: no.sent, reason: no.reason })?;
        let answered = whole(response, limits.answer_bytes).await?;
        client.keep(spec.http.server(), connection);
        Ok(answered)
    });
    match timeout(limits.answer_timeout, asking).await {
        Ok(answered) => answered,
        Err(_) => {
            let seconds = limits.answer_timeout.as_secs();
            Err(Lost::after(format!("no answer from the API within {seconds} s (limits.answer_timeout)")))
        }
    }
}

fn built(spec: &ApiSpec, request: Outgoing) -> Result<Request<Full<Bytes>>, String> {
    let Outgoing { method, target, headers, body } = request;
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let mut fields = HeaderMap::new();
    fields.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if body.is_some() {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(|_| "a header field that cannot be sent".to_owned())?;
        fields.insert(name, HeaderValue::from_str(&value).map_err(|error| error.to_string())?);
    }
    spec.http.write(&mut fields);
    let body = Full::new(body.map_or_else(Bytes::new, Bytes::from));
    let mut request = Request::builder().method(method).uri(target).body(body).map_err(|error| error.to_string())?;
    *request.headers_mut() = fields;
    Ok(request)
}

async fn whole(response: Response<Incoming>, limit: usize) -> Result<Answered, Lost> {
    let (parts, body) = response.into_parts();
    let encoded = parts.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    if encoded {
        return Err(Lost::after("the API has encoded its answer, although it was not asked to"));
    }
    let body = Limited::new(body, limit).collect().await.map_err(|error| {
        Lost::after(match error.is::<LengthLimitError>() {
            true => format!("the answer of the API has more than {limit} bytes (limits.answer_bytes)"),
            false => "the answer of the API did not come whole".to_owned(),
        })
    })?;
    let fields = PASSED.iter().filter_map(|name| Some((name.clone(), parts.headers.get(name)?.clone())));
    Ok(Answered { status: parts.status, headers: fields.collect(), body: body.to_bytes() })
}
