//! One picture: lines over time, limits, marks.

use std::fmt::Write as _;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width and height in the units of the picture. Twice the pixels of a phone: plotters draws at whole units.
const SIZE: (u32, u32) = (800, 400);
/// Size of letters in those units; a style sheet may set another where the picture is shown large.
const LETTERS: u32 = 28;
/// Room for numbers left of the picture, and for times below.
const LEFT: u32 = 104;
const BOTTOM: u32 = 46;
/// Room for three rows of marks above.
const TOP: u32 = 94;
const ROWS: usize = 3;
/// Most points of a line that are drawn: more than there are places for them.
const POINTS_MAX: usize = 300;
/// Guessed width of a letter, as a part of its height.
const LETTER_WIDTH: f64 = 0.56;

/// What a line is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// The blue slot.
    Blue,
    /// The green slot.
    Green,
    /// What a rule allows.
    Limit,
    /// A moment.
    Mark,
    /// The evidence of a rule; there are four of them.
    Rule(u8),
}

impl Ink {
    /// Every ink.
    const ALL: [Self; 8] =
        [Self::Blue, Self::Green, Self::Limit, Self::Mark, Self::Rule(0), Self::Rule(1), Self::Rule(2), Self::Rule(3)];

    /// Its class in a style sheet.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Blue => "ink-blue",
            Self::Green => "ink-green",
            Self::Limit => "ink-limit",
            Self::Mark => "ink-mark",
            Self::Rule(0) => "ink-rule-0",
            Self::Rule(1) => "ink-rule-1",
            Self::Rule(2) => "ink-rule-2",
            Self::Rule(_) => "ink-rule-3",
        }
    }

    /// Its colour where there is no style sheet: dark enough on white, light enough on black (3 to 1 on both).
    const fn colour(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0x3B, 0x82, 0xF6),
            Self::Green => RGBColor(0x16, 0x9A, 0x4E),
            Self::Limit => RGBColor(0xE0, 0x3E, 0x36),
            Self::Mark => RGBColor(0x80, 0x80, 0x86),
            Self::Rule(0) => RGBColor(0x8B, 0x5C, 0xF6),
            Self::Rule(1) => RGBColor(0xC0, 0x7A, 0x0A),
            Self::Rule(2) => RGBColor(0x0E, 0x90, 0x8F),
            Self::Rule(_) => RGBColor(0xC0, 0x4F, 0x9A),
        }
    }
}

/// Letters, and the frame; replaced by the colour of the text around the picture.
const TEXT: RGBColor = RGBColor(0x76, 0x76, 0x7C);
/// The grid.
const GRID: RGBColor = RGBColor(0xC9, 0xC9, 0xCE);

/// A line. It is broken where there is no value.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it shows, for the legend.
    pub name: String,
    /// Its ink.
    pub ink: Ink,
    /// Drawn in dashes, so that it can be told apart without colours.
    pub dashed: bool,
    /// Drawn thin: of less weight than others of the same ink.
    pub thin: bool,
    /// Seconds and values, in order of time.
    pub points: Vec<(f64, Option<f64>)>,
}

/// A moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// When, in seconds.
    pub at: f64,
    /// One word.
    pub name: String,
    /// Its word is drawn before others.
    pub is_main: bool,
}

/// How values are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// By their difference.
    Linear,
    /// By their quotient; values must be above 0.
    Logarithmic,
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Plot {
    /// A word that is the only one of its kind on a page.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// The same in sentences with numbers, for people who do not see it.
    pub description: String,
    /// Seconds from left to right.
    pub seconds: Range<f64>,
    /// Values from bottom to top.
    pub values: Range<f64>,
    /// How they are laid out.
    pub scale: Scale,
    /// A value as text.
    pub format: fn(f64) -> String,
    /// The lines.
    pub lines: Vec<Line>,
    /// What rules allow, and how that is called.
    pub limits: Vec<(f64, String)>,
    /// Moments.
    pub marks: Vec<Mark>,
}

/// A line of the legend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it shows.
    pub name: String,
    /// Class of its ink.
    pub class: &'static str,
    /// Class of its dashes.
    pub dash: &'static str,
}

/// Drawing into a string cannot fail; the error type only says that it might.
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Y>>;

impl Plot {
    /// The picture as an `svg` element.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("a string takes all that is drawn into it");
        self.dress(&svg)
    }

    /// What each line is.
    #[must_use]
    pub fn legend(&self) -> Vec<Key> {
        let lines = self.lines.iter().map(|line| Key {
            name: line.name.clone(),
            class: line.ink.class(),
            dash: if line.dashed { "dashed" } else { "solid" },
        });
        let limits = self.limits.first().map(|_| Key {
            name: self.limits.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", "),
            class: Ink::Limit.class(),
            dash: "dotted",
        });
        lines.chain(limits).collect()
    }

    fn draw(&self, svg: &mut String) -> Drawn {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut builder = ChartBuilder::on(&area);
        builder.margin_top(TOP).margin_right(14).x_label_area_size(BOTTOM).y_label_area_size(LEFT);
        match self.scale {
            Scale::Linear => {
                let chart = builder.build_cartesian_2d(self.seconds.clone(), self.values.clone())?;
                self.fill(chart, &area)?;
            }
            Scale::Logarithmic => {
                let chart = builder.build_cartesian_2d(self.seconds.clone(), self.values.clone().log_scale())?;
                self.fill(chart, &area)?;
            }
        }
        area.present()
    }

    fn fill<'a, Y>(&self, mut chart: Chart<'a, Y>, area: &Area<'a>) -> Drawn
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64> + AsRangedCoord,
    {
        let letters = ("sans-serif", LETTERS).into_font().color(&TEXT);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(TEXT)
            .label_style(letters)
            .x_labels(6)
            .y_labels(4)
            .x_label_formatter(&|seconds| time(*seconds))
            .y_label_formatter(&|value| (self.format)(*value))
            .draw()?;
        for (limit, _) in &self.limits {
            chart.draw_series(path(
                &[(self.seconds.start, *limit), (self.seconds.end, *limit)],
                pen(Ink::Limit, 1, 3),
            ))?;
        }
        let mut rows: [Vec<Range<f64>>; ROWS] = Default::default();
        let mut marks: Vec<_> = self.marks.iter().filter(|mark| self.seconds.contains(&mark.at)).collect();
        // Where there is no room for every word, it is there for those that matter most.
        marks.sort_by_key(|mark| !mark.is_main);
        for mark in marks {
            let ends = [(mark.at, self.values.start), (mark.at, self.values.end)];
            chart.draw_series(path(&ends, pen(Ink::Mark, 1, 2)))?;
            let (x, y) = chart.backend_coord(&ends[1]);
            let half = (mark.name.chars().count() as f64 + 1.0) * f64::from(LETTERS) * LETTER_WIDTH / 2.0;
            let centre = f64::from(x).clamp(half, f64::from(SIZE.0) - half);
            let is_free = |taken: &Range<f64>| taken.end <= centre - half || taken.start >= centre + half;
            let Some(row) = rows.iter().position(|taken| taken.iter().all(is_free)) else { continue };
            rows[row].push(centre - half..centre + half);
            let place = (centre as i32, y - 4 - row as i32 * LETTERS as i32);
            let style = ("sans-serif", LETTERS).into_font().color(&TEXT).pos(Pos::new(HPos::Center, VPos::Bottom));
            area.draw(&Text::new(mark.name.clone(), place, style))?;
        }
        for line in &self.lines {
            let pen = pen(line.ink, u8::from(line.dashed), if line.thin { 2 } else { 4 });
            for piece in pieces(&line.points, &self.seconds, &self.values) {
                match piece.as_slice() {
                    [only] => chart.draw_series([Circle::new(*only, 3, pen.filled())])?,
                    _ => chart.draw_series(path(&piece, pen))?,
                };
            }
        }
        Ok(())
    }

    /// Adds what plotters has no words for.
    fn dress(&self, svg: &str) -> String {
        let (_, body) = svg.split_once('>').unwrap_or_default();
        let id = escaped(&self.id);
        let mut text = format!(
            "<svg class=\"chart\" role=\"img\" aria-labelledby=\"{id}-title {id}-text\" viewBox=\"0 0 {} {}\" \
             xmlns=\"http://www.w3.org/2000/svg\">\n<title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-text\">{}</desc>\n",
            SIZE.0,
            SIZE.1,
            escaped(&self.title),
            escaped(&self.description),
        );
        let mut body = body.trim_start().to_owned();
        for ink in Ink::ALL {
            for (opacity, dash, class) in [(Dash::Solid, "", "solid"), (Dash::Broken, "12 8", "dashed")] {
                // Limits and marks are always broken, each in its way.
                let (dash, class) = match ink {
                    Ink::Limit => ("3 7", "dotted"),
                    Ink::Mark => ("8 6", "dashed"),
                    _ => (dash, class),
                };
                let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
                let colour = hex(opacity.tint(ink));
                let name = ink.class();
                body = body
                    .replace(
                        &format!("stroke=\"{colour}\""),
                        &format!("class=\"{name} {class}\" stroke=\"{}\"{dash}", hex(ink.colour())),
                    )
                    .replace(
                        &format!("fill=\"{colour}\""),
                        &format!("class=\"{name} dot\" fill=\"{}\"", hex(ink.colour())),
                    );
            }
        }
        body = body
            .replace(&format!("fill=\"{}\"", hex(TEXT)), "class=\"text\" fill=\"currentColor\"")
            .replace(&format!("stroke=\"{}\"", hex(TEXT)), "class=\"frame\" stroke=\"currentColor\"")
            .replace(&format!("stroke=\"{}\"", hex(GRID)), &format!("class=\"grid\" stroke=\"{}\"", hex(GRID)));
        text.push_str(&body);
        text
    }
}

/// plotters draws every line unbroken. What is to be broken is drawn in a colour that differs by one in its blue, which
/// [`Plot::dress`] takes for the sign.
#[derive(Clone, Copy, Debug)]
enum Dash {
    Solid,
    Broken,
}

impl Dash {
    const fn tint(self, ink: Ink) -> RGBColor {
        let RGBColor(red, green, blue) = ink.colour();
        match self {
            Self::Solid => RGBColor(red, green, blue),
            Self::Broken => RGBColor(red, green, blue ^ 1),
        }
    }
}

fn pen(ink: Ink, broken: u8, width: u32) -> ShapeStyle {
    let dash = if broken == 0 { Dash::Solid } else { Dash::Broken };
    dash.tint(ink).stroke_width(width)
}

fn path(points: &[(f64, f64)], pen: ShapeStyle) -> [PathElement<(f64, f64)>; 1] {
    [PathElement::new(points.to_vec(), pen)]
}

/// The unbroken pieces of a line within a picture. Where there are more points than places, neighbours share a place and
/// the largest is shown: a spike must not vanish.
fn pieces(points: &[(f64, Option<f64>)], seconds: &Range<f64>, values: &Range<f64>) -> Vec<Vec<(f64, f64)>> {
    let inside: Vec<_> = points.iter().filter(|(at, _)| (seconds.start..=seconds.end).contains(at)).collect();
    let together = inside.len().div_ceil(POINTS_MAX).max(1);
    let mut pieces = vec![Vec::new()];
    for chunk in inside.chunks(together) {
        let largest = chunk.iter().filter_map(|(_, value)| *value).reduce(f64::max);
        match (largest, chunk.last()) {
            (Some(value), Some((at, _))) => {
                let value = value.clamp(values.start, values.end);
                pieces.last_mut().expect("there is always a piece").push((*at, value));
            }
            _ if pieces.last().is_some_and(|piece| !piece.is_empty()) => pieces.push(Vec::new()),
            _ => {}
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Seconds as minutes and seconds: `0:20`, `-1:00`.
fn time(seconds: f64) -> String {
    let whole = seconds.round() as i64;
    let sign = if whole < 0 { "-" } else { "" };
    format!("{sign}{}:{:02}", whole.abs() / 60, whole.abs() % 60)
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Text as it stands in XML.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, letter| {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write most control characters.
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\u{fffd}");
            }
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        Plot {
            id: "errors".to_owned(),
            title: "Error <rate> & \"more\"".to_owned(),
            description: "green at most 52%".to_owned(),
            seconds: -10.0..30.0,
            values: 0.0..1.0,
            scale: Scale::Linear,
            format: |value| format!("{:.0}%", value * 100.0),
            lines: vec![
                Line {
                    name: "green".to_owned(),
                    ink: Ink::Green,
                    dashed: false,
                    thin: false,
                    points: vec![(0.0, Some(0.0)), (1.0, Some(0.5)), (2.0, None), (3.0, Some(0.1)), (4.0, Some(0.2))],
                },
                Line {
                    name: "blue".to_owned(),
                    ink: Ink::Blue,
                    dashed: true,
                    thin: false,
                    points: vec![(-5.0, Some(0.0)), (0.0, Some(0.01))],
                },
            ],
            limits: vec![(0.05, "5%".to_owned())],
            marks: vec![
                Mark { at: 0.0, name: "switch".to_owned(), is_main: true },
                Mark { at: 4.0, name: "shield".to_owned(), is_main: false },
                Mark { at: 4.2, name: "revert".to_owned(), is_main: true },
                Mark { at: 99.0, name: "later".to_owned(), is_main: false },
            ],
        }
    }

    #[test]
    fn the_same_values_draw_the_same_picture() {
        assert_eq!(plot().svg(), plot().svg());
    }

    #[test]
    fn a_picture_is_told_without_eyes_and_without_colours() {
        let svg = plot().svg();
        for part in [
            "role=\"img\"",
            "<title id=\"errors-title\">Error &lt;rate&gt; &amp; &quot;more&quot;</title>",
            "<desc id=\"errors-text\">green at most 52%</desc>",
            "class=\"ink-green solid\"",
            "class=\"ink-blue dashed\" stroke=\"#3B82F6\" stroke-dasharray=\"12 8\"",
            "class=\"ink-limit dotted\"",
            "class=\"ink-mark dashed\"",
            "fill=\"currentColor\"",
            "switch",
            "shield",
            "revert",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        assert_eq!(svg.matches("class=\"ink-green solid\"").count(), 2, "the gap breaks the line: {svg}");
        assert!(!svg.contains("later"), "it is outside of the picture");
        assert!(!svg.contains("style="), "a strict policy forbids styles in attributes");
    }

    #[test]
    fn a_logarithmic_picture_takes_what_is_outside_to_its_edge() {
        let mut plot = plot();
        plot.scale = Scale::Logarithmic;
        plot.values = 1.0..1_000.0;
        let svg = plot.svg();
        assert!(svg.contains("class=\"ink-green solid\""), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_spike_survives_folding() {
        let mut points: Vec<_> = (0..6_000).map(|second| (f64::from(second), Some(0.0))).collect();
        points[4_001].1 = Some(1.0);
        let pieces = pieces(&points, &(0.0..6_000.0), &(0.0..1.0));
        assert_eq!(pieces.len(), 1);
        assert!(pieces[0].len() <= POINTS_MAX);
        assert!(pieces[0].iter().any(|(_, value)| *value > 0.9));
    }

    #[test]
    fn times_are_told_from_the_switch_on() {
        for (seconds, text) in [(0.0, "0:00"), (-20.0, "-0:20"), (100.0, "1:40"), (600.0, "10:00")] {
            assert_eq!(time(seconds), text);
        }
    }
}
