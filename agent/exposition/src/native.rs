//! Native histograms: buckets whose edges are powers of 2^(2^-schema), so that histograms of any two gates add up.
//!
//! Blueback's own buckets are at most 1 % wide and those of schema 5 are 2.2 %, so a value lands at most one bucket beside
//! its place. Where that would make too many buckets, the schema falls, and each step halves them.

/// The finest schema: finer buckets would promise more than our own hold.
const SCHEMA_MAX: i32 = 5;
/// The coarsest that the format knows.
const SCHEMA_MIN: i32 = -4;
/// Most buckets of a histogram: what Prometheus' own clients are usually limited to.
const BUCKETS_MAX: usize = 160;

/// A native histogram of values above zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// The base is 2^(2^-schema): what OpenTelemetry calls the scale of an exponential histogram.
    pub schema: i32,
    /// Counts by bucket number, smallest first. Bucket `i` holds values above base^(i-1), up to base^i. (OpenTelemetry numbers
    /// the same bucket `i - 1`.)
    pub buckets: Vec<(i32, u64)>,
}

impl Native {
    /// Of values, smallest first, each with how often it was seen. Values of zero and below have no bucket.
    #[must_use]
    pub fn of(values: &[(f64, u64)]) -> Self {
        let fits = |schema: &i32| Self::at(*schema, values).buckets.len() <= BUCKETS_MAX;
        let schema = (SCHEMA_MIN..=SCHEMA_MAX).rev().find(fits).unwrap_or(SCHEMA_MIN);
        Self::at(schema, values)
    }

    fn at(schema: i32, values: &[(f64, u64)]) -> Self {
        let mut buckets: Vec<(i32, u64)> = Vec::new();
        for &(value, count) in values.iter().filter(|(value, count)| *value > 0.0 && *count > 0) {
            let index = (value.log2() * f64::from(schema).exp2()).ceil() as i32;
            match buckets.last_mut() {
                Some((last, sum)) if *last == index => *sum = sum.saturating_add(count),
                _ => buckets.push((index, count)),
            }
        }
        Self { schema, buckets }
    }

    /// Runs of adjacent buckets: the gap before each, and how many.
    pub(super) fn spans(&self) -> Vec<(i32, u32)> {
        let mut spans: Vec<(i32, u32)> = Vec::new();
        let mut next = 0;
        for &(index, _) in &self.buckets {
            match spans.last_mut() {
                Some((_, length)) if index == next => *length += 1,
                _ => spans.push((index - next, 1)),
            }
            next = index + 1;
        }
        spans
    }

    /// Each count as its distance from the one before.
    pub(super) fn deltas(&self) -> Vec<i64> {
        let counts = self.buckets.iter().map(|&(_, count)| i64::try_from(count).unwrap_or(i64::MAX));
        counts.scan(0, |before, count| Some(count - std::mem::replace(before, count))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_within_their_buckets() {
        for step in 1..4_000 {
            let value = 1e-6 * 1.005_f64.powi(step);
            let native = Native::of(&[(value, 1)]);
            let base = f64::from(-native.schema).exp2().exp2();
            let upper = base.powi(native.buckets[0].0);
            assert!(value <= upper * (1.0 + 1e-9) && value > upper / base * (1.0 - 1e-9), "{value} {upper}");
        }
    }

    #[test]
    fn many_buckets_make_them_wider_and_lose_nothing() {
        let values: Vec<_> = (1..4_000).map(|step| (1e-6 * 1.005_f64.powi(step), 3)).collect();
        let native = Native::of(&values);
        assert!(native.buckets.len() <= BUCKETS_MAX && native.schema < SCHEMA_MAX, "{native:?}");
        assert_eq!(native.buckets.iter().map(|(_, count)| count).sum::<u64>(), 3 * 3_999);
    }

    #[test]
    fn spans_and_deltas_read_back_as_the_buckets() {
        let native = Native { schema: 3, buckets: vec![(-7, 4), (-6, 1), (0, 9), (1, 9), (12, 2)] };
        let (mut index, mut count, mut read) = (0, 0, Vec::new());
        let mut deltas = native.deltas().into_iter();
        for (gap, length) in native.spans() {
            index += gap;
            for _ in 0..length {
                count += deltas.next().expect("there is a delta for each bucket of a span");
                read.push((index, count as u64));
                index += 1;
            }
        }
        assert_eq!((read, deltas.next()), (native.buckets, None));
    }
}
