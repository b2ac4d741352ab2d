//! The proof's pictures, as SVG: one question each, text as text, the same bytes for the same numbers.

use anyhow::{Context, anyhow};
use blueback::power::release::Harm;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::boundary::LEVELS;
use super::pollers::Poller;
use super::{Count, Proof};

const SIZE: (u32, u32) = (900, 460);
const BOUND: RGBColor = RGBColor(0xb0, 0x2a, 0x2a);
const OURS: RGBColor = RGBColor(0x1f, 0x5f, 0xb4);
const COLOURS: [RGBColor; 7] = [
    OURS,
    RGBColor(0x2a, 0x8f, 0x5b),
    RGBColor(0x8a, 0x8a, 0x8a),
    RGBColor(0xb5, 0x73, 0x1d),
    RGBColor(0x7a, 0x4f, 0xa0),
    RGBColor(0x3d, 0x3d, 0x3d),
    RGBColor(0xc2, 0x5b, 0x8a),
];
/// What was never seen is drawn here, below everything that can be.
const NEVER: f64 = 1e-5;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Each file's name and what is in it.
///
/// # Errors
/// When something cannot be drawn.
pub fn all(proof: &Proof) -> anyhow::Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("false-reverts.svg", drawn(|canvas| false_reverts(proof, canvas)).context("false reverts")?),
        ("at-the-limit.svg", drawn(|canvas| boundary(proof, canvas)).context("at the limit")?),
        ("delays.svg", drawn(|canvas| delays(proof, canvas)).context("delays")?),
    ])
}

fn drawn(draw: impl FnOnce(&Canvas<'_>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        canvas.fill(&WHITE).map_err(told)?;
        draw(&canvas)?;
        canvas.present().map_err(told)?;
    }
    Ok(svg)
}

fn told(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// A share with its interval, a dot and a bar.
fn whisker<DB: DrawingBackend, CT: CoordTranslate<From = (f64, f64)>>(
    chart: &mut ChartContext<'_, DB, CT>,
    x: f64,
    count: Count,
    colour: RGBColor,
) -> anyhow::Result<()>
where
    DB::ErrorType: 'static,
{
    let (low, high) = count.interval();
    let bar = PathElement::new(vec![(x, low.max(NEVER)), (x, high.max(NEVER))], colour.stroke_width(2));
    let dot = Circle::new((x, count.share().max(NEVER)), 4, colour.filled());
    chart.plotting_area().draw(&bar).map_err(told)?;
    chart.plotting_area().draw(&dot).map_err(told)
}

fn false_reverts(proof: &Proof, canvas: &Canvas<'_>) -> anyhow::Result<()> {
    let cells = &proof.false_reverts;
    let mut chart = ChartBuilder::on(canvas)
        .caption("Healthy releases of 24 h that a proven rule would revert", font(18))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(-0.5..cells.len() as f64 - 0.5, (NEVER..1.0).log_scale())
        .map_err(told)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .y_desc("share of releases (dot), 95 % interval (bar)")
        .y_label_formatter(&|share| format!("{} %", share * 100.0))
        .x_labels(0)
        .draw()
        .map_err(told)?;
    let bound = cells.first().map_or(1e-3, |cell| cell.bound);
    let line = [(-0.5, bound), (cells.len() as f64 - 0.5, bound)];
    chart.draw_series(LineSeries::new(line, BOUND.stroke_width(2))).map_err(told)?;
    let label = Text::new("promised: 1 in 1,000", (-0.4, bound * 1.7), font(12).color(&BOUND));
    chart.plotting_area().draw(&label).map_err(told)?;
    let mut manners: Vec<String> = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        let words = cell.cell.words();
        let manner = manners.iter().position(|known| *known == words).unwrap_or_else(|| {
            manners.push(words.clone());
            manners.len() - 1
        });
        let colour = COLOURS[manner % COLOURS.len()];
        whisker(&mut chart, at as f64, cell.any, colour)?;
        let rate = Text::new(format!("{}/s", cell.cell.rps), (at as f64 - 0.25, NEVER * 2.4), font(11).color(&colour));
        chart.plotting_area().draw(&rate).map_err(told)?;
    }
    for (manner, words) in manners.iter().enumerate() {
        let at = (560, 50 + 18 * i32::try_from(manner).unwrap_or(0));
        canvas.draw(&Circle::new(at, 4, COLOURS[manner % COLOURS.len()].filled())).map_err(told)?;
        canvas.draw(&Text::new(words.clone(), (at.0 + 10, at.1 - 6), font(12))).map_err(told)?;
    }
    Ok(())
}

fn boundary(proof: &Proof, canvas: &Canvas<'_>) -> anyhow::Result<()> {
    let mut chart = ChartBuilder::on(canvas)
        .caption("Streams exactly at the limit: how often the evidence E comes to a level in a day", font(18))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((5.0..2_500.0).log_scale(), (NEVER..1.0).log_scale())
        .map_err(told)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("level of E")
        .y_desc("share of streams, 95 % interval")
        .x_label_formatter(&|level| format!("{level:.0}"))
        .y_label_formatter(&|share| format!("{} %", share * 100.0))
        .draw()
        .map_err(told)?;
    let bound = (0..=60).map(|step| {
        let level = 5.0 * 500.0_f64.powf(f64::from(step) / 60.0);
        (level, 1.0 / level)
    });
    chart.draw_series(LineSeries::new(bound, BOUND.stroke_width(2))).map_err(told)?;
    let label = Text::new("promised: at most 1/E", (500.0, 4.0e-3), font(12).color(&BOUND));
    chart.plotting_area().draw(&label).map_err(told)?;
    for (index, cell) in proof.boundary.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        for (level, count) in LEVELS.iter().zip(cell.reached) {
            whisker(&mut chart, level * 1.06_f64.powi(i32::try_from(index).unwrap_or(0) - 3), count, colour)?;
        }
        let at = (110, 260 + 18 * i32::try_from(index).unwrap_or(0));
        canvas.draw(&Circle::new(at, 4, colour.filled())).map_err(told)?;
        canvas.draw(&Text::new(cell.words(), (at.0 + 10, at.1 - 6), font(12))).map_err(told)?;
    }
    Ok(())
}

fn delays(proof: &Proof, canvas: &Canvas<'_>) -> anyhow::Result<()> {
    let halves = canvas.split_evenly((1, 2));
    for (half, (start_ms, title)) in halves.iter().zip([(0, "begins at the switch"), (600_000, "begins 10 min in")]) {
        let mut chart = ChartBuilder::on(half)
            .caption(format!("Seconds to the revert, 100 requests/s: {title}"), font(14))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d((0.045..1.1_f64).log_scale(), (0.02..3_000.0_f64).log_scale())
            .map_err(told)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("share of requests that fails")
            .x_labels(4)
            .y_desc("seconds, median")
            .x_label_formatter(&|share| format!("{:.0} %", share * 100.0))
            .y_label_formatter(&|seconds| format!("{seconds}"))
            .draw()
            .map_err(told)?;
        let rows = proof.delays.iter().filter(|delay| delay.cell.rps == 100.0 && delay.cell.start_ms == start_ms);
        let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        let mut point = |name: String, share: f64, ms: Option<u64>| {
            let Some(ms) = ms else { return };
            let at = lines.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                lines.push((name, Vec::new()));
                lines.len() - 1
            });
            lines[at].1.push((share, (ms as f64 / 1_000.0).max(0.1)));
        };
        for delay in rows {
            let Harm::Errors(share) = delay.cell.harm else { continue };
            point("Blueback: reverted".to_owned(), share, delay.durable.p50);
            point("Blueback: diverted".to_owned(), share, delay.shield.p50);
            for (poller, at, _) in delay.pollers.iter().filter(|(poller, _, _)| *poller != Poller::Kayenta) {
                point(poller.words(), share, at.p50);
            }
        }
        for (index, (name, points)) in lines.into_iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let dots = points.iter().map(|&at| Circle::new(at, 3, colour.filled())).collect::<Vec<_>>();
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(if index < 2 { 3 } else { 1 })))
                .map_err(told)?
                .label(name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2)));
            chart.draw_series(dots).map_err(told)?;
        }
        if start_ms > 0 {
            let legend =
                chart.configure_series_labels().label_font(font(11)).position(SeriesLabelPosition::LowerLeft).draw();
            legend.map_err(told)?;
        }
    }
    Ok(())
}
