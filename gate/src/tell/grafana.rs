//! News as annotations of Grafana: a region from a release's beginning to its end, and a mark for what happens in between.
//!
//! Grafana gives annotations numbers and forgets nothing else, so what was made before is found again by its tags: sending twice,
//! or from another gate, changes the same annotation.

use std::path::PathBuf;

use axum::http::Method;
use serde_json::{Value, json};

use super::config::Links;
use super::http::{Client, Message, Target, Trouble, secret_of};
use super::news::{Kind, News};
use super::queue::Receiver;

/// Where Grafana is.
#[derive(Clone, Debug)]
pub struct GrafanaConfig {
    /// Its URL.
    pub target: Target,
    /// File with a service account's token.
    pub token: Option<PathBuf>,
}

/// What is to be done in Grafana about news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A region begins.
    Begin,
    /// It ends.
    End,
    /// A moment.
    Point,
}

/// What news are in Grafana.
#[must_use]
pub const fn mark(kind: Kind) -> Mark {
    match kind {
        Kind::Started => Mark::Begin,
        Kind::Reverted | Kind::Done | Kind::Superseded => Mark::End,
        _ => Mark::Point,
    }
}

/// Grafana.
pub struct Grafana {
    client: Client,
    config: GrafanaConfig,
    links: Links,
}

impl Grafana {
    /// Grafana.
    #[must_use]
    pub const fn new(client: Client, config: GrafanaConfig, links: Links) -> Self {
        Self { client, config, links }
    }

    /// The number of the annotation with these tags, if it was made before.
    async fn find(&self, tags: &[String], token: Option<&str>) -> Result<Option<u64>, Trouble> {
        let tags: Vec<_> = tags.iter().map(|tag| format!("tags={}", escaped(tag))).collect();
        let path = format!("/api/annotations?type=annotation&matchAny=false&limit=1&{}", tags.join("&"));
        let message = Message { headers: Vec::new(), ..Message::json(Method::GET, &path, Vec::new()) }.bearer(token);
        let found = self.client.send(&self.config.target, &message).await?;
        let found: Value = serde_json::from_slice(&found)
            .map_err(|error| Trouble::Lasting(format!("an answer that is not JSON: {error}")))?;
        Ok(found[0]["id"].as_u64())
    }

    fn text(&self, news: &News) -> String {
        let link = self.links.release(&news.release.id).map(|link| format!("\n{link}")).unwrap_or_default();
        format!("{}: {}{link}", news.summary(), news.text)
    }
}

impl Receiver for Grafana {
    const NAME: &'static str = "grafana";

    async fn send(&self, news: &News) -> Result<(), Trouble> {
        let token = secret_of(self.config.token.as_deref()).await?;
        let token = token.as_deref();
        let release = &news.release;
        let mark = mark(news.kind);
        let what = match mark {
            Mark::Begin | Mark::End => "release".to_owned(),
            // Several marks of a kind differ by their time.
            Mark::Point => format!("{}-{}", news.kind.as_str(), news.at_ms),
        };
        let identity = vec!["blueback".to_owned(), format!("release:{}", release.id), format!("mark:{what}")];
        let text = self.text(news);
        let known = self.find(&identity, token).await?;
        let (method, path, body) = match (known, &mark) {
            (Some(id), Mark::End) => {
                (Method::PATCH, format!("/api/annotations/{id}"), json!({"timeEnd": news.at_ms, "text": text}))
            }
            // It is there already, from an attempt whose answer was lost.
            (Some(_), _) => return Ok(()),
            (None, _) => {
                let begin_ms = if mark == Mark::End { release.started_ms } else { news.at_ms };
                let mut tags = identity;
                tags.push(format!("gate:{}", release.service));
                tags.push(news.kind.as_str().to_owned());
                let mut body = json!({"time": begin_ms, "tags": tags, "text": text});
                if mark == Mark::End {
                    body["timeEnd"] = json!(news.at_ms);
                }
                (Method::POST, "/api/annotations".to_owned(), body)
            }
        };
        let message = Message::json(method, &path, body.to_string().into_bytes()).bearer(token);
        self.client.send(&self.config.target, &message).await.map(drop)
    }
}

/// A value of a query (RFC 3986 §2.3).
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
        escaped
    })
}
