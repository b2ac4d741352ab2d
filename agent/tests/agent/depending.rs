//! Dependencies of the application, as the agent sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use blueback_agent::dependency::Target;
use blueback_report::Dependency;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{client, metric, nobody, sidecar, start, until};

pub(crate) fn dependency(text: &str) -> Target {
    Target::parse(text).expect("a dependency")
}

/// What the newest report says of a dependency.
pub(crate) fn said(gate: &Gate, name: &str) -> Option<Dependency> {
    let newest = gate.heard().reports.pop()?;
    newest.dependencies.into_iter().find(|dependency| &*dependency.name == name)
}

/// Answers a PING with this line.
async fn redis(line: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind(crate::common::any_port()).await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut ping = [0; 6];
            if stream.read_exact(&mut ping).await.is_ok() && ping == *b"PING\r\n" {
                let _ = stream.write_all(line).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn what_answers_is_up_and_what_does_not_is_down() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let [pong, locked, loading] =
        [redis(b"+PONG\r\n").await, redis(b"-NOAUTH Authentication required.\r\n").await, redis(b"-LOADING\r\n").await];
    let (there, silent) = (app.address, TcpListener::bind(crate::common::any_port()).await.expect("a free port"));
    let silent = silent.local_addr().map(|address| (silent, address)).expect("it is bound");
    let cases = [
        (format!("tcp-up=tcp://{there}"), true),
        (format!("tcp-down=tcp://{}", nobody()), false),
        (format!("http-up=http://{there}/status/204"), true),
        (format!("http-moved=http://{there}/status/302"), true),
        (format!("http-down=http://{there}/status/503"), false),
        (format!("redis-up=redis://{pong}"), true),
        (format!("redis-locked=redis://{locked}"), true),
        (format!("redis-loading=redis://{loading}"), false),
        (format!("redis-silent=redis://{}", silent.1), false),
        (format!("postgres-none=postgres://{there}"), false),
    ];
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    config.dependencies = cases.iter().map(|(text, _)| dependency(text)).collect();
    let agent = start(config).await;
    for (text, up) in &cases {
        let name = text.split('=').next().expect("a name");
        until(text, || async { said(&gate, name).is_some_and(|said| said.checks > 0 && said.up == *up) }).await;
        let said = said(&gate, name).expect("just seen");
        assert_eq!(said.failures, if *up { 0 } else { said.checks }, "{text}: {said:?}");
        let shown = metric(&agent, &format!("blueback_agent_dependency_up{{dependency=\"{name}\"}}")).await;
        assert_eq!(shown, f64::from(u8::from(*up)), "{text}");
    }
    assert_eq!(
        client::get(agent.admin_addr().expect("an admin port"), "/ready").await.0,
        200,
        "the application is ready"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_seen_with_its_length_and_its_end() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let well = Arc::new(AtomicBool::new(true));
    let listener = TcpListener::bind(crate::common::any_port()).await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let serving = well.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer: &[u8] = if serving.load(SeqCst) { b"+PONG\r\n" } else { b"-ERR\r\n" };
            let _ = stream.write_all(answer).await;
        }
    });
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    config.dependencies = vec![dependency(&format!("cache=redis://{address}"))];
    let _agent = start(config).await;
    gate.watch(&[], &[]).await;
    until("it is up", || async { said(&gate, "cache").is_some_and(|said| said.up && said.checks > 0) }).await;
    let known: u64 = gate
        .heard()
        .reports
        .iter()
        .flat_map(|report| &report.dependencies)
        .map(|dependency| dependency.latency.total())
        .max()
        .unwrap_or(0);
    assert!(known > 0, "its latency is known");
    well.store(false, SeqCst);
    until("it is down, and for how long", || async {
        said(&gate, "cache").is_some_and(|said| !said.up && said.failures > 0 && said.down_for_ms > 300)
    })
    .await;
    well.store(true, SeqCst);
    until("it is up again", || async { said(&gate, "cache").is_some_and(|said| said.up && said.down_for_ms == 0) })
        .await;
}
