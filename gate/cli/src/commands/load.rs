//! `blueback load`: open-loop load as a process of its own, for a pod beside the service that it asks.

use tokio::time::{MissedTickBehavior, interval};

use crate::args::{ConnectionsArg, LoadArgs};
use crate::exit::{Exit, Failure};
use crate::load::account::{Account, Totals};
use crate::load::{Load, Plan, Wire};
use crate::{out, signals};

pub(super) async fn run(args: LoadArgs) -> Result<Exit, Failure> {
    let wire = match args.connections {
        ConnectionsArg::Kept => Wire::KeepAlive(8),
        ConnectionsArg::Fresh => Wire::Fresh,
        ConnectionsArg::H2c => Wire::H2c(2),
    };
    let (mut load, mut results) = Load::start(Plan {
        wire,
        authority: Some(args.url.authority),
        path: args.url.path,
        patience: args.patience,
        requests: args.seconds.map(|seconds| (args.rps * f64::from(seconds)).round() as u64),
        ..Plan::new(args.url.address, args.rps)
    });
    let mut account = Account::new(load.began_ms());
    let mut tell = interval(args.every);
    tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked_to_end = std::pin::pin!(signals::asked_to_end());
    loop {
        tokio::select! {
            Some(ended) = results.recv() => account.add(&ended),
            () = load.ended() => break,
            _ = tell.tick() => say(&account.totals(false), args.json),
            () = &mut asked_to_end => break,
        }
    }
    let unread = load.stop().await.unread;
    while let Some(ended) = results.recv().await {
        account.add(&ended);
    }
    if unread > 0 {
        out::story(&format!("warning: {unread} requests are missing: this process was too slow to count them"));
    }
    say(&account.totals(true), args.json);
    Ok(Exit::Passed)
}

fn say(totals: &Totals, json: bool) {
    if json {
        return out::result(&serde_json::to_string(totals).unwrap_or_default());
    }
    let [median, high, longest] = totals.latency_us.map(|us| us as f64 / 1e3);
    let answered = totals.backends.iter().map(|(name, by)| format!(" {name} {}", by.requests)).collect::<String>();
    out::result(&format!(
        "{} requests, {} failed; p50 {median:.1} ms, p99 {high:.1} ms, longest {longest:.1} ms;{answered}",
        totals.requests, totals.failed
    ));
}
