//! Pictures of results, as SVG that is readable on light and on dark pages: bars for costs, curves for latencies.

use std::path::Path;

use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::{Spread, number};
use crate::error::Error;

/// Pixels.
const SIZE: (u32, u32) = (960, 480);

/// Dark enough on white, light enough on black.
const COLOURS: [RGBColor; 10] = [
    RGBColor(59, 130, 246),
    RGBColor(234, 138, 22),
    RGBColor(22, 163, 116),
    RGBColor(217, 79, 112),
    RGBColor(139, 110, 232),
    RGBColor(100, 132, 160),
    RGBColor(190, 150, 20),
    RGBColor(20, 160, 180),
    RGBColor(150, 90, 60),
    RGBColor(120, 170, 60),
];

/// Of words and axes, readable on both.
const INK: RGBColor = RGBColor(118, 126, 138);

/// Where the title and the names of servers begin.
const LEFT: i32 = 24;

const FONT: &str = "system-ui, -apple-system, Segoe UI, sans-serif";

/// Quantiles of a curve: fine at the end, where it is steep. As nines: 2 is 99 %.
const NINES_MAX: f64 = 5.0;

const NINES_STEPS: u32 = 200;

/// Groups of bars, one bar for each server.
pub(super) struct Bars {
    pub title: String,
    /// What a bar is, with its unit.
    pub axis: &'static str,
    pub groups: Vec<String>,
    pub servers: Vec<(String, Vec<Option<Spread>>)>,
}

/// Latencies of each server, in microseconds.
pub(super) struct Curves {
    pub title: String,
    pub servers: Vec<(String, Histogram<u64>)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws bars into a file.
pub(super) fn bars(path: &Path, bars: &Bars) -> Result<(), Error> {
    save(path, |area| draw_bars(area, bars))
}

/// Draws curves into a file.
pub(super) fn curves(path: &Path, curves: &Curves) -> Result<(), Error> {
    save(path, |area| draw_curves(area, curves))
}

fn save(path: &Path, draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<(), Error> {
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?))
    };
    drawn.map_err(|error| Error::Io {
        doing: format!("draw --plot {}", path.display()),
        source: std::io::Error::other(error.to_string()),
    })?;
    std::fs::write(path, text).map_err(|source| Error::Io {
        doing: format!("write --plot {}", path.display()),
        source,
    })
}

fn words(size: i32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

fn colour(server: usize) -> RGBColor {
    COLOURS[server % COLOURS.len()]
}

/// The title, and below it the servers with their colours. What is left to draw on.
fn head<'a>(
    area: &Area<'a>,
    title: &str,
    names: &[&str],
) -> Result<Area<'a>, Box<dyn std::error::Error>> {
    let names = if names.len() > 1 { names } else { &[] };
    let (mut x, mut y) = (LEFT, 52);
    let places = names.iter().map(|name| {
        // About as wide as its letters are.
        let wide = 40 + 8 * name.chars().count() as i32;
        if x > LEFT && x + wide > area.dim_in_pixel().0 as i32 {
            (x, y) = (LEFT, y + 22);
        }
        let place = (x, y);
        x += wide;
        place
    });
    let places: Vec<_> = places.collect();
    let height = places.last().map_or(48, |(_, y)| y + 24);
    let (top, rest) = area.split_vertically(height);
    top.draw(&Text::new(title.to_owned(), (LEFT, 16), words(21)))?;
    for (n, (name, (x, y))) in names.iter().zip(places).enumerate() {
        top.draw(&Rectangle::new(
            [(x, y), (x + 12, y + 12)],
            colour(n).filled(),
        ))?;
        top.draw(&Text::new((*name).to_owned(), (x + 18, y - 1), words(14)))?;
    }
    Ok(rest)
}

/// Servers are compared within a group, and groups may be far apart: each has a scale of its own then.
fn draw_bars(area: &Area<'_>, bars: &Bars) -> Drawn {
    let names: Vec<_> = bars.servers.iter().map(|(name, _)| &**name).collect();
    let rest = head(area, &bars.title, &names)?;
    let (width, height) = rest.dim_in_pixel();
    let (left, right, bottom) = (24, 24, 58);
    let (width, base) = (width as i32 - left - right, height as i32 - bottom);
    let full = base - 34;
    let compares = bars.servers.len() > 1 && bars.groups.len() > 1;
    let scale = |group: usize| {
        let spreads = bars.servers.iter().flat_map(|(_, values)| {
            let values = values.iter().enumerate();
            values.filter_map(|(g, value)| value.filter(|_| !compares || g == group))
        });
        let greatest = spreads.map(|spread| spread.max).fold(0.0, f64::max);
        f64::from(full) / greatest.max(f64::MIN_POSITIVE)
    };
    let group_width = width / bars.groups.len().max(1) as i32;
    let servers = bars.servers.len().max(1) as i32;
    let bar = ((group_width - 40) / servers).clamp(4, 96);
    for (g, group) in bars.groups.iter().enumerate() {
        let middle = left + group_width * g as i32 + group_width / 2;
        let start = middle - bar * servers / 2;
        let scale = scale(g);
        for (s, (_, values)) in bars.servers.iter().enumerate() {
            let Some(spread) = values.get(g).copied().flatten() else {
                continue;
            };
            let y = |value: f64| base - (value * scale).round() as i32;
            let x = start + bar * s as i32;
            let gap = (bar / 12).max(1);
            rest.draw(&Rectangle::new(
                [(x + gap, y(spread.median)), (x + bar - gap, base)],
                colour(s).filled(),
            ))?;
            let centre = x + bar / 2;
            if spread.max > spread.min {
                rest.draw(&PathElement::new(
                    vec![(centre, y(spread.min)), (centre, y(spread.max))],
                    INK.stroke_width(2),
                ))?;
            }
            let place = Pos::new(HPos::Center, VPos::Bottom);
            let label = short(spread.median);
            let size = if bar < 44 { 11 } else { 14 };
            rest.draw(&Text::new(
                label,
                (centre, y(spread.max) - 7),
                words(size).pos(place),
            ))?;
        }
        let place = Pos::new(HPos::Center, VPos::Top);
        rest.draw(&Text::new(
            group.clone(),
            (middle, base + 8),
            words(15).pos(place),
        ))?;
    }
    rest.draw(&PathElement::new(
        vec![(left, base), (left + width, base)],
        INK.stroke_width(1),
    ))?;
    let scales = if compares {
        ", each group on a scale of its own"
    } else {
        ""
    };
    let note = format!("{}{scales}; lines: least to most of all rounds", bars.axis);
    let place = Pos::new(HPos::Center, VPos::Top);
    rest.draw(&Text::new(
        note,
        (left + width / 2, base + 33),
        words(13).pos(place),
    ))?;
    Ok(())
}

/// `1.2 M`, for a place above a bar.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value => number(Some(value)),
    }
}

/// Latency by percentile, as in the pictures of `HdrHistogram`: each nine more is as far from the last.
fn draw_curves(area: &Area<'_>, curves: &Curves) -> Drawn {
    let names: Vec<_> = curves.servers.iter().map(|(name, _)| &**name).collect();
    let rest = head(area, &curves.title, &names)?;
    let histograms = curves.servers.iter().map(|(_, histogram)| histogram);
    // A nine means something only where there are values enough for it.
    let longest = histograms.clone().map(Histogram::len).max().unwrap_or(0);
    let nines = (longest.max(10) as f64).log10().clamp(1.0, NINES_MAX);
    let quantile = |nines: f64| 1.0 - 10_f64.powf(-nines);
    let at = |histogram: &Histogram<u64>, nines| {
        histogram.value_at_quantile(quantile(nines)) as f64 / 1000.0
    };
    let values = histograms.flat_map(|histogram| [at(histogram, 0.0), at(histogram, nines)]);
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for value in values.filter(|value| *value > 0.0) {
        least = least.min(value);
        most = most.max(value);
    }
    let least = (least.min(most) * 0.7).max(0.001);
    let most = (most * 1.3).max(least * 10.0);
    let mut chart = ChartBuilder::on(&rest)
        .margin(16)
        .margin_right(44)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..nines, (least..most).log_scale())?;
    let thin = INK.mix(0.25);
    chart
        .configure_mesh()
        .bold_line_style(thin)
        .light_line_style(INK.mix(0.0))
        .axis_style(INK.stroke_width(1))
        .x_desc("percentile")
        .y_desc("milliseconds, committed to client")
        .axis_desc_style(words(14))
        .label_style(words(13))
        .x_labels(nines.ceil() as usize + 1)
        .x_label_formatter(&|nines| percentile(*nines))
        .y_label_formatter(&|ms| plain(*ms))
        .draw()?;
    for (n, (_, histogram)) in curves.servers.iter().enumerate() {
        let points = (0..=NINES_STEPS).map(|step| {
            let x = nines * f64::from(step) / f64::from(NINES_STEPS);
            (x, at(histogram, x).max(least))
        });
        chart.draw_series(LineSeries::new(points, colour(n).stroke_width(3)))?;
    }
    Ok(())
}

/// Without zeros that say nothing.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `99.9 %` of three nines.
fn percentile(nines: f64) -> String {
    let decimals = (nines.round() as usize).saturating_sub(2);
    format!("{:.decimals$} %", 100.0 - 100.0 * 10_f64.powf(-nines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_written_with_their_nines() {
        for (nines, text) in [
            (0.0, "0 %"),
            (1.0, "90 %"),
            (2.0, "99 %"),
            (3.0, "99.9 %"),
            (4.0, "99.99 %"),
        ] {
            assert_eq!(percentile(nines), text);
        }
        assert_eq!(short(1_234_567.0), "1.2 M");
        assert_eq!(short(98_765.0), "99 k");
        assert_eq!(short(7.5), "7.50");
        assert_eq!(
            (plain(100.0).as_str(), plain(0.25).as_str()),
            ("100", "0.25")
        );
    }
}
