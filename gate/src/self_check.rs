//! `--self-check`: is this program sound, and is the gate there?
//!
//! For `helm test`, and for anybody who wonders. The image holds one program and no shell, so the program asks itself. Its own part
//! is a drill: the judge, as it was built and as it runs on this machine, must revert a release that fails and must
//! not revert one that is well. A gate that is ready and has a broken judge would be worse than none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::http::Uri;
use blueback_judge::{Judge, Observation, PodState, Rules, Spec, Start, Verdict};
use blueback_report::{AdmissionKey, Age, Outcome, Protocol, Role, SeriesKey, Slot, Totals};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A total outage is reverted in less than two seconds of its time; five leave room for other default rules.
const DRILL_MS: u64 = 5_000;
/// Reports come every 100 ms, with ten requests in each: 100 requests a second.
const REPORT_MS: u64 = 100;
const REQUESTS_A_REPORT: u64 = 10;
/// A gate in the same cluster that needs longer is not well.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// More than any answer of a gate to /ready.
const ANSWER_BYTES_MAX: u64 = 64 * 1_024;

/// Drills the judge, then asks the gate whose `/ready` is at `url` (plain HTTP).
///
/// # Errors
/// What is not well.
pub async fn run(url: &str) -> anyhow::Result<String> {
    let reverted_ms = drill(true)?.context("the judge does not revert a release of which every request fails")?;
    ensure!(drill(false)?.is_none(), "the judge reverts a release of which no request fails");
    let answer = tokio::time::timeout(ANSWER_MAX, get(url)).await;
    answer.with_context(|| format!("{url}: no answer within {ANSWER_MAX:?}"))?.with_context(|| url.to_owned())?;
    Ok(format!(
        "the judge reverts a total outage after {reverted_ms} ms of it, and leaves a healthy release alone; {url} is ready"
    ))
}

/// Releases green, which fails or does not, and says when the judge reverts it.
fn drill(green_fails: bool) -> anyhow::Result<Option<u64>> {
    let rules = Rules::parse(&Spec::default()).ok().context("the default rules are not accepted")?;
    let pods = [Slot::Blue, Slot::Green].map(|slot| PodState { slot, pod: pod(slot), ready: true });
    let history = (0..30).map(|_| traffic(1, REQUESTS_A_REPORT * 10, 0, false)).collect();
    let start = Start { candidate: Slot::Green, target_share: 1.0, pods: pods.into(), history };
    let mut judge = Judge::new(rules, start);
    let mut epoch = 2;
    let mut share = 1.0;
    let mut carry = 0.0;
    judge.observe(0, Observation::Share { epoch, candidate_share: share });
    for now_ms in (REPORT_MS..=DRILL_MS).step_by(REPORT_MS as usize) {
        carry += share * REQUESTS_A_REPORT as f64;
        let green = carry as u64;
        carry -= green as f64;
        let totals = traffic(epoch, REQUESTS_A_REPORT - green.min(REQUESTS_A_REPORT), green, green_fails);
        let in_flight = BTreeMap::new();
        let growth = Observation::Growth { agent: 1, role: Role::Front, epoch, totals: &totals, in_flight: &in_flight };
        judge.observe(now_ms, growth);
        if matches!(judge.deliberate(now_ms), Verdict::Revert(_)) {
            return Ok(Some(now_ms));
        }
        if judge.allowance().all != share {
            share = judge.allowance().all;
            epoch += 1;
            judge.observe(now_ms, Observation::Share { epoch, candidate_share: share });
        }
    }
    Ok(None)
}

/// What an agent in front counts while this many requests end on each side.
fn traffic(epoch: u64, blue: u64, green: u64, green_fails: bool) -> Totals {
    let mut totals = Totals::default();
    for (slot, count) in [(Slot::Blue, blue), (Slot::Green, green)] {
        let failed = slot == Slot::Green && green_fails;
        let outcome = if failed { Outcome::ServerError } else { Outcome::Ok };
        let route: Arc<str> = Arc::from("");
        let admission = AdmissionKey { epoch, slot, pod: pod(slot), route: Arc::clone(&route) };
        totals.admitted.insert(admission, count);
        let key = SeriesKey { slot, pod: pod(slot), route, protocol: Protocol::Http1, age: Age::Current, outcome };
        let latency = totals.series.entry(key).or_default();
        latency.first_byte.record_n(5_000, count);
        latency.last_byte.record_n(5_000, count);
    }
    totals
}

fn pod(slot: Slot) -> Arc<str> {
    Arc::from(slot.as_str())
}

/// Asks, and accepts 200 only. One request on one connection needs no client.
async fn get(url: &str) -> anyhow::Result<()> {
    let url: Uri = url.parse()?;
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        bail!("a URL as http://HOST:PORT/ready is accepted")
    };
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let mut stream = TcpStream::connect(address).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let first = answer.lines().next().unwrap_or_default();
    ensure!(first.split(' ').nth(1) == Some("200"), "it answers {first:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drill_tells_an_outage_from_health() {
        let at_ms = drill(true).expect("the rules are sound").expect("every request fails");
        assert!((500..=2_000).contains(&at_ms), "{at_ms}");
        assert_eq!(drill(false).expect("the rules are sound"), None);
    }

    #[tokio::test]
    async fn only_ready_is_well() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let url = format!("http://{}/ready", listener.local_addr().expect("it listens"));
        let accepting = &listener;
        let serve = |status: &'static str| async move {
            let (mut stream, _) = accepting.accept().await.expect("somebody connects");
            let mut head = [0; 1_024];
            let read = stream.read(&mut head).await.expect("it asks");
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("it listens");
            String::from_utf8_lossy(&head[..read]).into_owned()
        };
        let (told, asked) = tokio::join!(run(&url), serve("200 OK"));
        assert!(told.expect("all is well").contains("is ready"));
        assert!(asked.starts_with("GET /ready HTTP/1.1\r\n"), "{asked}");
        let (told, _) = tokio::join!(run(&url), serve("503 Service Unavailable"));
        let error = format!("{:#}", told.expect_err("it is not ready"));
        assert!(error.contains("503") && error.contains(&url), "{error}");
        drop(listener);
        run(&url).await.expect_err("nobody is there");
        run("https://gate/ready").await.expect_err("only plain HTTP is spoken");
    }
}
