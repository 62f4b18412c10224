//! Between a client that knows no token and a front that wants one: it adds `Authorization` and changes nothing else,
//! `Host` included. Bodies stream both ways, and a client that hangs up hangs up at the front.

use std::net::SocketAddr;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// A port that is already taken, and not served yet: a front can be told of it before it starts.
pub struct Relay {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Relay {
    pub async fn bind() -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Relay { listener, address }
    }

    /// Serves as long as the test's runtime lives.
    pub fn serve(self, front: SocketAddr, token: &str) {
        let authorization = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                let authorization = authorization.clone();
                let service = service_fn(move |request| pass(request, front, authorization.clone()));
                tokio::spawn(async move {
                    // What breaks on one side is closed on the other; the suite sees it there.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    }
}

/// One request on a connection of its own.
async fn pass(
    mut request: Request<Incoming>,
    front: SocketAddr,
    authorization: HeaderValue,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(front).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    request.headers_mut().insert(http::header::AUTHORIZATION, authorization);
    Ok(sender.send_request(request).await?)
}
