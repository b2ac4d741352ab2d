//! The agent's end of the stream to the gate.
//!
//! Hello, Welcome, replay, then live reports at the gate's cadence; acknowledgements and commands come back. A stream that
//! breaks is opened again, at first at once and then ever more slowly, with jitter so that a thousand agents do not call a
//! restarted gate in the same millisecond. Nothing here can hold up a request.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use blueback_report::wire::proto::{self, to_agent::Message};
use blueback_report::{MESSAGE_BYTES_MAX, Route, Watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::Endpoint;
use tracing::{debug, info, warn};

use crate::control::Control;
use crate::generated::intake_client::IntakeClient;
use crate::outbox::Outbox;

/// First pause after a broken stream. A restarted gate is back within it.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest pause: a gate that returns is found again within two seconds.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A gate must accept the connection, and then say Welcome, within this.
const GREETING_TIMEOUT: Duration = Duration::from_secs(3);
/// A silent connection is asked whether it lives after this, and given up as much later.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A stopping agent waits this long for the gate to acknowledge the last report.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Keeps a stream to the gate until the agent stops.
pub async fn run(control: Rc<Control>, gate: http::Uri) {
    let endpoint = Endpoint::from(gate.clone())
        .connect_timeout(GREETING_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let mut backoff = BACKOFF_FIRST;
    let mut lost = false;
    loop {
        let begun = Instant::now();
        let mut welcomed = false;
        let ended = session(&control, &endpoint, &mut welcomed).await;
        control.gate.connected.set(false);
        let Err(error) = ended else { return };
        if control.finishing() {
            warn!(%gate, error = format!("{error:#}"), "Last report not delivered");
            return;
        }
        if welcomed && begun.elapsed() > BACKOFF_MAX {
            backoff = BACKOFF_FIRST;
        }
        // Said once an outage, not once an attempt.
        if welcomed || !lost {
            warn!(%gate, error = format!("{error:#}"), "Gate lost; traffic flows on, the route in force stays");
        } else {
            debug!(%gate, error = format!("{error:#}"), "Gate still lost");
        }
        lost = true;
        tokio::select! {
            () = sleep(backoff.mul_f64(0.5 + control.coin() / 2.0)) => {}
            () = control.finish_asked() => return,
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
        control.gate.reconnects.set(control.gate.reconnects.get() + 1);
    }
}

/// One stream, from Hello to its end. Returns only when the agent finishes.
async fn session(control: &Control, endpoint: &Endpoint, welcomed: &mut bool) -> anyhow::Result<()> {
    let channel = timeout(GREETING_TIMEOUT, endpoint.connect()).await.context("no connection in time")??;
    let mut client = IntakeClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let outbox = Outbox::new((&control.hello()).into());
    let opened = timeout(GREETING_TIMEOUT, client.stream(outbox.clone())).await.context("no answer in time")?;
    let mut commands = opened.context("stream refused")?.into_inner();
    let first = timeout(GREETING_TIMEOUT, commands.message()).await.context("no Welcome in time")??;
    let Some(Message::Welcome(proto::Welcome { merged_ms, .. })) = first.and_then(|first| first.message) else {
        bail!("the gate's first message was not a Welcome");
    };
    *welcomed = true;
    control.gate.connected.set(true);
    info!(merged_ms, "Reporting to the gate");
    outbox.replay(control.reporter.borrow_mut().begin(merged_ms));

    let mut cadence_ms = control.reporter.borrow().cadence_ms();
    let mut turn = turns(cadence_ms);
    let mut farewell: Option<(u64, Instant)> = None;
    let mut counted = (0, 0);
    loop {
        tokio::select! {
            message = commands.message() => {
                let Some(message) = message?.and_then(|message| message.message) else { bail!("the gate ended the stream") };
                if let Message::Ack(ack) = &message && farewell.is_some_and(|(at_ms, _)| ack.at_ms >= at_ms) {
                    control.acknowledged(ack.at_ms);
                    outbox.close();
                    return Ok(());
                }
                obey(control, message);
                let wanted_ms = control.reporter.borrow().cadence_ms();
                if wanted_ms != cadence_ms {
                    cadence_ms = wanted_ms;
                    turn = turns(cadence_ms);
                }
            }
            _ = turn.tick() => {
                if farewell.is_some_and(|(_, until)| Instant::now() >= until) {
                    bail!("no acknowledgement in time");
                }
                let report = control.reporter.borrow_mut().live();
                outbox.live((&report).into());
            }
            () = control.finish_asked(), if farewell.is_none() => {
                let report = control.reporter.borrow_mut().live();
                farewell = Some((report.at_ms, Instant::now() + FAREWELL_TIMEOUT));
                outbox.live((&report).into());
            }
        }
        let (sent, replaced) = outbox.counts();
        control.gate.count(sent - counted.0, replaced - counted.1);
        counted = (sent, replaced);
    }
}

fn turns(cadence_ms: u32) -> tokio::time::Interval {
    let mut turns = interval(Duration::from_millis(u64::from(cadence_ms)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// Carries out what the gate says. What cannot be understood is dropped: a newer gate may say more than we know.
fn obey(control: &Control, message: Message) {
    match message {
        Message::Ack(ack) => control.acknowledged(ack.at_ms),
        Message::Route(route) => match Route::try_from(route) {
            Ok(route) => control.command(&route),
            Err(error) => warn!(%error, "Route dropped"),
        },
        Message::Watch(watch) => match Watch::try_from(watch) {
            Ok(watch) => control.reporter.borrow_mut().watch(&watch),
            Err(error) => warn!(%error, "Watch dropped"),
        },
        Message::Welcome(_) => debug!("A second Welcome"),
    }
}
