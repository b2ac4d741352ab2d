//! A curve in one line of text.

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Values from 0 to `top` as bars of eight heights, at most `columns` of them; `·` where there is none.
///
/// When there are more values than columns, neighbours share a column and the largest is shown: a spike must not vanish.
#[must_use]
pub fn sparkline(values: &[Option<f64>], top: f64, columns: usize) -> String {
    let together = values.len().div_ceil(columns.max(1)).max(1);
    values
        .chunks(together)
        .map(|chunk| chunk.iter().flatten().copied().reduce(f64::max).map_or('·', |value| bar(value, top)))
        .collect()
}

fn bar(value: f64, top: f64) -> char {
    if top <= 0.0 || value <= 0.0 {
        return LEVELS[0];
    }
    let level = (value / top * LEVELS.len() as f64).ceil() as usize;
    LEVELS[level.clamp(1, LEVELS.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_follow_values() {
        let values = [Some(0.0), Some(0.5), Some(1.0), None, Some(2.0), Some(0.01)];
        assert_eq!(sparkline(&values, 1.0, 60), "▁▄█·█▁");
        assert_eq!(sparkline(&[Some(1.0), None], 0.0, 60), "▁·");
        assert_eq!(sparkline(&[], 1.0, 60), "");
    }

    #[test]
    fn a_spike_survives_folding() {
        let mut values = vec![Some(0.0); 600];
        values[301] = Some(1.0);
        let line = sparkline(&values, 1.0, 60);
        assert_eq!(line.chars().count(), 60);
        assert_eq!(line.chars().nth(30), Some('█'));
    }
}
