//! A release live in the terminal: what is shown, what a key does, how it is drawn. No terminal and no gate in here, so that
//! tests press keys and read the screen.

mod draw;

use blueback_gate::api::types::{Evidence, Release, Service};
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::commands::Verb;

pub use draw::draw;

/// Longest reason that can be typed, in characters: the gate takes a thousand bytes.
const WHY_MAX: usize = 250;

/// What is shown.
#[derive(Debug)]
pub struct View {
    /// The release as it was last heard of.
    pub release: Release,
    /// Its evidence as it was last seen.
    pub evidence: Evidence,
    /// Its service.
    pub service: Option<Service>,
    /// The gate cannot be reached.
    pub is_lost: bool,
    /// What came of the last decision.
    pub note: String,
    /// Lines of the timeline that are scrolled away below.
    pub back: usize,
    /// What is being asked.
    pub asking: Option<Asking>,
}

/// A decision that needs a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Which.
    pub verb: Verb,
    /// The reason as far as it is typed.
    pub why: String,
}

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The screen has changed, or not even that.
    Nothing,
    /// The end.
    Quit,
    /// Tell the gate.
    Decide(Verb, String),
}

impl View {
    /// Shows a release of which nothing more is known yet.
    #[must_use]
    pub fn new(release: Release) -> Self {
        Self {
            release,
            evidence: Evidence::default(),
            service: None,
            is_lost: false,
            note: String::new(),
            back: 0,
            asking: None,
        }
    }

    /// The release has changed.
    pub fn hear(&mut self, release: Release) {
        self.is_lost = false;
        self.release = release;
    }

    /// Evidence and service were looked at.
    pub fn see(&mut self, evidence: Evidence, service: Option<Service>) {
        self.evidence = evidence;
        if service.is_some() {
            self.service = service;
        }
    }

    /// A key was pressed, or the window has another size.
    pub fn key(&mut self, event: &Event) -> Action {
        let Event::Key(key) = event else { return Action::Nothing };
        if key.kind == KeyEventKind::Release {
            return Action::Nothing;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Action::Quit;
        }
        match self.asking.take() {
            Some(asking) => self.answer(asking, key.code),
            None => self.command(key.code),
        }
    }

    fn command(&mut self, key: KeyCode) -> Action {
        let ask = |verb| Some(Asking { verb, why: String::new() });
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('r') => self.asking = ask(Verb::Revert),
            KeyCode::Char('h') => self.asking = ask(Verb::Hold),
            KeyCode::Char('c') => self.asking = ask(Verb::Resume),
            KeyCode::Up => self.back = (self.back + 1).min(self.release.timeline.len().saturating_sub(1)),
            KeyCode::Down => self.back = self.back.saturating_sub(1),
            _ => (),
        }
        self.note.clear();
        Action::Nothing
    }

    fn answer(&mut self, mut asking: Asking, key: KeyCode) -> Action {
        match key {
            KeyCode::Esc => return Action::Nothing,
            KeyCode::Enter if !asking.why.trim().is_empty() => {
                return Action::Decide(asking.verb, asking.why.trim().to_owned());
            }
            KeyCode::Backspace => drop(asking.why.pop()),
            KeyCode::Char(letter) if asking.why.chars().count() < WHY_MAX => asking.why.push(letter),
            _ => (),
        }
        self.asking = Some(asking);
        Action::Nothing
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    use super::*;
    use crate::render::tests::{evidence, reverted};

    fn press(view: &mut View, keys: &str) -> Action {
        let keys = keys.chars().map(|key| match key {
            '⏎' => KeyCode::Enter,
            '⌫' => KeyCode::Backspace,
            '⎋' => KeyCode::Esc,
            '↑' => KeyCode::Up,
            '↓' => KeyCode::Down,
            letter => KeyCode::Char(letter),
        });
        keys.fold(Action::Nothing, |_, key| view.key(&Event::Key(KeyEvent::new(key, KeyModifiers::NONE))))
    }

    fn screen(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it is in memory");
        terminal.draw(|frame| draw(frame, view)).expect("it is in memory");
        terminal.backend().to_string()
    }

    #[test]
    fn a_decision_needs_a_reason() {
        let mut view = View::new(reverted());
        assert_eq!(press(&mut view, "r⏎"), Action::Nothing);
        assert!(view.asking.is_some(), "no reason is none");
        assert_eq!(press(&mut view, "qx⌫⏎"), Action::Decide(Verb::Revert, "q".to_owned()));
        assert_eq!(view.asking, None);
        assert_eq!(press(&mut view, "hwhy⏎"), Action::Decide(Verb::Hold, "why".to_owned()));
        assert_eq!(press(&mut view, "cok⏎"), Action::Decide(Verb::Resume, "ok".to_owned()));
        assert_eq!(press(&mut view, "rno⎋"), Action::Nothing);
        assert_eq!(view.asking, None);
        assert_eq!(press(&mut view, "q"), Action::Quit);
    }

    #[test]
    fn control_c_always_quits() {
        let mut view = View::new(reverted());
        press(&mut view, "rwhile typing");
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.key(&Event::Key(key)), Action::Quit);
    }

    #[test]
    fn the_screen_tells_verdict_rules_and_timeline() {
        let mut view = View::new(reverted());
        view.see(evidence(), None);
        let text = screen(&view, 120, 40);
        for part in [
            "shop-3",
            "reverted",
            "error rate > 5%: 52% of 61 requests failed",
            "Error rate",
            "Latency",
            "Evidence",
            "+3.214 s",
            "shielded",
            "fired at +3.600 s",
            "12.0 of 8.0",
            "q quit",
        ] {
            assert!(text.contains(part), "{part} is not on the screen:\n{text}");
        }
        press(&mut view, "rprices");
        assert!(screen(&view, 120, 40).contains("revert, why? prices"), "{}", screen(&view, 120, 40));
        view.is_lost = true;
        assert!(screen(&view, 120, 40).contains("the gate cannot be reached"));
    }

    #[test]
    fn a_small_window_and_no_data_are_no_reason_to_fail() {
        let mut view = View::new(reverted());
        for (width, height) in [(1, 1), (20, 5), (40, 12), (80, 24), (300, 90)] {
            assert!(!screen(&view, width, height).is_empty());
        }
        view.see(evidence(), None);
        for (width, height) in [(1, 1), (20, 5), (40, 12), (80, 24), (300, 90)] {
            assert!(!screen(&view, width, height).is_empty());
        }
    }

    #[test]
    fn the_timeline_scrolls_within_itself() {
        let mut view = View::new(reverted());
        press(&mut view, "↑↑↑↑↑↑↑↑");
        assert_eq!(view.back, 2, "there are three moments");
        press(&mut view, "↓↓↓↓");
        assert_eq!(view.back, 0);
    }
}
