//! A matrix as one page for a browser: a heat map of who was lost, how the times of recovery
//! spread, and for each cell its incidents and the command that tries it again. A click on a cell
//! is a link to its section, which the style sheet shows then: no script is needed.

use std::fmt::Write as _;

use measure::figures::Unit;
use measure::report::{document, escaped, figure, spread};

use super::table::{radius, told};
use super::{Cell, Matrix};
use crate::drill::outcome::Trial;
use crate::record::words::duration_us;

const STYLE: &str = include_str!("page/style.css");

/// What the colours of the heat map mean.
const LEGEND: [(&str, &str); 5] = [
    ("none-lost", "no worker lost"),
    ("one-lost", "one"),
    ("some-lost", "some"),
    ("all-lost", "all"),
    ("supervisor-lost", "all, and the supervisor"),
];

/// The whole page.
#[must_use]
pub(crate) fn html(matrix: &Matrix) -> String {
    let mut page = String::new();
    let jobs = match matrix.jobs {
        1 => "one after the other".to_owned(),
        jobs => format!("{jobs} at once"),
    };
    let times =
        if matrix.repeat == 1 { "once".to_owned() } else { format!("{} times", matrix.repeat) };
    let _ = write!(
        page,
        "<p>supervisord-rs {}: each fault in each isolation {times}, {jobs}, interleaved, in {:.0} \
         seconds on {}</p>\n<blockquote><p>{}</p></blockquote>\n",
        escaped(matrix.program),
        matrix.seconds,
        escaped(&matrix.circumstances()),
        escaped(&matrix.conclusion())
    );
    if !matrix.left.is_empty() {
        let _ = writeln!(page, "<p>Left behind: {}.</p>", escaped(&matrix.left.join("; ")));
    }
    heat_map(&mut page, matrix);
    page.push_str("<h2 id=\"times\">Times</h2>\n");
    times_of(&mut page, matrix, "From a fault until all ran again", |trial| trial.back_after_us);
    times_of(&mut page, matrix, "From a fault until it was seen", |trial| trial.seen_after_us);
    page.push_str(
        "<h2 id=\"cells\">Cells</h2>\n<p>Those that are not as the catalogue says, and the one \
                   that you have clicked.</p>\n",
    );
    matrix.cells.iter().enumerate().for_each(|(number, cell)| section(&mut page, number, cell));
    document("What each fault destroys", STYLE, &page)
}

fn heat_map(page: &mut String, matrix: &Matrix) {
    page.push_str("<h2 id=\"radius\">Blast radius</h2>\n<p class=\"legend\">");
    for (class, words) in LEGEND {
        let _ = write!(page, "<span class=\"{class}\">{words}</span> ");
    }
    let _ = write!(
        page,
        "</p>\n<p>How many of {} workers were lost, + where the supervisor died too, and the median of \
         the times until all ran again. (!) and a frame: not as the catalogue says. Click on a cell for \
         its incidents, and for the command that tries it again.</p>\n\
         <div class=\"wide\"><table class=\"heat\">\n<thead><tr><th>fault in {}</th>",
        matrix.cells.iter().map(Cell::running).max().unwrap_or(0),
        escaped(&matrix.worker)
    );
    for column in &matrix.columns {
        let _ = write!(page, "<th>{column}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    let width = matrix.columns.len().max(1);
    for (row, cells) in matrix.cells.chunks(width).enumerate() {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", escaped(&cells[0].fault));
        for (column, cell) in cells.iter().enumerate() {
            let _ = match cell.impossible {
                Some(why) => write!(page, "<td class=\"none\" title=\"{}\">–</td>", escaped(why)),
                None => write!(
                    page,
                    "<td class=\"{}\"><a href=\"#{}\">{}</a></td>",
                    class(cell),
                    id(row * width + column),
                    escaped(&told(cell))
                ),
            };
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

fn class(cell: &Cell) -> String {
    let damage = match cell.radius() {
        None => "none",
        Some((_, _, true)) => "supervisor-lost",
        Some((_, 0, false)) => "none-lost",
        Some((_, most, false)) if most == cell.running() => "all-lost",
        Some((_, 1, false)) => "one-lost",
        Some((_, _, false)) => "some-lost",
    };
    if cell.differs.is_empty() { damage.to_owned() } else { format!("{damage} differs") }
}

fn id(number: usize) -> String {
    format!("cell-{number}")
}

/// How a time of the trials spreads in each column.
fn times_of(page: &mut String, matrix: &Matrix, title: &str, time: fn(&Trial) -> Option<u64>) {
    let of_column = |at: usize| {
        let cells = matrix.cells.iter().skip(at).step_by(matrix.columns.len().max(1));
        let times = cells.flat_map(|cell| &cell.trials).filter_map(time);
        times.map(|us| us as f64 * 1000.0).collect::<Vec<f64>>()
    };
    let columns = matrix.columns.iter().enumerate();
    let groups: Vec<_> = columns.map(|(at, column)| (column.name(), of_column(at))).collect();
    let Some(svg) = spread(&groups, Unit::Nanoseconds) else { return };
    let caption = format!(
        "{title}: a dot for each trial, the median as a line, the middle half as a band. What only a \
         missing heartbeat shows takes its 500 ms."
    );
    page.push_str(&figure(&svg, title, &caption));
}

fn section(page: &mut String, number: usize, cell: &Cell) {
    if cell.impossible.is_some() {
        return;
    }
    let differs = if cell.differs.is_empty() { "" } else { " differs" };
    let _ = write!(
        page,
        "<section class=\"cell{differs}\" id=\"{}\">\n<h3>{} as {}: {} lost, expected: {}</h3>\n",
        id(number),
        escaped(&cell.fault),
        cell.column,
        radius(cell),
        escaped(cell.expected)
    );
    let unfinished = cell.unfinished.iter().map(|why| format!("could not be finished: {why}"));
    let wrong: Vec<String> = cell.differs.iter().cloned().chain(unfinished).collect();
    if !wrong.is_empty() {
        page.push_str("<ul>\n");
        wrong.iter().for_each(|one| _ = writeln!(page, "<li>{}</li>", escaped(one)));
        page.push_str("</ul>\n");
    }
    page.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th>trial</th><th>lost</th><th>supervisor</th>\
         <th>seen</th><th>back</th><th>incident</th></tr></thead>\n<tbody>\n",
    );
    for (at, trial) in cell.trials.iter().enumerate() {
        let time = |us: Option<u64>| us.map_or_else(|| "–".to_owned(), duration_us);
        let lost = if trial.lost.is_empty() { "–".to_owned() } else { trial.lost.join(" ") };
        let told = [std::slice::from_ref(&trial.sentence), &trial.others].concat().join("; ");
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            at + 1,
            escaped(&lost),
            if trial.supervisor_died { "died" } else { "alive" },
            time(trial.seen_after_us),
            time(trial.back_after_us),
            escaped(&told)
        );
    }
    let again = escaped(&cell.again);
    let _ = write!(page, "</tbody>\n</table></div>\n<pre>{again}</pre>\n</section>\n");
}
