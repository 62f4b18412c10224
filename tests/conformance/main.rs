//! The official conformance suite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod server;

#[tokio::test(flavor = "multi_thread")]
async fn serve() {
    let server = server::Server::start().await;
    eprintln!("{}", server.url);
    std::future::pending::<()>().await;
}
