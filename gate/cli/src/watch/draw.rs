//! The screen.

use blueback_gate::api::types::{Phase, Slot};
use blueback_gate::charts::{self, Ink, Plot, Scale};
use blueback_gate::wording;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Row, Table, Wrap};

use super::View;

/// Rows that a chart needs to tell anything.
const CHART_ROWS_MIN: u16 = 7;
/// Columns beside which a second chart fits.
const CHART_COLUMNS_MIN: u16 = 36;

/// Draws all of it. A window that is too small loses charts first, then rules.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    let charts_rows = if area.height >= 24 { Constraint::Fill(3) } else { Constraint::Length(0) };
    let [head, verdict, numbers, charts, rules, timeline, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(1),
        charts_rows,
        Constraint::Length(view.evidence.criteria.len().min(8) as u16 + 2),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(head_line(view), head);
    let verdict_text = Paragraph::new(view.release.verdict.text.as_str().bold()).wrap(Wrap { trim: true });
    frame.render_widget(verdict_text, verdict);
    frame.render_widget(numbers_line(view), numbers);
    draw_charts(frame, view, charts);
    draw_rules(frame, view, rules);
    draw_timeline(frame, view, timeline);
    frame.render_widget(foot_line(view), foot);
}

const fn phase_colour(phase: Phase) -> Color {
    match phase {
        Phase::Passed | Phase::Done => Color::Green,
        Phase::Reverting | Phase::Reverted => Color::Red,
        Phase::Held | Phase::Inconclusive => Color::Yellow,
        Phase::Watching => Color::Cyan,
        Phase::Superseded => Color::Gray,
    }
}

fn slot(of: Slot) -> Span<'static> {
    let word = wording::slot(of);
    match of {
        Slot::Blue => word.blue(),
        Slot::Green => word.green(),
    }
}

fn head_line(view: &View) -> Line<'_> {
    let release = &view.release;
    let phase = wording::phase(release.phase).fg(phase_colour(release.phase)).bold();
    let mut spans =
        vec![release.id.as_str().bold(), "  ".into(), slot(release.baseline), " to ".into(), slot(release.candidate)];
    spans.extend(["  ".into(), phase, format!("  since the switch {}", wording::span(view.evidence.now_ms)).into()]);
    if view.is_lost {
        spans.push("  the gate cannot be reached; trying again".yellow());
    }
    Line::from(spans)
}

fn numbers_line(view: &View) -> Line<'_> {
    let release = &view.release;
    let lost = view.evidence.candidate;
    let mut text = format!(
        "share {} of {}  shield {}  failed {} of {}",
        wording::percent(release.share),
        wording::percent(release.target_share),
        release.shield,
        wording::count(lost.failed),
        wording::counted(lost.requests, "request"),
    );
    if let Some(service) = &view.service {
        let ready = service.backends.iter().filter(|backend| backend.ready).count();
        text.push_str(&format!(
            "  {:.1} /s  {ready} of {} pods ready",
            service.requests_per_second,
            service.backends.len()
        ));
    }
    if let Some(needed) = release.verdict.requests_needed {
        text.push_str(&format!("  {} requests still needed", wording::count(needed)));
    }
    Line::from(text).dim()
}

fn foot_line(view: &View) -> Line<'_> {
    match &view.asking {
        Some(asking) => Line::from(vec![
            format!("{}, why? ", asking.verb.as_str()).yellow().bold(),
            asking.why.as_str().into(),
            "▏".into(),
            "  Enter tells the gate, Esc forgets it".dim(),
        ]),
        None if view.note.is_empty() => Line::from("q quit  r revert  h hold  c resume  ↑↓ timeline").dim(),
        None => Line::from(view.note.as_str()).yellow(),
    }
}

const fn colour(ink: Ink) -> Color {
    match ink {
        Ink::Blue => Color::Blue,
        Ink::Green => Color::Green,
        Ink::Limit => Color::Red,
        Ink::Mark => Color::DarkGray,
        Ink::Rule(0) => Color::Magenta,
        Ink::Rule(1) => Color::Yellow,
        Ink::Rule(2) => Color::Cyan,
        Ink::Rule(_) => Color::Gray,
    }
}

fn draw_charts(frame: &mut Frame<'_>, view: &View, area: Rect) {
    if area.height < CHART_ROWS_MIN {
        return;
    }
    let plots = charts::of_release(&view.release, &view.evidence);
    let fitting = usize::from(area.width / CHART_COLUMNS_MIN).clamp(1, 3);
    let places = Layout::horizontal(vec![Constraint::Fill(1); fitting]).split(area);
    for (plot, place) in plots.iter().zip(places.iter()) {
        draw_plot(frame, plot, *place);
    }
}

fn draw_plot(frame: &mut Frame<'_>, plot: &Plot, area: Rect) {
    let place = |value: f64| match plot.scale {
        Scale::Linear => value,
        Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
    };
    let (bottom, top) = (place(plot.values.start), place(plot.values.end));
    let ends = [plot.seconds.start, plot.seconds.end];
    let limits: Vec<_> = plot.limits.iter().map(|(limit, _)| ends.map(|at| (at, place(*limit)))).collect();
    let marks: Vec<_> = plot.marks.iter().map(|mark| [(mark.at, bottom), (mark.at, top)]).collect();
    let lines: Vec<Vec<(f64, f64)>> = plot
        .lines
        .iter()
        .map(|line| {
            let known = line.points.iter().filter_map(|(at, value)| Some((*at, (*value)?)));
            known.map(|(at, value)| (at, place(value.clamp(plot.values.start, plot.values.end)))).collect()
        })
        .collect();
    let dataset = |ink: Ink, data| {
        let style = Style::default().fg(colour(ink));
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(data)
    };
    let mut sets: Vec<_> = marks.iter().map(|mark| dataset(Ink::Mark, mark.as_slice())).collect();
    sets.extend(limits.iter().map(|limit| dataset(Ink::Limit, limit.as_slice())));
    sets.extend(
        plot.lines
            .iter()
            .zip(&lines)
            .filter(|(line, _)| !line.thin)
            .map(|(line, data)| dataset(line.ink, data.as_slice()).name(line.name.as_str())),
    );
    let time = |seconds: f64| format!("{seconds:.0} s");
    let x = Axis::default().bounds(ends).labels(ends.map(time)).dim();
    let labels = [plot.values.start, plot.values.end].map(plot.format);
    let y = Axis::default().bounds([bottom, top]).labels(labels).dim();
    let chart = Chart::new(sets).block(Block::bordered().title(plot.title.as_str())).x_axis(x).y_axis(y);
    frame.render_widget(chart, area);
}

fn draw_rules(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let criteria = &view.evidence.criteria;
    if criteria.is_empty() || area.height < 3 {
        return;
    }
    let rows = criteria.iter().map(|criterion| {
        let is_fired = criterion.fired_ms.is_some();
        let evidence = match (criterion.evidence, criterion.threshold) {
            (Some(evidence), Some(threshold)) => format!("{evidence:.1} of {threshold:.1}"),
            _ => "-".to_owned(),
        };
        let row = Row::new([
            criterion.rule.clone(),
            wording::state(criterion),
            wording::tally(&criterion.candidate, &criterion.unit),
            evidence,
        ]);
        match (is_fired, criterion.list.as_str()) {
            (true, "pass") => row.green(),
            (true, _) => row.red(),
            (false, _) => row,
        }
    });
    let widths = [Constraint::Fill(3), Constraint::Fill(2), Constraint::Fill(3), Constraint::Length(13)];
    let head = Row::new(["rule", "state", wording::slot(view.release.candidate), "evidence"]).dim();
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

/// The newest moments at the bottom, as many as fit, less those that are scrolled away.
fn draw_timeline(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let shown = &view.release.timeline[..view.release.timeline.len().saturating_sub(view.back)];
    let lines: Vec<Line<'_>> = shown
        .iter()
        .map(|moment| {
            Line::from(vec![
                format!("{:>12}  ", format!("+{}", wording::span(moment.after_ms))).dim(),
                format!("{:<12}", moment.what).bold(),
                moment.text.as_str().into(),
            ])
        })
        .collect();
    let block = Block::bordered().title("Timeline");
    let rows = usize::from(area.height.saturating_sub(2));
    let first = lines.len().saturating_sub(rows);
    frame.render_widget(Paragraph::new(Text::from(lines[first..].to_vec())).block(block), area);
}
