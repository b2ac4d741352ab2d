//! The agent's end of the stream to the gate.
//!
//! Hello, Welcome, replay, then live reports at the gate's cadence; acknowledgements and commands come back. A stream that
//! breaks is opened again, at first at once and then ever more slowly, with jitter so that a thousand agents do not call a
//! restarted gate in the same millisecond. Nothing here can hold up a request.
//!
//! A gate that does not lead names the leader, and the next stream goes there; should that not work, the one after it goes to the
//! gate's name again. This is also where blue and green are exchanged for a sidecar that calls its own side blue ([`crate::assignment`]).

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use blueback_report::wire::proto::{self, to_agent::Message};
use blueback_report::{MESSAGE_BYTES_MAX, Report, Route, Unassigned, Watch, Welcome};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use crate::assignment::Assigned;
use crate::control::Control;
use crate::generated::intake_client::IntakeClient;
use crate::link::Link;
use crate::outbox::Outbox;

/// First pause after a broken stream. A restarted gate is back within it.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest pause: a gate that returns is found again within two seconds.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A gate must accept the connection, and then say Welcome, within this.
const GREETING_TIMEOUT: Duration = Duration::from_secs(3);
/// A stopping agent waits this long for the gate to acknowledge the last report.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// A stream that a gate ended this late was held, not refused.
const HELD_MIN: Duration = Duration::from_secs(1);
/// Streams in a row that may be sent on to another gate without a pause: gates that name each other must not make us spin.
const REDIRECTS_MAX: u32 = 3;
/// Where a gate that does not lead says who does.
const LEADER: &str = "blueback-leader";

/// How a stream ended.
#[derive(Debug)]
struct Ended {
    error: anyhow::Error,
    next: Next,
}

/// When and where to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// As time goes by.
    Later,
    /// After the first pause.
    Soon,
    /// After the first pause if it lasted: a gate holds a sidecar whose slot it does not know yet.
    Held,
    /// At the leader, at once.
    Leader(SocketAddr),
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self { error, next: Next::Later }
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        let leader = status.metadata().get(LEADER).and_then(|leader| leader.to_str().ok()?.parse().ok());
        let next = match leader {
            Some(leader) => Next::Leader(leader),
            // Said by the gate itself: what the transport says has a source.
            None if status.code() == Code::Unavailable && std::error::Error::source(&status).is_none() => Next::Held,
            None => Next::Later,
        };
        Self { error: anyhow::Error::new(status), next }
    }
}

/// Keeps a stream to the gate until the agent stops.
pub async fn run(control: Rc<Control>, link: Link) {
    let gate = link.gate();
    let mut backoff = BACKOFF_FIRST;
    let mut lost = false;
    let mut leader = None;
    let mut redirects = 0;
    loop {
        let begun = Instant::now();
        let mut welcomed = false;
        let ended = session(&control, &link, leader.take(), &mut welcomed).await;
        control.gate.connected.set(false);
        let Err(Ended { error, next }) = ended else { return };
        if control.finishing() {
            warn!(%gate, error = format!("{error:#}"), "Last report not delivered");
            return;
        }
        if welcomed {
            redirects = 0;
        }
        if welcomed && begun.elapsed() > BACKOFF_MAX {
            backoff = BACKOFF_FIRST;
        }
        if let Next::Leader(address) = next {
            leader = Some(address);
            redirects += 1;
            if redirects <= REDIRECTS_MAX {
                debug!(%gate, leader = %address, "Sent on to the leader");
                control.gate.reconnects.set(control.gate.reconnects.get() + 1);
                continue;
            }
        }
        let held = next == Next::Held && control.assignment.is_wanted() && begun.elapsed() > HELD_MIN;
        if held || next == Next::Soon {
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

/// Waits for the gate, as long as a greeting may take.
async fn in_time<T>(what: &'static str, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Ended> {
    Ok(timeout(GREETING_TIMEOUT, answer).await.with_context(|| format!("no {what} in time"))??)
}

/// One stream, from Hello to its end. Returns only when the agent finishes.
async fn session(control: &Control, link: &Link, leader: Option<SocketAddr>, welcomed: &mut bool) -> Result<(), Ended> {
    let channel = link.connect(leader, GREETING_TIMEOUT).await?;
    let mut client = IntakeClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let hello = control.hello();
    let hello =
        if control.assignment.is_wanted() { (&Unassigned::new(hello)).into() } else { proto::Hello::from(&hello) };
    let outbox = Outbox::new(hello);
    let mut request = tonic::Request::new(outbox.clone());
    if let Some(authorization) = link.authorization()? {
        request.metadata_mut().insert("authorization", authorization);
    }
    let mut commands = in_time("answer", client.stream(request)).await?.into_inner();
    let first = in_time("Welcome", commands.message()).await?;
    let Some(Message::Welcome(welcome)) = first.and_then(|first| first.message) else {
        return Err(anyhow::anyhow!("the gate's first message was not a Welcome").into());
    };
    let Welcome { merged_ms, slot } = Welcome::try_from(welcome).context("Welcome")?;
    match control.assignment.welcome(slot) {
        Assigned::Same => {}
        Assigned::Changed => {
            control.reporter.borrow_mut().restart();
            let error = anyhow::anyhow!("the gate assigned another slot; reporting as another instance");
            return Err(Ended { error, next: Next::Soon });
        }
        Assigned::Nothing => {
            return Err(anyhow::anyhow!("the gate assigned no slot; give this sidecar --slot blue or green").into());
        }
    }
    *welcomed = true;
    control.gate.connected.set(true);
    info!(merged_ms, slot = slot.map(tracing::field::display), "Reporting to the gate");
    let mirrored = control.assignment.is_mirrored();
    outbox.replay(control.reporter.borrow_mut().begin(merged_ms), mirrored);
    let live = |report: Report| outbox.live((&if mirrored { report.mirrored() } else { report }).into());

    let mut cadence_ms = control.reporter.borrow().cadence_ms();
    let mut turn = turns(cadence_ms, Duration::ZERO);
    let mut farewell: Option<(u64, Instant)> = None;
    let mut counted = (0, 0);
    loop {
        tokio::select! {
            message = commands.message() => {
                let Some(message) = message?.and_then(|message| message.message) else {
                    return Err(anyhow::anyhow!("the gate ended the stream").into());
                };
                if let Message::Ack(ack) = &message && farewell.is_some_and(|(at_ms, _)| ack.at_ms >= at_ms) {
                    control.acknowledged(ack.at_ms);
                    outbox.close();
                    return Ok(());
                }
                obey(control, message, mirrored);
                let wanted_ms = control.reporter.borrow().cadence_ms();
                if wanted_ms != cadence_ms {
                    cadence_ms = wanted_ms;
                    // A release begins with this. The judge counts from it, too, and looks at the end of each cadence: a report that
                    // comes a third before is in time for it, and one that came just behind would wait for the next look.
                    turn = turns(cadence_ms, Duration::from_millis(u64::from(cadence_ms) * 2 / 3));
                }
            }
            _ = turn.tick() => {
                if farewell.is_some_and(|(_, until)| Instant::now() >= until) {
                    return Err(anyhow::anyhow!("no acknowledgement in time").into());
                }
                let report = control.reporter.borrow_mut().live();
                live(report);
            }
            () = control.finish_asked(), if farewell.is_none() => {
                let report = control.reporter.borrow_mut().live();
                farewell = Some((report.at_ms, Instant::now() + FAREWELL_TIMEOUT));
                live(report);
            }
        }
        let (sent, replaced) = outbox.counts();
        control.gate.count(sent - counted.0, replaced - counted.1);
        counted = (sent, replaced);
    }
}

/// Turns at a cadence, the first of them after this time.
fn turns(cadence_ms: u32, first: Duration) -> Interval {
    let mut turns = interval_at(Instant::now() + first, Duration::from_millis(u64::from(cadence_ms)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// Carries out what the gate says. What cannot be understood is dropped: a newer gate may say more than we know.
fn obey(control: &Control, message: Message, mirrored: bool) {
    match message {
        Message::Ack(ack) => control.acknowledged(ack.at_ms),
        Message::Route(route) => match Route::try_from(route) {
            Ok(route) => control.command(&if mirrored { route.mirrored() } else { route }),
            Err(error) => warn!(%error, "Route dropped"),
        },
        Message::Watch(watch) => match Watch::try_from(watch) {
            Ok(watch) => control.reporter.borrow_mut().watch(&watch),
            Err(error) => warn!(%error, "Watch dropped"),
        },
        Message::Welcome(_) => debug!("A second Welcome"),
    }
}
