//! Charts as SVG: one renderer for the page, for `blueback explain --html` and for incident documents.
//!
//! Values in, text out: no clock, no file, no randomness, so the same release draws the same picture everywhere and a test
//! can hold it. plotters lays out and draws; what it cannot say in SVG (a class, a dash pattern, a name for people who do
//! not see the picture) is added to its text afterwards. Colours are written out, so that a picture stands alone, and carry
//! classes, so that a style sheet can give them the colours of a dark page.

mod plot;
mod release;

pub use plot::{Ink, Key, Line, Mark, Plot, Scale};
pub use release::{MARKS, of_release};

/// Style sheet for the classes of [`Plot::svg`], in dark and in light.
pub const STYLE: &str = include_str!("page/charts.css");
