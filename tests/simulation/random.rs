//! Randomness that a seed repeats: SplitMix64, as a stream and as a function of what is asked.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number in 0..1 that depends on nothing but the arguments: what would become of a request is fixed before anybody
/// decides where it goes, so two runs with different networks see the same traffic.
pub(crate) fn coin(seed: u64, request: u64, question: u64) -> f64 {
    unit(mix(mix(seed ^ request.wrapping_mul(STEP)).wrapping_add(question.wrapping_mul(STEP))))
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A stream of its own.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.bits())
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        unit(self.bits()) < probability
    }

    /// From `least` up to and without `end`.
    pub(crate) fn between(&mut self, least: u64, end: u64) -> u64 {
        least + self.bits() % (end - least).max(1)
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[(self.bits() % from.len() as u64) as usize]
    }
}
