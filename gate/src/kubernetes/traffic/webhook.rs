//! Traffic that a web server moves: it is told the weights, and asked for them.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::effect::Job;
use crate::kubernetes::types::WebhookTraffic;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Posts the weights, and reads them back.
pub(super) async fn post(webhook: &WebhookTraffic, job: &Job, second: u32) -> anyhow::Result<String> {
    let [first_name, second_name] = webhook.services.as_slice() else { bail!("two Services are needed") };
    let body = json!({
        "release": *job.release,
        "service": *job.service,
        "services": [first_name, second_name],
        "first": 100 - second.min(100),
        "second": second,
        "why": job.text,
    });
    call("POST", &webhook.url, Some(&body)).await?;
    let seen = ask(&webhook.url).await?;
    let is = seen.get("second").and_then(Value::as_u64);
    if is != Some(u64::from(second)) {
        bail!("{} says that {second_name} gets {is:?} and not {second}", webhook.url);
    }
    Ok(format!("{} gives {second_name} {second}%", webhook.url))
}

/// Asks for the weights.
///
/// # Errors
/// When they are not told.
pub async fn ask(url: &str) -> anyhow::Result<Value> {
    call("GET", url, None).await
}

async fn call(method: &str, url: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(bytes)))?;
    let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(HttpConnector::new());
    let answer = async {
        let answer = client.request(request).await.with_context(|| format!("{method} {url}"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{method} {url}: {error}"))?.to_bytes();
        if !status.is_success() {
            bail!("{method} {url}: {status}");
        }
        Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
    };
    tokio::time::timeout(ANSWER_MAX, answer).await.with_context(|| format!("{method} {url}: no answer in time"))?
}
