//! A picture of who ran when: a lane for each worker, a colour for each processor.

use plotters::prelude::*;

use super::picture::{COLOURS, FONT, GRID, WIDTH};
use crate::figures::{Timeline, Unit};
use crate::words::shown;

/// The picture; empty where it cannot be drawn.
pub(super) fn picture(timeline: &Timeline) -> String {
    let mut svg = String::new();
    if draw(timeline, &mut svg).is_err() {
        return "<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>".to_owned();
    }
    svg
}

fn draw(timeline: &Timeline, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let lanes = timeline.lanes.len();
    let height = 90 + 32 * u32::try_from(lanes)?;
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    let length = timeline.length.max(1.0);
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_top(34)
        .x_label_area_size(26)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..length, 0.0..lanes as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(BLACK)
        .label_style(FONT)
        .x_label_formatter(&|x| shown(*x, Unit::Nanoseconds))
        .draw()?;
    let mut cpus: Vec<usize> =
        timeline.lanes.iter().flat_map(|lane| &lane.runs).map(|run| run.cpu).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let colour =
        |cpu: usize| COLOURS[cpus.iter().position(|one| *one == cpu).unwrap_or(0) % COLOURS.len()];
    for (at, lane) in timeline.lanes.iter().enumerate() {
        let low = (lanes - 1 - at) as f64;
        let back = [(0.0, low + 0.15), (length, low + 0.85)];
        chart.draw_series([Rectangle::new(back, GRID.filled())])?;
        chart.draw_series(lane.runs.iter().map(|run| {
            Rectangle::new([(run.from, low + 0.15), (run.to, low + 0.85)], colour(run.cpu).filled())
        }))?;
        let (_, y) = chart.plotting_area().map_coordinate(&(0.0, low + 0.5));
        area.draw_text(&lane.worker, &FONT.into_text_style(&area), (12, y - 7))?;
    }
    for (at, cpu) in cpus.iter().enumerate() {
        let x = 100 + 90 * i32::try_from(at)?;
        area.draw(&Rectangle::new([(x, 10), (x + 16, 24)], colour(*cpu).filled()))?;
        area.draw_text(&format!("CPU {cpu}"), &FONT.into_text_style(&area), (x + 22, 10))?;
    }
    area.present()?;
    Ok(())
}
