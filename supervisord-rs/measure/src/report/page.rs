//! The page of a measurement.

mod picture;
mod spread;
mod timeline;

use std::fmt::Write as _;

pub use spread::spread;

use super::document::{document, escaped, figure};
use super::text::{cell, untaken};
use crate::figures::{Entry, Measured, Place, Report, Row, Table};
use crate::words::shown;

/// The whole page.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = String::new();
    let kind = if report.quick { "quickly, with few rounds" } else { "in full" };
    let _ = writeln!(
        page,
        "<p>supervisord-rs {}, measured {kind} in {:.0} seconds on {}</p>",
        escaped(&report.program),
        report.seconds,
        escaped(&report.machine.sentence())
    );
    page.push_str("<nav><ul>\n");
    for measured in &report.axes {
        let axis = measured.axis.name();
        let _ = writeln!(page, "<li><a href=\"#{axis}\">{axis}</a></li>");
    }
    page.push_str("</ul></nav>\n");
    for measured in &report.axes {
        section(&mut page, measured);
    }
    page.push_str(
        "<h2 id=\"how\">How it was measured</h2>\n<p>A figure is the median of rounds in which all \
         cases take turns, one by one, forwards and backwards. ± is half of the span of the middle \
         half of the rounds; x says how many times its limit a figure is, in the same rounds; p99 is \
         what 99 of 100 single events do not exceed. The limit is the bare loop that does the same \
         without a supervisor. A cell is one process with several workers as its threads; \
         <q>as thread</q> stands where its mechanism is that of threads. In pictures thin lines are \
         the middle half of the rounds.</p>\n",
    );
    document("What threads and processes cost here", "", &page)
}

fn section(page: &mut String, measured: &Measured) {
    let axis = measured.axis.name();
    let _ = write!(
        page,
        "<section>\n<h2 id=\"{axis}\">{axis}</h2>\n<p class=\"question\">{}</p>\n\
         <blockquote>\n",
        escaped(&measured.question)
    );
    for sentence in &measured.meaning {
        let _ = writeln!(page, "<p>{}</p>", escaped(sentence));
    }
    page.push_str("</blockquote>\n");
    for one in &measured.timelines {
        page.push_str(&figure(&timeline::picture(one), &one.title, &one.title));
    }
    for one in &measured.tables {
        table(page, one);
    }
    if !measured.notes.is_empty() {
        page.push_str("<ul class=\"notes\">\n");
        for note in &measured.notes {
            let _ = writeln!(page, "<li>{}</li>", escaped(note));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</section>\n");
}

fn table(page: &mut String, table: &Table) {
    let _ = writeln!(page, "<h3>{}</h3>", escaped(&table.title));
    for (caption, svg) in picture::pictures(table) {
        page.push_str(&figure(&svg, &table.title, &caption));
    }
    page.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th></th><th>limit</th><th>thread</th>\
         <th>cell</th><th>process</th></tr></thead>\n<tbody>\n",
    );
    for row in &table.rows {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td>{}{}{}</tr>",
            escaped(&row.name),
            escaped(&limit(row, table)),
            figure_cell(row, Place::Thread, table),
            figure_cell(row, Place::Cell, table),
            figure_cell(row, Place::Process, table),
        );
    }
    let _ = write!(
        page,
        "</tbody>\n</table></div>\n<p class=\"limit\">Limit: {}.",
        escaped(&table.limit)
    );
    for (why, rows) in untaken(table) {
        let _ = write!(page, "<br>Not taken: {}: {}.", escaped(&rows), escaped(why));
    }
    page.push_str("</p>\n");
}

fn limit(row: &Row, table: &Table) -> String {
    let bare = |entry: &Option<Entry>| match entry {
        Some(Entry::Figure(figure)) => Some(shown(figure.median, table.unit)),
        Some(Entry::As(_) | Entry::Untaken(_)) | None => None,
    };
    match (bare(&row.limit), bare(&row.process_limit)) {
        (Some(limit), Some(of_process)) => format!("{limit}; process {of_process}"),
        (Some(limit), None) => limit,
        (None, of_process) => of_process.unwrap_or_else(|| "–".to_owned()),
    }
}

fn figure_cell(row: &Row, place: Place, table: &Table) -> String {
    let entry = row.entry(place);
    let class = match entry {
        Some(Entry::Figure(_)) => "",
        Some(Entry::As(_) | Entry::Untaken(_)) | None => " class=\"none\"",
    };
    format!("<td{class}>{}</td>", escaped(&cell(entry, table.unit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axes::Axis;
    use crate::figures::{Better, Lane, Run, Timeline, Unit};
    use crate::machine::Machine;
    use crate::pinning::Cpus;
    use crate::rounds::Samples;

    /// A report of each kind of entry, with text that HTML has to be kept from.
    fn report() -> Report {
        let known = Samples::known;
        let mut measured = Measured::new(Axis::Communication);
        let (ns, less) = (Unit::Nanoseconds, Better::Less);
        let mut lines = Table::new("latency", "a <b> & \"c\"", ns, less, "x").over(Unit::Bytes);
        for size in [8.0, 1024.0, 65536.0] {
            let row = Row::new(format!("pipe, {size}")).at("pipe, one CPU", size);
            lines.rows.push(row.with(&known(1000.0), &known(size), &known(size * 2.0)));
        }
        let mut bars = Table::new("lost", "bars", Unit::Count, less, "x");
        let mut row = Row::new("<script>alert(1)</script>");
        row.thread = Entry::untaken("because & why");
        row.process = Entry::of(&known(3.0));
        bars.rows.push(row);
        measured.tables = vec![lines, bars];
        let run = |cpu, from, to| Run { cpu, from, to };
        measured.timelines.push(Timeline {
            title: "who ran when".to_owned(),
            place: Place::Process,
            cpus: 2,
            length: 1e7,
            lanes: vec![
                Lane { worker: "worker 1".to_owned(), runs: vec![run(0, 0.0, 4e6)] },
                Lane { worker: "worker 2".to_owned(), runs: vec![run(1, 2e6, 9e6)] },
            ],
        });
        measured.meaning = vec!["One < two.".to_owned(), "Two.".to_owned()];
        Report {
            version: 1,
            program: "0.1.0".to_owned(),
            quick: true,
            seconds: 2.0,
            machine: Machine::of(&Cpus::of_this_process().expect("processors")),
            axes: vec![measured],
        }
    }

    /// Each element that is opened is closed in its order; returns the names of all.
    fn elements(page: &str) -> Vec<String> {
        const EMPTY: [&str; 2] = ["meta", "br"];
        let (mut open, mut all) = (Vec::new(), Vec::new());
        let mut rest = page;
        while let Some((_, after)) = rest.split_once('<') {
            let (tag, after) = after.split_once('>').expect("a tag that ends");
            rest = after;
            if tag.starts_with('!') {
                continue;
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name: String = tag
                .trim_start_matches('/')
                .chars()
                .take_while(|letter| letter.is_alphanumeric())
                .collect();
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(name.as_str()), "</{name}>");
            } else if !tag.ends_with('/') && !EMPTY.contains(&name.as_str()) {
                open.push(name.clone());
            }
            all.push(name);
        }
        assert!(open.is_empty(), "{open:?}");
        all
    }

    #[test]
    fn the_page_is_well_formed_and_complete_in_itself() {
        let page = html(&report());
        let all = elements(&page);
        for name in ["svg", "table", "figcaption", "blockquote", "style"] {
            assert!(all.iter().any(|one| one == name), "{name}");
        }
        for foreign in ["script", "link", "img", "iframe", "object", "image", "use", "base"] {
            assert!(!all.iter().any(|one| one == foreign), "{foreign}");
        }
        // The name of a name space is no address that a browser asks.
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for foreign in ["http:", "https:", "url(", "@import", " src=", "javascript:"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn text_is_text_whatever_it_is() {
        let page = html(&report());
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("a &lt;b&gt; &amp; &quot;c&quot;"));
        assert!(page.contains("One &lt; two.") && page.contains("because &amp; why"));
    }

    #[test]
    fn there_is_a_picture_of_lines_of_bars_and_of_who_ran_when() {
        let page = html(&report());
        assert_eq!(page.matches("<svg ").count(), 3);
        assert_eq!(page.matches("role=\"img\"").count(), 3, "each is described");
        for words in ["@media print", "prefers-color-scheme: dark"] {
            assert!(page.contains(words), "{words}");
        }
    }
}
