//! `docs/metrics.md` lists every metric as the code declares it. `just generate` (`BLUEBACK_BLESS=1`) writes it instead.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use blueback_agent::clock::Clock;
use blueback_agent::control::{Control, Identity, Orders};
use blueback_agent::recorder::{Recorder, Shared, Writer};
use blueback_agent::reporter::Reporter;
use blueback_agent::route::Router;
use blueback_agent::{Target, metrics as agent};
use blueback_gate::api::types::{Criterion, Phase, Tally};
use blueback_gate::event::Step;
use blueback_gate::figures::{Figures, ReleaseFigures, ServiceFigures, ShieldFigure};
use blueback_gate::metrics as gate;
use blueback_report::{Outcome, Protocol, Role, Slot};
use tokio::sync::watch;

use crate::watching::declared;
use crate::{read, root};

const FILE: &str = "docs/metrics.md";

/// Of one program: a row for each of its own metrics. Each must have a series, or its labels would not be known.
macro_rules! table {
    ($families:expr) => {{
        let mut text = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
        let mut families = $families;
        families.retain(|family| family.name.starts_with("blueback_"));
        families.sort_by(|a, b| a.name.cmp(&b.name));
        for family in families {
            let kind = format!("{:?}", family.kind).to_lowercase();
            let mut labels = BTreeSet::new();
            for (name, _) in family.series.iter().flat_map(|series| &series.labels) {
                labels.insert(format!("`{name}`"));
            }
            let labels: Vec<_> = labels.into_iter().collect();
            writeln!(text, "| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help)
                .expect("a string");
        }
        text
    }};
}

/// Of an agent that has seen one request, and has everything that an agent can have.
fn of_agent() -> String {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let target = Target { slot: Slot::Blue, address, pod: "shop-1".to_owned() };
    let router = Arc::new(Router::new(&[target], Slot::Blue));
    let shared = Arc::new(Shared::default());
    let recorder = Arc::new(Recorder::new(1, shared.clone()));
    let writer = Writer::new(recorder.clone());
    let request = writer.admit(0, 0, Protocol::Http1, 0, 0);
    writer.end(&request, Outcome::Ok, 1_000, 0);
    let reporter = Reporter::new(Clock::start(), router.clone(), vec![recorder], shared);
    let reporter = reporter.beside(std::iter::once("database".into()), None);
    let role = Role::Sidecar(Slot::Blue);
    let identity = Identity { agent: "shop-1".into(), service: "shop".into(), role, unassigned: false };
    let (orders, finish) = (watch::channel(Orders::default()).0, watch::channel(false).1);
    let control = Control::new(reporter, router, identity, Arc::new(AtomicBool::new(false)), orders, finish, 1);
    let control = control.with_spans(Some(Arc::default()));
    table!(agent::Metrics::new(Rc::new(control)).gather())
}

/// Of a gate with one service in the middle of a release.
fn of_gate() -> String {
    let metrics = gate::Metrics::new();
    metrics.step_done(Step::Diverted, Duration::ZERO);
    metrics.condition.with_label_values(&["shop/cart", "Ready"]).set(1);
    metrics.certificate_expiry.with_label_values::<&str>(&[]).set(1);
    let tally = Tally { value: Some(0.0), ..Tally::default() };
    let criterion = Criterion {
        rule: "error rate > 5%".to_owned(),
        list: "revert".to_owned(),
        checkpoint: None,
        kind: "proven".to_owned(),
        standing: String::new(),
        dry_run: false,
        text: String::new(),
        candidate: tally.clone(),
        baseline: tally,
        limit: 0.05,
        unit: "ratio".to_owned(),
        evidence: Some(0.0),
        threshold: Some(1.0),
        fired_ms: None,
    };
    let release = ReleaseFigures {
        id: "shop-1".to_owned(),
        phase: Phase::Watching,
        phase_since_ms: 0,
        started_ms: 0,
        shield: ShieldFigure::Down,
        failed_attempts: None,
    };
    let service = ServiceFigures {
        name: "shop".to_owned(),
        verdict: Some("watching".to_owned()),
        criteria: vec![criterion],
        dependencies: vec![("database".into(), true)],
        usage: [(Some(0.5), Some(0.5)); 2],
        release: Some(release),
        ..ServiceFigures::default()
    };
    table!(metrics.gather(&Figures { services: vec![service], ..Figures::default() }))
}

#[test]
fn reference_of_metrics_is_fresh_and_whole() {
    let committed = read(FILE);
    let mut fresh = committed.split("## Of the gate").next().unwrap_or_default().to_owned();
    write!(fresh, "## Of the gate\n\n{}\n## Of an agent\n\n{}", of_gate(), of_agent()).expect("a string");
    for name in declared() {
        assert!(fresh.contains(&format!("| `{name}` |")), "{name} is declared and not listed");
    }
    if std::env::var_os("BLUEBACK_BLESS").is_some() {
        fs::write(root().join(FILE), fresh).expect("it can be written");
    } else {
        assert!(fresh == committed, "{FILE} is stale: run `just generate`");
    }
}
