//! A picture of how values spread: a lane for each group, a dot for each value.

use plotters::prelude::*;

use super::picture::{AXIS, COLOURS, FONT, GRID, WIDTH, span};
use crate::figures::Unit;
use crate::statistics::{quantile, sorted};
use crate::words::shown;

/// Lines of dots in a lane, so that equal values are seen beside each other.
const LINES: usize = 9;
/// The height of a lane.
const LANE: u32 = 64;

/// The picture; `None`: no value can be drawn. `groups`: a name, and values above 0 in this unit.
#[must_use]
pub fn spread(groups: &[(String, Vec<f64>)], unit: Unit) -> Option<String> {
    let (low, high) = span(groups.iter().flat_map(|(_, values)| values.iter().copied()))?;
    let mut svg = String::new();
    draw(groups, unit, (low, high), &mut svg).ok()?;
    Some(svg)
}

fn draw(
    groups: &[(String, Vec<f64>)],
    unit: Unit,
    (low, high): (f64, f64),
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let height = 40 + LANE * u32::try_from(groups.len())?;
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(40)
        .x_label_area_size(26)
        .y_label_area_size(170)
        .build_cartesian_2d((low..high).log_scale().base(10.0), 0.0..groups.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(AXIS)
        .label_style(FONT)
        .x_label_formatter(&|x| shown(*x, unit))
        .draw()?;
    for (at, (name, values)) in groups.iter().enumerate() {
        let middle = groups.len() as f64 - at as f64 - 0.5;
        let colour = COLOURS[at % COLOURS.len()];
        let values: Vec<f64> = sorted(values).into_iter().filter(|value| *value > 0.0).collect();
        let quarters = (quantile(&values, 0.25), quantile(&values, 0.75));
        if let (Some(first), Some(third)) = quarters {
            let corners = [(first, middle - 0.4), (third, middle + 0.4)];
            chart.draw_series([Rectangle::new(corners, colour.mix(0.2).filled())])?;
        }
        let dots = values.iter().enumerate().map(|(number, value)| {
            let line = (number % LINES) as f64 / (LINES - 1) as f64 - 0.5;
            Circle::new((*value, middle + 0.7 * line), 2, colour.mix(0.6).filled())
        });
        chart.draw_series(dots)?;
        if let Some(median) = quantile(&values, 0.5) {
            let ends = vec![(median, middle - 0.45), (median, middle + 0.45)];
            chart.draw_series([PathElement::new(ends, AXIS.stroke_width(2))])?;
        }
        let (_, y) = chart.plotting_area().map_coordinate(&(low, middle));
        area.draw_text(name, &FONT.into_text_style(&area), (12, y - 7))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_a_dot_and_each_group_has_a_median() {
        let groups = [("fast".to_owned(), vec![1e6, 2e6, 3e6]), ("slow".to_owned(), vec![1e9])];
        let svg = spread(&groups, Unit::Nanoseconds).expect("values");
        assert_eq!(svg.matches("<circle ").count(), 4);
        assert!(svg.contains("fast") && svg.contains("slow"), "{svg}");
        // The lines in the colour of the axis that are two wide.
        let medians = svg.matches("stroke=\"#000000\" stroke-width=\"2\"").count();
        assert_eq!(medians, 2, "{svg}");
        assert_eq!(spread(&[("none".to_owned(), vec![0.0])], Unit::Nanoseconds), None);
    }
}
