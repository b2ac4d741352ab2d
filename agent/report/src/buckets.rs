//! Latency as counts in log-linear buckets.
//!
//! The layout is that of an HDR histogram (Gil Tene's HdrHistogram) from 1 µs to 1 h with two significant digits: below
//! 256 µs a bucket is one microsecond wide, above it each doubling is cut into 128 equal buckets, so a bucket is never
//! wider than 1/128 (0.8 %) of its value. Buckets are fixed, so merging is exact: neither order nor grouping of reports
//! can change a quantile. A t-digest is smaller, but its merge depends on order, and two gates must agree.

use hdrhistogram::Histogram;

/// Longest latency told apart, in microseconds (1 h); longer ones count as this.
pub const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Number of buckets.
pub const BUCKETS: usize = 3_328;

const SUB_BUCKET_BITS: u32 = 8;
const SUB_BUCKET_HALF: usize = 1 << (SUB_BUCKET_BITS - 1);

/// Index of the bucket that holds a latency of `us` microseconds.
#[inline]
#[must_use]
pub const fn index_of(us: u64) -> usize {
    let us = if us > LATENCY_US_MAX { LATENCY_US_MAX } else { us };
    let bucket = u64::BITS - (us | ((1 << SUB_BUCKET_BITS) - 1)).leading_zeros() - SUB_BUCKET_BITS;
    bucket as usize * SUB_BUCKET_HALF + (us >> bucket) as usize
}

/// Smallest latency in the bucket, in microseconds.
#[must_use]
pub const fn lowest_us(index: usize) -> u64 {
    if index < 2 * SUB_BUCKET_HALF {
        return index as u64;
    }
    let bucket = index / SUB_BUCKET_HALF - 1;
    ((index % SUB_BUCKET_HALF + SUB_BUCKET_HALF) as u64) << bucket
}

/// Largest latency in the bucket, in microseconds.
#[must_use]
pub const fn highest_us(index: usize) -> u64 {
    lowest_us(index + 1) - 1
}

/// The age in microseconds past which a request in flight will surely be counted by [`Counts::over`] the same limit.
#[must_use]
pub const fn crossing_us(limit_us: u64) -> u64 {
    highest_us(index_of(limit_us))
}

/// Counts by bucket, sparse and sorted by index; with the sum of what was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    buckets: Vec<(u16, u64)>,
    /// Sum of the latencies recorded, in microseconds.
    pub sum_us: u64,
}

impl Counts {
    /// From `(index, count)` pairs in strictly rising order of index; zero counts are left out.
    ///
    /// Returns `None` when the order is broken or an index is not below [`BUCKETS`].
    pub fn from_sorted(pairs: impl IntoIterator<Item = (usize, u64)>, sum_us: u64) -> Option<Self> {
        let mut buckets: Vec<(u16, u64)> = Vec::new();
        let mut next = 0;
        for (index, count) in pairs {
            if index < next || index >= BUCKETS {
                return None;
            }
            next = index + 1;
            if count > 0 {
                buckets.push((u16::try_from(index).ok()?, count));
            }
        }
        Some(Self { buckets, sum_us })
    }

    /// Counts `count` more latencies of `us` microseconds.
    pub fn record_n(&mut self, us: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(count));
        let entry = self.entry(index_of(us) as u16);
        *entry = entry.saturating_add(count);
    }

    /// `(index, count)` of each bucket that is not empty, by rising index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (usize, u64)> + '_ {
        self.buckets.iter().map(|&(index, count)| (usize::from(index), count))
    }

    /// Nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Forgets everything, and keeps the room for more.
    pub fn clear(&mut self) {
        self.buckets.clear();
        self.sum_us = 0;
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// How many of them were above `limit_us`. A bucket counts when its lowest value is above the limit, so a latency
    /// of exactly the limit never does.
    #[must_use]
    pub fn over(&self, limit_us: u64) -> u64 {
        let limit = index_of(limit_us);
        let first = self.buckets.partition_point(|&(index, _)| usize::from(index) <= limit);
        self.buckets[first..].iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// The latency that the share `quantile` (0 to 1) of what was counted does not exceed, in microseconds, as the
    /// upper edge of its bucket; at most 1 % from the exact one. `None` when nothing was counted.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        (!self.is_empty()).then(|| self.to_hdr().value_at_quantile(quantile).min(LATENCY_US_MAX))
    }

    /// The same counts as an HDR histogram. A count above 2^52 (no honest agent ever gets there) is taken for that, so that
    /// the sum over all buckets cannot overflow.
    #[must_use]
    pub fn to_hdr(&self) -> Histogram<u64> {
        let mut hdr =
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 2).expect("the bounds are constants that HDR accepts");
        for (index, count) in self.iter() {
            hdr.saturating_record_n(lowest_us(index), count.min(1 << 52));
        }
        hdr
    }

    /// Adds the other's counts to these: for counts of different agents.
    pub fn add(&mut self, other: &Self) {
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        for &(index, count) in &other.buckets {
            let entry = self.entry(index);
            *entry = entry.saturating_add(count);
        }
    }

    /// Raises each count to the other's where that is larger, and returns by how much: for counts of one agent.
    pub fn merge(&mut self, newer: &Self) -> Self {
        let mut growth = Self { buckets: Vec::new(), sum_us: newer.sum_us.saturating_sub(self.sum_us) };
        self.sum_us = self.sum_us.max(newer.sum_us);
        for &(index, count) in &newer.buckets {
            let seen = self.entry(index);
            if count > *seen {
                growth.buckets.push((index, count - *seen));
                *seen = count;
            }
        }
        growth
    }

    /// The buckets whose count differs from `acknowledged`, each with its cumulative count.
    #[must_use]
    pub fn since(&self, acknowledged: &Self) -> Self {
        let mut known = acknowledged.buckets.iter().peekable();
        let mut changed = Self { buckets: Vec::new(), sum_us: self.sum_us };
        for &(index, count) in &self.buckets {
            while known.next_if(|&&(other, _)| other < index).is_some() {}
            if known.next_if(|&&(other, _)| other == index).is_none_or(|&(_, seen)| seen != count) {
                changed.buckets.push((index, count));
            }
        }
        changed
    }

    fn entry(&mut self, index: u16) -> &mut u64 {
        let place = match self.buckets.binary_search_by_key(&index, |&(other, _)| other) {
            Ok(place) => place,
            Err(place) => {
                self.buckets.insert(place, (index, 0));
                place
            }
        };
        &mut self.buckets[place].1
    }
}
