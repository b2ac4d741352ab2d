//! Answers that are remembered for a while, within bounds.

use std::collections::HashMap;
use std::hash;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

/// SHA-256 of a token: whoever reads our memory finds no tokens there.
pub(super) type Hash = [u8; 32];

/// Hashes a token, by the SHA-256 of the library that does our TLS.
pub(super) fn hash(token: &[u8]) -> Hash {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is a suite of TLS 1.3");
    let hashed = suite.common.hash_provider.hash(token);
    hashed.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Answers by key.
pub(super) struct Cache<K, V> {
    answers: HashMap<K, (V, Instant)>,
    max: usize,
}

impl<K: Eq + hash::Hash + Clone, V> Cache<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { answers: HashMap::new(), max }
    }

    /// An answer, and how old it is.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<(&V, Duration)> {
        self.answers.get(key).map(|(value, at)| (value, now.saturating_duration_since(*at)))
    }

    /// Remembers. When there is no room, the older half makes some: that is done seldom and at once, not one by one.
    pub(super) fn put(&mut self, key: K, value: V, now: Instant) {
        if self.answers.len() >= self.max && !self.answers.contains_key(&key) {
            let mut times: Vec<_> = self.answers.values().map(|(_, at)| *at).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.answers.retain(|_, (_, at)| *at > median);
        }
        self.answers.insert(key, (value, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_sha_256() {
        assert_eq!(hash(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn the_older_make_room() {
        let (began, mut cache) = (Instant::now(), Cache::new(4));
        let at = |second| began + Duration::from_secs(second);
        for number in 0..5_u64 {
            cache.put(number, number, at(number));
        }
        let known: Vec<_> = (0..5).filter(|number| cache.get(number, at(5)).is_some()).collect();
        assert_eq!(known, [3, 4]);
        assert_eq!(cache.get(&4, at(6)), Some((&4, Duration::from_secs(2))));
    }

    #[test]
    fn answers_of_one_moment_do_not_pile_up() {
        let (now, mut cache) = (Instant::now(), Cache::new(4));
        for number in 0..100 {
            cache.put(number, (), now);
            assert!(cache.answers.len() <= 4);
        }
    }
}
