//! `blueback watch`: a release live in the terminal.
//!
//! What happens comes over the gate's stream of events; curves and rules are fetched once a second beside it, so that a slow
//! answer holds up neither the story nor a key.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blueback_gate::api::types::{Evidence, OperatorRequest, Service};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::await_::Narrator;
use super::{Verb, explain, failed};
use crate::args::WatchArgs;
use crate::client::Gate;
use crate::exit::{Exit, Failure};
use crate::follow::Follow;
use crate::out;
use crate::watch::{Action, View, draw};

/// Time between two looks at the evidence.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a key before looking whether somebody still wants one.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Keys and answers that wait to be looked at; a reader that is faster than the screen waits.
const WAITING_MAX: usize = 16;

pub(super) async fn run(args: WatchArgs) -> Result<Exit, Failure> {
    let gate = args.gate.client()?;
    let release = explain::find(&gate, args.release.as_deref()).await?;
    let follow = Follow::new(gate.clone(), release.id.clone());
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return plainly(release, follow).await;
    }
    let terminal = ratatui::try_init().map_err(|error| Failure::Failed(error.into()))?;
    let keys = Keys::read();
    let watched = live(terminal, View::new(release), follow, &gate, &args.by.by, keys).await;
    ratatui::restore();
    watched
}

/// A line for each thing that happens, until the release is over.
async fn plainly(mut release: blueback_gate::api::types::Release, mut follow: Follow) -> Result<Exit, Failure> {
    let mut narrator = Narrator::default();
    loop {
        narrator.tell(&release);
        if release.ended_ms.is_some() {
            out::result(&format!("{} {}: {}", release.id, crate::render::phase(release.phase), release.verdict.text));
            return Ok(Exit::Passed);
        }
        release = narrator.listen(&mut follow).await.map_err(failed)?;
    }
}

/// What is fetched beside the story.
enum News {
    Look(Box<(Evidence, Option<Service>)>),
    Answer(String),
}

async fn live(
    mut terminal: DefaultTerminal,
    mut view: View,
    mut follow: Follow,
    gate: &Gate,
    by: &str,
    mut keys: Keys,
) -> Result<Exit, Failure> {
    let (sender, mut news) = mpsc::channel(WAITING_MAX);
    let looking =
        tokio::spawn(look(gate.clone(), view.release.id.clone(), view.release.service.clone(), sender.clone()));
    let ended = loop {
        terminal.draw(|frame| draw(frame, &view)).map_err(|error| Failure::Failed(error.into()))?;
        tokio::select! {
            newer = follow.next() => match newer {
                Ok(Some(release)) => view.hear(release),
                Ok(None) => view.is_lost = true,
                Err(error) => break Err(failed(error)),
            },
            Some(told) = news.recv() => match told {
                News::Look(seen) => view.see(seen.0, seen.1),
                News::Answer(text) => view.note = text,
            },
            key = keys.next() => match key {
                None => break Ok(Exit::Passed),
                Some(event) => match view.key(&event) {
                    Action::Nothing => (),
                    Action::Quit => break Ok(Exit::Passed),
                    Action::Decide(verb, why) => {
                        let request = OperatorRequest { why, by: Some(by.to_owned()) };
                        tokio::spawn(decide(gate.clone(), view.release.service.clone(), verb, request, sender.clone()));
                    }
                },
            },
        }
    };
    looking.abort();
    ended
}

async fn look(gate: Gate, id: String, service: String, news: mpsc::Sender<News>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A gate that is away is told by the stream of events.
        let Ok(evidence) = gate.evidence(&id).await else { continue };
        let seen = (evidence, gate.service(&service).await.ok());
        if news.send(News::Look(Box::new(seen))).await.is_err() {
            return;
        }
    }
}

async fn decide(gate: Gate, service: String, verb: Verb, request: OperatorRequest, news: mpsc::Sender<News>) {
    let text = match gate.decide(&service, verb.as_str(), &request).await {
        Ok(_) => format!("{}: accepted", verb.as_str()),
        Err(error) => format!("{}: {error}", verb.as_str()),
    };
    // Whoever asked may have left.
    drop(news.send(News::Answer(text)).await);
}

/// Keys, read by a thread of its own: the terminal knows no other way to wait for one.
struct Keys {
    events: mpsc::Receiver<event::Event>,
    wanted: Arc<AtomicBool>,
}

impl Keys {
    fn read() -> Self {
        let (sender, events) = mpsc::channel(WAITING_MAX);
        let wanted = Arc::new(AtomicBool::new(true));
        let is_wanted = Arc::clone(&wanted);
        std::thread::spawn(move || {
            while is_wanted.load(Ordering::Relaxed) {
                let told = match event::poll(KEY_WAIT) {
                    Ok(false) => continue,
                    Ok(true) => event::read().ok().map(|event| sender.blocking_send(event)),
                    Err(_) => None,
                };
                // The terminal is gone, or nobody listens any more.
                if !matches!(told, Some(Ok(()))) {
                    return;
                }
            }
        });
        Self { events, wanted }
    }

    /// The next event; `None` when the terminal is gone.
    async fn next(&mut self) -> Option<event::Event> {
        self.events.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}
