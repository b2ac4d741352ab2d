use super::*;
use crate::load::{Load, Plan, Wire};

async fn statuses(sample: &Sample, wire: Wire, requests: u64) -> Vec<(u64, Result<u16, crate::load::Lost>)> {
    let plan = Plan { wire, requests: Some(requests), ..Plan::new(sample.addr(), 2_000.0) };
    let (load, mut results) = Load::start(plan);
    load.finish().await;
    let mut statuses = Vec::new();
    while let Some(ended) = results.recv().await {
        statuses.push((ended.number, ended.answer));
    }
    statuses
}

async fn start(seed: u64) -> Sample {
    Sample::start(Config { seed, latency_us: (0, 0), ..Config::new("green") }).await.expect("loopback has free ports")
}

#[tokio::test]
async fn a_rate_of_errors_is_met() {
    let sample = start(7).await;
    sample.set_fault(Fault { error_rate: 0.2, client_error_rate: 0.5, ..Fault::default() });
    let statuses = statuses(&sample, Wire::H2c(2), 1_000).await;
    let share = |status| statuses.iter().filter(|(_, answer)| *answer == Ok(status)).count() as f64 / 1e3;
    assert!((share(500) - 0.2).abs() < 0.05, "{}", share(500));
    assert!((share(404) - 0.8 * 0.5).abs() < 0.06, "{}", share(404));
    assert_eq!(sample.requests(), 1_000);
}

#[test]
fn chance_repeats_with_its_seed() {
    let draw = |seed| (0..100).map(|number| chance(seed, number, 2)).collect::<Vec<f64>>();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert!(draw(3).iter().all(|number| (0.0..1.0).contains(number)));
}

#[tokio::test]
async fn a_hang_is_lifted() {
    let sample = start(1).await;
    sample.set_fault(Fault { hang: true, ..Fault::default() });
    let plan = Plan { requests: Some(5), ..Plan::new(sample.addr(), 1_000.0) };
    let (load, _) = Load::start(plan);
    let asked = async {
        while sample.requests() < 5 {
            tokio::task::yield_now().await;
        }
    };
    asked.await;
    assert_eq!(load.summary().requests, 0);
    sample.set_fault(Fault::default());
    assert_eq!(load.finish().await.statuses.get(&200), Some(&5));
}

/// One request on a connection of its own.
async fn ask(addr: SocketAddr, method: Method, path: &str, body: &str) -> (StatusCode, String) {
    let stream = TcpStream::connect(addr).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1 needs no handshake");
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "sample")
        .body(Full::new(Bytes::from(body.to_owned())))
        .expect("the parts are valid");
    let response = sender.send_request(request).await.expect("it answers");
    let status = response.status();
    let bytes = response.into_body().collect().await.expect("the body is whole").to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn the_control_port_sets_faults_and_explains_wrong_ones() {
    let sample = start(1).await;
    let control = sample.control_addr().expect("the defaults have one");
    let (status, text) = ask(control, Method::POST, "/fault", r#"{"errorRate": 1, "latencyMs": 5}"#).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(ask(sample.addr(), Method::GET, "/", "").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(ask(sample.addr(), Method::GET, "/healthz", "").await.0, StatusCode::OK);
    for (body, word) in
        [(r#"{"errorRate": 2}"#, "errorRate"), (r#"{"errorrate": 1}"#, "errorrate"), ("nonsense", "expected")]
    {
        let (status, text) = ask(control, Method::POST, "/fault", body).await;
        assert!(status == StatusCode::BAD_REQUEST && text.contains(word), "{body}: {text}");
    }
    let (_, text) = ask(control, Method::GET, "/fault", "").await;
    assert!(text.contains(r#""errorRate":1.0"#), "{text}");
    assert_eq!(ask(control, Method::GET, "/", "").await.0, StatusCode::NOT_FOUND);
}
