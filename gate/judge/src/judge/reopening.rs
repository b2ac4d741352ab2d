//! Whether green's pods can take what goes back to them.
//!
//! While it is shielded green idles, and an autoscaler may take pods from it. What is given back then follows the pods that are
//! ready: none gets more than it bore before the shield and a little, until it has shown that it bears more.

/// A pod is taken to bear so much more than it is known to have borne: what autoscalers leave free, about.
const STRETCH: f64 = 1.25;
/// Who bore for so long what it was given is known to bear it: longer than an autoscaler takes to see it.
const BORNE_MS: u64 = 30_000;
/// A smaller change of the room is none, unless the room is enough for all: each change is a new share, and a request that
/// outlives two of them is in no test.
const ROOM_STEP: f64 = 0.1;

/// The part of its traffic that green can take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reopening {
    /// The most that a ready pod of green is known to bear, in requests a second. `None` while there is nothing to limit: no
    /// shield was up, all is back, or no pod was ready.
    per_pod: Option<f64>,
    /// Since when what green gets is limited to what this says.
    since_ms: Option<u64>,
    room: f64,
}

crate::save::saved!(Reopening { per_pod, since_ms, room });

impl Default for Reopening {
    fn default() -> Self {
        Self { per_pod: None, since_ms: None, room: 1.0 }
    }
}

impl Reopening {
    /// A shield goes up: until now `ready` pods bore `rate` requests a second. What was known before a second shield stays.
    pub(super) fn shielded(&mut self, rate: f64, ready: u32) {
        if self.per_pod.is_none() && ready > 0 && rate > 0.0 {
            self.per_pod = Some(rate / f64::from(ready));
        }
    }

    /// Time passes; `is_limited` when green gets less than it would get with more pods. The limit ends in a stated time, also
    /// where no autoscaler gives the pods back.
    pub(super) fn advance(&mut self, now_ms: u64, is_limited: bool) {
        if !is_limited {
            self.since_ms = None;
        } else if now_ms - *self.since_ms.get_or_insert(now_ms) >= BORNE_MS {
            self.per_pod = self.per_pod.map(|per_pod| per_pod * STRETCH);
            self.since_ms = Some(now_ms);
        }
    }

    /// The part of `rate` requests a second, 0 to 1, that so many ready pods can take.
    pub(super) fn room(&mut self, rate: f64, ready: u32) -> f64 {
        let measured = match self.per_pod {
            Some(per_pod) if rate > 0.0 => (STRETCH * per_pod * f64::from(ready) / rate).min(1.0),
            _ => 1.0,
        };
        if measured >= 1.0 || (measured - self.room).abs() >= ROOM_STEP {
            self.room = measured;
        }
        self.room
    }

    /// Everything is back.
    pub(super) fn done(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::Reopening;

    #[test]
    fn what_goes_back_follows_the_pods_that_are_ready() {
        let mut reopening = Reopening::default();
        assert_eq!(reopening.room(100.0, 1).to_bits(), 1.0_f64.to_bits(), "without a shield nothing is limited");
        reopening.shielded(100.0, 4);
        assert_eq!(reopening.room(100.0, 4).to_bits(), 1.0_f64.to_bits());
        assert!((reopening.room(100.0, 1) - 0.3125).abs() < 1e-12);
        assert!((reopening.room(110.0, 1) - 0.3125).abs() < 1e-12, "a small change is none");
        assert!((reopening.room(100.0, 2) - 0.625).abs() < 1e-12);
        // The next shield finds fewer pods, which have borne no more.
        reopening.shielded(100.0, 1);
        assert!((reopening.room(100.0, 1) - 0.3125).abs() < 1e-12);
        reopening.done();
        assert_eq!(reopening, Reopening::default());
    }

    #[test]
    fn one_pod_that_stays_alone_is_given_all_in_the_end() {
        let mut reopening = Reopening::default();
        reopening.shielded(100.0, 4);
        let full = (0..).step_by(1_000).find(|&now_ms| {
            let room = reopening.room(100.0, 1);
            reopening.advance(now_ms, room < 1.0);
            room >= 1.0
        });
        assert_eq!(full, Some(181_000), "six stretches of thirty seconds");
    }

    #[test]
    fn silence_and_pods_that_are_away_limit_nothing_by_chance() {
        let mut reopening = Reopening::default();
        reopening.shielded(0.0, 4);
        reopening.shielded(100.0, 0);
        assert_eq!(reopening, Reopening::default());
        reopening.shielded(100.0, 4);
        assert!((reopening.room(0.0, 1) - 1.0).abs() < 1e-12, "nothing comes, so any pod can take it");
        assert!(reopening.room(100.0, 0).abs() < 1e-12);
    }
}
