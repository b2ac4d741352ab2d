//! A recording as a file: what the judge saw, and what the gate made of it.
//!
//! ```text
//! magic    8 bytes   89 'B' 'B' 'R' 'E' 'C' 0D 0A
//! version  u32       1                                     all numbers little-endian
//! told     u32       bytes of what the gate told, as JSON (a release record)
//! frames   u64       bytes of frames, as in the store
//! sum      u64       FNV-1a of told and frames
//! told, frames
//! ```
//!
//! The first byte is no text and the last two are a line's end, so that a transfer as text breaks the magic instead of the
//! frames; the lengths tell a file that is cut off from one that is damaged. The sum is against accidents only. A frame's own
//! form is [`crate::recording`]'s.

use std::fmt;

use anyhow::Context as _;

use crate::recording::Recording;
use crate::records::ReleaseRecord;
use crate::store::RECORDING_BYTES_MAX;

const MAGIC: [u8; 8] = *b"\x89BBREC\r\n";
/// Version of the file's form.
pub const VERSION: u32 = 1;
const HEAD_BYTES: usize = 32;
/// Most bytes of what the gate told.
const TOLD_BYTES_MAX: u64 = 16 << 20;
/// Most bytes of a file.
pub const FILE_BYTES_MAX: u64 = HEAD_BYTES as u64 + TOLD_BYTES_MAX + RECORDING_BYTES_MAX;

/// Why bytes are no recording file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoFile {
    /// It does not begin as one.
    Other,
    /// Of another version.
    Version(u32),
    /// So many bytes are missing at its end.
    CutOff(u64),
    /// So many bytes follow its end.
    TooLong(u64),
    /// Its bytes are not those that were written.
    Damaged,
}

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other => f.write_str(
                "not a recording: it does not begin as one; accepted: what `blueback recordings export` wrote",
            ),
            Self::Version(found) => {
                write!(f, "a recording of version {found}; this version of blueback reads version {VERSION}")
            }
            Self::CutOff(missing) => write!(f, "a recording that is cut off: {missing} bytes are missing at its end"),
            Self::TooLong(more) => write!(f, "a recording with {more} bytes too many at its end"),
            Self::Damaged => f.write_str("a damaged recording: its sum differs from its bytes"),
        }
    }
}

impl std::error::Error for NoFile {}

fn sum(told: &[u8], frames: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    told.iter().chain(frames).fold(0xcbf2_9ce4_8422_2325, step)
}

/// The file: what the gate told of the release, and frames as the store has them.
///
/// # Errors
/// When what the gate told is longer than a file may hold.
pub fn write(told: &ReleaseRecord, frames: &[u8]) -> anyhow::Result<Vec<u8>> {
    let told = serde_json::to_vec(told)?;
    let length = u32::try_from(told.len()).ok().filter(|&length| u64::from(length) <= TOLD_BYTES_MAX);
    let length = length.context("the release's record is too long")?;
    let mut file = Vec::with_capacity(HEAD_BYTES + told.len() + frames.len());
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(&(frames.len() as u64).to_le_bytes());
    file.extend_from_slice(&sum(&told, frames).to_le_bytes());
    file.extend_from_slice(&told);
    file.extend_from_slice(frames);
    Ok(file)
}

/// The two parts of a file, as bytes.
///
/// # Errors
/// What is wrong with it.
pub fn parts(file: &[u8]) -> Result<(&[u8], &[u8]), NoFile> {
    let shared = file.len().min(MAGIC.len());
    if file.is_empty() || file[..shared] != MAGIC[..shared] {
        return Err(NoFile::Other);
    }
    let Some((head, rest)) = file.split_at_checked(HEAD_BYTES) else {
        return Err(NoFile::CutOff((HEAD_BYTES - file.len()) as u64));
    };
    let number =
        |at: usize, bytes: usize| head[at..at + bytes].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let version = number(8, 4) as u32;
    if version != VERSION {
        return Err(NoFile::Version(version));
    }
    let (told, frames) = (number(12, 4), number(16, 8));
    if told > TOLD_BYTES_MAX || frames > RECORDING_BYTES_MAX {
        return Err(NoFile::Damaged);
    }
    let whole = told + frames;
    let found = rest.len() as u64;
    if found < whole {
        return Err(NoFile::CutOff(whole - found));
    }
    if found > whole {
        return Err(NoFile::TooLong(found - whole));
    }
    let (told, frames) = rest.split_at(told as usize);
    if sum(told, frames) != number(24, 8) {
        return Err(NoFile::Damaged);
    }
    Ok((told, frames))
}

/// What the gate told, and what the judge saw.
///
/// # Errors
/// What is wrong with the file, or with what is in it.
pub fn read(file: &[u8]) -> anyhow::Result<(ReleaseRecord, Recording)> {
    let (told, frames) = parts(file)?;
    let record = serde_json::from_slice(told).context("what the gate told cannot be read")?;
    let recording = Recording::decode(frames).context("what the judge saw cannot be read")?;
    Ok((record, recording))
}
