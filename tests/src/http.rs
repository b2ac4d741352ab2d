//! One plain request, where a test is about the answer's very bytes.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its content type; empty when it names none.
    pub content_type: String,
    /// Its body, as text.
    pub text: String,
}

impl Answer {
    /// Its body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// A GET request on a connection of its own.
///
/// # Errors
///
/// When there was no whole answer.
pub async fn get(to: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    send(to, Method::GET, path, "").await
}

/// A POST request of JSON on a connection of its own.
///
/// # Errors
///
/// When there was no whole answer.
pub async fn post(to: SocketAddr, path: &str, json: &str) -> anyhow::Result<Answer> {
    send(to, Method::POST, path, json).await
}

async fn send(to: SocketAddr, method: Method, path: &str, body: &str) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", to.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_owned();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Answer { status, content_type, text: String::from_utf8_lossy(&body).into_owned() })
}
