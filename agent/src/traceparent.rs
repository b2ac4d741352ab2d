//! The `traceparent` header of W3C Trace Context (Recommendation, level 1): which trace a request belongs to.

use http::HeaderValue;

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Id of the trace.
    pub trace: [u8; 16],
    /// Id of the caller's span.
    pub span: [u8; 8],
    /// Flags; bit 0 says that the trace is recorded.
    pub flags: u8,
}

/// Flag of a trace that is recorded.
const SAMPLED: u8 = 1;
/// Flag of a trace whose id is random (level 2); who passes a trace on must keep it.
const RANDOM: u8 = 2;
/// `00-` and the two ids and the flags, each after a dash.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

impl TraceParent {
    /// Reads a header's value. `None` when it is not one (section 3.2.2): then the request has no trace.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let mut version = [0];
        hex(&head[..2], &mut version)?;
        // Later versions may say more behind a dash; this one may not, and 255 is none.
        let is_complete = match version[0] {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|&next| next == b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|&place| head[place] == b'-');
        if !is_complete || !dashes {
            return None;
        }
        let (mut trace, mut span, mut flags) = ([0; 16], [0; 8], [0]);
        hex(&head[3..35], &mut trace)?;
        hex(&head[36..52], &mut span)?;
        hex(&head[53..], &mut flags)?;
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags: flags[0] })
    }

    /// The header that says it, in version 00; of the flags those that this version and its successor know.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        let Self { trace, span, flags } = self;
        let (trace, span) = (u128::from_be_bytes(trace), u64::from_be_bytes(span));
        let text = format!("00-{trace:032x}-{span:016x}-{:02x}", flags & (SAMPLED | RANDOM));
        HeaderValue::try_from(text).expect("digits and dashes are visible ASCII")
    }

    /// The trace is recorded, so it can be looked at.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }
}

/// Lower-case hexadecimal digits, two a byte.
fn hex(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    // What is no digit has bits above the lowest four. Looked at once at the end: this is done for each request with a trace.
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (value(pair[0]), value(pair[1]));
        wrong |= high | low;
        *byte = high << 4 | low;
    }
    (wrong < 16).then_some(())
}

const fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specifications_example_is_read() {
        let read = TraceParent::parse(VALID.as_bytes()).expect("it is valid");
        assert_eq!((read.trace[0], read.trace[15], read.span[1]), (0x4b, 0x36, 0xf0));
        assert!(read.is_sampled());
        let unsampled = VALID.replace("-01", "-02");
        assert!(!TraceParent::parse(unsampled.as_bytes()).expect("it is valid").is_sampled());
        let later = VALID.replace("00-4", "cc-4");
        for later in [later.clone(), format!("{later}-what-the-future-brings")] {
            assert_eq!(TraceParent::parse(later.as_bytes()), Some(read), "{later}");
        }
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let read = TraceParent::parse(VALID.as_bytes()).expect("it is valid");
        assert_eq!(read.to_header(), VALID);
        let small = TraceParent { trace: 7_u128.to_be_bytes(), span: 9_u64.to_be_bytes(), flags: 0xff };
        assert_eq!(small.to_header(), "00-00000000000000000000000000000007-0000000000000009-03");
    }

    #[test]
    fn anything_else_is_none() {
        let zeros = |from: usize, to: usize| format!("{}{}{}", &VALID[..from], "0".repeat(to - from), &VALID[to..]);
        for text in [
            String::new(),
            VALID[..54].to_owned(),
            format!("{VALID}-00"),
            format!("{VALID} "),
            VALID.to_uppercase(),
            VALID.replace("00-4", "ff-4"),
            format!("{}x", VALID.replace("00-4", "cc-4")),
            VALID.replacen('-', "_", 1),
            VALID.replace("b7-", "b7+"),
            VALID.replace("4bf9", "+bf9"),
            VALID.replace("4bf9", "4bé"),
            zeros(3, 35),
            zeros(36, 52),
        ] {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
