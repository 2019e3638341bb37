//! Pictures of a table: lines where its rows have numbers, bars elsewhere.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::figures::{Entry, Figure, Place, Row, Table, Unit};
use crate::words::shown;

/// The size of a picture; a browser scales it.
pub(super) const WIDTH: u32 = 900;
/// Text in it.
pub(super) const FONT: (&str, i32) = ("sans-serif", 14);
/// They are seen on white and on black, and differ for those who see few colours (Okabe and Ito).
pub(super) const COLOURS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x80, 0x80, 0x80),
    RGBColor(0x8C, 0x56, 0x4B),
];
/// The style sheet gives these two the colours of the page.
pub(super) const AXIS: RGBColor = RGBColor(0, 0, 0);
pub(super) const GRID: RGBColor = RGBColor(1, 1, 1);

/// What plotters may fail with: it writes into a string, which does not fail.
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Captions and pictures; none where the table has no figures that differ.
pub(super) fn pictures(table: &Table) -> Vec<(String, String)> {
    let groups = groups(table);
    let is_line = |group: &Group<'_>| group.lines.iter().any(|line| line.points.len() > 1);
    if !groups.iter().any(is_line) {
        let caption = "A bar for each figure; the mark in it is its limit.".to_owned();
        return bars(table).into_iter().map(|svg| (caption.clone(), svg)).collect();
    }
    let drawn = |group: Group<'_>| Some((caption(&group), lines(table, &group)?));
    groups.into_iter().filter(is_line).filter_map(drawn).collect()
}

fn caption(group: &Group<'_>) -> String {
    let has = |place| group.lines.iter().any(|line| line.place == place);
    let mut styles = Vec::new();
    for (place, style) in [
        (Place::Process, "solid: processes"),
        (Place::Thread, "dashed: threads"),
        (Place::Cell, "dotted: a cell"),
    ] {
        if has(place) {
            styles.push(style);
        }
    }
    let name = if group.name.is_empty() { String::new() } else { format!("On {}. ", group.name) };
    let mut styles = styles.join(", ");
    if let Some(first) = styles.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("{name}{styles}.")
}

/// One picture of lines.
struct Group<'a> {
    name: &'a str,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    name: &'a str,
    place: Place,
    points: Vec<(f64, Figure)>,
}

/// Rows by their series, and series by the processors at their end.
fn groups(table: &Table) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in &table.rows {
        let (Some(series), Some(x)) = (row.series.as_deref(), row.x) else { continue };
        let (line, group) = match series.rsplit_once(", ") {
            Some((line, group)) if group.ends_with("CPU") || group.ends_with("CPUs") => {
                (line, group)
            }
            _ => (series, ""),
        };
        for place in [Place::Thread, Place::Cell, Place::Process] {
            let is_own = matches!(row.entry(place), Some(Entry::Figure(_)));
            let Some(figure) = row.figure(place).filter(|figure| is_own && figure.median > 0.0)
            else {
                continue;
            };
            let at = groups.iter().position(|one| one.name == group).unwrap_or_else(|| {
                groups.push(Group { name: group, lines: Vec::new() });
                groups.len() - 1
            });
            let lines = &mut groups[at].lines;
            let at = lines
                .iter()
                .position(|one| one.name == line && one.place == place)
                .unwrap_or_else(|| {
                    lines.push(Line { name: line, place, points: Vec::new() });
                    lines.len() - 1
                });
            lines[at].points.push((x, *figure));
        }
    }
    groups
}

/// Of the logarithms: what people count in.
const fn base(unit: Unit) -> f64 {
    match unit {
        Unit::Bytes => 2.0,
        _ => 10.0,
    }
}

/// The smallest and the largest of these, with some room.
pub(super) fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|value| *value > 0.0)
        .fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    (low <= high).then_some((low / 1.5, high * 1.5))
}

fn lines(table: &Table, group: &Group<'_>) -> Option<String> {
    let all = || group.lines.iter().flat_map(|line| &line.points);
    let (low, high) = span(all().flat_map(|(_, figure)| [figure.low, figure.median, figure.high]))?;
    // A working set of 0 has no logarithm: it stands left of the others.
    let least = all().map(|(x, _)| *x).filter(|x| *x > 0.0).fold(f64::MAX, f64::min);
    let place = |x: f64| if x > 0.0 { x } else { least / 4.0 };
    let (left, right) = span(all().map(|(x, _)| place(*x)))?;
    let mut svg = String::new();
    let draw = |svg: &mut String| -> Drawn {
        let names: Vec<&str> = group.lines.iter().map(|line| line.name).collect();
        let area = SVGBackend::with_string(svg, (WIDTH, 420)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(76)
            .build_cartesian_2d(
                (left..right).log_scale().base(base(table.x.unwrap_or(Unit::Count))),
                (low..high).log_scale().base(base(table.unit)),
            )?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(AXIS)
            .label_style(FONT)
            .x_label_formatter(&|x| shown(*x, table.x.unwrap_or(Unit::Count)))
            .y_label_formatter(&|y| shown(*y, table.unit))
            .draw()?;
        for line in &group.lines {
            let colour = COLOURS[first(&names, line.name) % COLOURS.len()];
            let points: Vec<(f64, f64)> =
                line.points.iter().map(|(x, figure)| (place(*x), figure.median)).collect();
            let style = colour.stroke_width(2);
            if line.place == Place::Process {
                let drawn = chart.draw_series(LineSeries::new(points.clone(), style))?;
                drawn
                    .label(line.name)
                    .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
            } else {
                let dash = if line.place == Place::Cell { (2, 5) } else { (6, 4) };
                chart.draw_series(DashedLineSeries::new(points.clone(), dash.0, dash.1, style))?;
                let is_alone = line.place == Place::Thread
                    && !group
                        .lines
                        .iter()
                        .any(|other| other.name == line.name && other.place == Place::Process);
                if is_alone {
                    // It has no line of processes that would be in the legend.
                    chart
                        .draw_series(LineSeries::new(points.iter().take(1).copied(), style))?
                        .label(format!("{} (threads)", line.name))
                        .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
                }
            }
            chart.draw_series(points.iter().map(|at| Circle::new(*at, 3, colour.filled())))?;
            chart.draw_series(line.points.iter().map(|(x, figure)| {
                let x = place(*x);
                let ends = vec![(x, figure.low.max(low)), (x, figure.high)];
                PathElement::new(ends, colour.stroke_width(1))
            }))?;
        }
        // One alone is what the table is about.
        if names.iter().any(|name| *name != names[0]) {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(TRANSPARENT)
                .border_style(TRANSPARENT)
                .label_font(FONT)
                .draw()?;
        }
        area.present()?;
        Ok(())
    };
    let is_drawn = draw(&mut svg).is_ok();
    is_drawn.then_some(svg)
}

/// The place of the first of this name, among different names.
fn first(names: &[&str], name: &str) -> usize {
    let mut seen: Vec<&str> = Vec::new();
    for one in names {
        if !seen.contains(one) {
            seen.push(one);
        }
    }
    seen.iter().position(|one| *one == name).unwrap_or(0)
}

/// One bar for each figure, with its name and its value.
fn bars(table: &Table) -> Option<String> {
    let mut bars: Vec<(String, &Row, Place, Figure)> = Vec::new();
    for row in &table.rows {
        for place in [Place::Thread, Place::Cell, Place::Process] {
            let is_own = matches!(row.entry(place), Some(Entry::Figure(_)));
            let figure = row.figure(place).filter(|figure| is_own && figure.median > 0.0);
            if let Some(figure) = figure {
                bars.push((format!("{}, {}", row.name, place.name()), row, place, *figure));
            }
        }
    }
    let (low, high) = span(bars.iter().map(|bar| bar.3.median))?;
    let count = bars.len();
    let height = 40 + 22 * u32::try_from(count).ok()?;
    let mut svg = String::new();
    let draw = |svg: &mut String| -> Drawn {
        let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(40)
            .x_label_area_size(24)
            .y_label_area_size(330)
            .build_cartesian_2d(
                (low..high).log_scale().base(base(table.unit)),
                0.0..count as f64,
            )?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(AXIS)
            .label_style(FONT)
            .x_label_formatter(&|x| shown(*x, table.unit))
            .draw()?;
        for (at, (name, row, place, figure)) in bars.iter().enumerate() {
            let middle = count as f64 - at as f64 - 0.5;
            let colour = COLOURS[match place {
                Place::Process => 0,
                Place::Thread => 1,
                Place::Cell => 2,
            }];
            let corners = [(low, middle - 0.32), (figure.median, middle + 0.32)];
            chart.draw_series([Rectangle::new(corners, colour.filled())])?;
            if let Some(limit) = row.limit_median().filter(|limit| *limit > low && *limit < high) {
                let ends = vec![(limit, middle - 0.45), (limit, middle + 0.45)];
                chart.draw_series([PathElement::new(ends, AXIS.stroke_width(2))])?;
            }
            label(&area, &chart, name, middle)?;
        }
        area.present()?;
        Ok(())
    };
    let is_drawn = draw(&mut svg).is_ok();
    is_drawn.then_some(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::combinators::LogCoord<f64>, RangedCoordf64>,
>;

/// The name of a bar, left of it.
fn label(area: &Area<'_>, chart: &Chart<'_, '_>, name: &str, middle: f64) -> Drawn {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let (_, y) = chart.plotting_area().map_coordinate(&(1.0, middle));
    let style = FONT.into_text_style(area).pos(Pos::new(HPos::Right, VPos::Center));
    area.draw_text(name, &style, (332, y))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_says_what_the_lines_are() {
        let caption_of = |name, places: &[Place]| {
            let line = |place| Line { name: "ring", place, points: Vec::new() };
            caption(&Group { name, lines: places.iter().copied().map(line).collect() })
        };
        let both = caption_of("two CPUs", &[Place::Process, Place::Thread]);
        assert_eq!(both, "On two CPUs. Solid: processes, dashed: threads.");
        assert_eq!(caption_of("", &[Place::Cell]), "Dotted: a cell.");
    }
}
