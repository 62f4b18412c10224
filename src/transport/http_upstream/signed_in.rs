//! Requests to a server that somebody signs in to, or Countersign by itself: the token joins at the last moment, and
//! what the server says about it is told to its source.
//!
//! Invariant: a request whose token was refused is not sent again; the next one has another token, or is not sent. Only
//! the one that begins a session is sent once more: nothing is done by it, and a client that it fails for does not come
//! back. Where the token counts and its proof lacks the server's newest nonce, what nobody had to decide about is sent
//! once more; a call never is.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tracing::{error, warn};

use super::wire::Wire;
use crate::call::Leave;
use crate::credential::oauth::{Carried, NoToken};
use crate::mcp::loss::{Cause, Fate, Loss};
use crate::transport::http_client::Connection;

/// The token of one request, where its server has a sign-in.
pub(super) type Token = Option<Carried>;

/// What the server said about a token; it goes with the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    /// It counts no more.
    Refused,
    /// It covers too little.
    Insufficient,
    /// It counts, and the proof of who carries it has to be a newer one, which the next request has.
    Unproved,
    /// The proof counts for nothing. Another token would change nothing.
    Disproved,
}

impl Wire {
    /// The token for the next request.
    pub(super) async fn token(&self) -> Result<Token, Loss> {
        let Some(oauth) = self.spec.oauth() else { return Ok(None) };
        match oauth.token().await {
            Ok(token) => Ok(Some(token)),
            // Why is for the log and `auth status`: an authorization server's words are in it.
            Err(NoToken::SignIn(_)) => {
                let server = oauth.server();
                let reason =
                    format!("nobody is signed in; the operator does it with `countersign auth login {server}`");
                Err(Loss::new(Fate::NotSent, Cause::SignIn, reason))
            }
            Err(NoToken::Refused(_)) => {
                let reason = "countersign cannot sign in at the server; its operator finds why in its log";
                Err(Loss::new(Fate::NotSent, Cause::Key, reason))
            }
            Err(NoToken::Later(_)) if oauth.is_alone() => {
                Err(Loss::not_sent("countersign could not sign in at the server just now"))
            }
            Err(NoToken::Later(_)) => Err(Loss::not_sent("the sign-in could not be renewed just now")),
        }
    }

    /// Sends a request; one of a call, where that may still leave. One that nobody had to decide about is sent once more
    /// where the server refused it for want of its newest nonce in the proof (RFC 9449, 9).
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        token: Token,
        leave: Option<&Leave>,
    ) -> Result<(Response<Incoming>, Connection), Loss> {
        let again = token.clone().filter(|token| token.is_proved() && leave.is_none()).map(|_| request.clone());
        let mut answered = self.once(request, token.clone(), leave).await?;
        let unproved = |response: &Response<Incoming>| response.extensions().get() == Some(&Said::Unproved);
        if let Some(again) = again.filter(|_| unproved(&answered.0)) {
            answered = self.once(again, token, None).await?;
        }
        if unproved(&answered.0) {
            warn!(
                server = self.spec.server(),
                "the server refused a proof without its newest nonce; the next one has it"
            );
        }
        Ok(answered)
    }

    /// Sends a request; one of a call, where that may still leave.
    async fn once(
        &self,
        mut request: Request<Full<Bytes>>,
        token: Token,
        leave: Option<&Leave>,
    ) -> Result<(Response<Incoming>, Connection), Loss> {
        if let Some(token) = &token {
            let method = request.method().clone();
            let joined = token.join(&method, self.spec.uri(), request.headers_mut());
            joined.ok_or_else(|| Loss::not_sent("the token cannot stand in a header, or be proved"))?;
        }
        let (mut response, connection) = self.client.send(self.spec.server(), self.spec.uri(), request, leave).await?;
        if let (Some(token), Some(oauth)) = (token, self.spec.oauth()) {
            let said = match response.status() {
                status if token.wants_nonce(status, response.headers()) => Some(Said::Unproved),
                status if token.is_disproved(status, response.headers()) => {
                    let server = self.spec.server();
                    error!(
                        server,
                        "the server refused the proof of who carries the token (DPoP); check this machine's clock"
                    );
                    Some(Said::Disproved)
                }
                StatusCode::UNAUTHORIZED => {
                    warn!(server = self.spec.server(), "the server refused the token; the next request renews it");
                    oauth.refuse(token.token());
                    Some(Said::Refused)
                }
                StatusCode::FORBIDDEN => oauth.insufficient(response.headers()).await.then_some(Said::Insufficient),
                _ => None,
            };
            if let Some(said) = said {
                response.extensions_mut().insert(said);
            }
        }
        Ok((response, connection))
    }

    /// Sends the request that begins a session; once more, where its token was refused and there is another.
    pub(super) async fn begin(
        &self,
        request: Request<Full<Bytes>>,
        token: Token,
    ) -> Result<(Response<Incoming>, Connection), Loss> {
        let again = request.clone();
        let (response, connection) = self.send(request, token, None).await?;
        if response.extensions().get() != Some(&Said::Refused) {
            return Ok((response, connection));
        }
        match self.token().await {
            Ok(token) => self.send(again, token, None).await,
            Err(_) => Ok((response, connection)),
        }
    }

    /// Why a request got no answer whose token was refused. Nothing of the server's own words is in it.
    pub(super) fn sign_in_refused(&self, response: &Response<Incoming>) -> Option<Loss> {
        Some(match response.extensions().get::<Said>()? {
            Said::Refused => Loss::new(Fate::Refused, Cause::Token, "its token counts no more"),
            Said::Unproved => {
                Loss::new(Fate::Refused, Cause::Token, "it wants a newer proof of who carries the token (DPoP)")
            }
            Said::Disproved => {
                let reason = "it refused the proof of who carries the token (DPoP); the operator checks the clock";
                Loss::new(Fate::Refused, Cause::Key, reason)
            }
            Said::Insufficient if self.spec.oauth().is_some_and(|oauth| oauth.is_alone()) => {
                let reason = "the sign-in covers too little for it; the operator widens it in the configuration";
                Loss::new(Fate::Refused, Cause::Key, reason)
            }
            Said::Insufficient => {
                let reason = format!(
                    "the sign-in covers too little for it; the operator widens it with `countersign auth login {}`",
                    self.spec.server()
                );
                Loss::new(Fate::Refused, Cause::SignIn, reason)
            }
        })
    }
}
