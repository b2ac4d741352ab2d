//! How much of green's traffic blue may be given.

/// What decides it, in requests a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// What arrives at green's door, diverted requests included.
    pub rate: f64,
    /// Ready pods of blue.
    pub ready: u32,
    /// The most that one ready pod of blue served over ten seconds in the ten minutes before the switch.
    pub proven_per_pod: f64,
    /// What blue serves now, diverted requests left out.
    pub own: f64,
}

/// Largest share of green's traffic that blue may be given, 0 to 1: blue gets no more a pod than it has proven.
#[must_use]
pub fn divertible(capacity: &Capacity) -> f64 {
    if capacity.rate <= 0.0 {
        return 0.0;
    }
    let spare = f64::from(capacity.ready) * capacity.proven_per_pod - capacity.own;
    (spare / capacity.rate).clamp(0.0, 1.0)
}
