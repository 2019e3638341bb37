//! Reports as JUnit XML, as Jenkins and GitLab read it, and as annotations of GitHub.

use std::fmt::Write as _;
use std::path::Path;

use super::verdict::{Failure, Report, Vacuous, Verdict};

/// The file: a suite for each scenario, a case for each of its runs, and one for a campaign that
/// never came where it was to come.
#[must_use]
pub(crate) fn junit(reports: &[Report], vacuous: &[Vacuous]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = counts(reports.iter(), vacuous.len());
    let _ = writeln!(xml, "<testsuites name=\"drill\" {counts}>");
    let mut names: Vec<&str> = reports.iter().map(|report| report.scenario.as_str()).collect();
    names.dedup();
    for name in names {
        let runs: Vec<&Report> = reports.iter().filter(|report| report.scenario == name).collect();
        let vacuous = vacuous.iter().find(|one| one.scenario == name);
        suite(&mut xml, name, &runs, vacuous);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, name: &str, runs: &[&Report], vacuous: Option<&Vacuous>) {
    let counts = counts(runs.iter().copied(), vacuous.iter().len());
    let _ = writeln!(xml, "  <testsuite name=\"{}\" {counts}>", text(name));
    let is_flaky = is_flaky(runs);
    for run in runs {
        let _ = write!(
            xml,
            "    <testcase classname=\"drill.{}\" name=\"{}\" time=\"{}\"",
            text(&class(&run.file)),
            text(&run.title()),
            seconds(run.took_ms)
        );
        let Some(failure) = &run.failure else {
            xml.push_str("/>\n");
            continue;
        };
        let (element, kind) = match run.verdict {
            Verdict::Failed | Verdict::Held if is_flaky => ("failure", "flaky"),
            Verdict::Failed | Verdict::Held => ("failure", "unmet"),
            Verdict::Unsteady => ("error", "unsteady"),
            Verdict::Unfinished => ("error", "unfinished"),
        };
        let message = text(&format!("{}: {}", failure.place(), failure.line()));
        let body = text(&told(run, failure));
        let _ = writeln!(
            xml,
            ">\n      <{element} type=\"{kind}\" message=\"{message}\">{body}</{element}>\n    \
             </testcase>"
        );
    }
    if let Some(vacuous) = vacuous {
        let (class, message) = (text(&class(&vacuous.file)), text(&vacuous.message()));
        let _ = writeln!(
            xml,
            "    <testcase classname=\"drill.{class}\" name=\"sometimes\" time=\"0.000\">\n      \
             <failure type=\"vacuous\" message=\"{message}\"/>\n    </testcase>"
        );
    }
    xml.push_str("  </testsuite>\n");
}

fn class(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether some runs held and some did not.
fn is_flaky(runs: &[&Report]) -> bool {
    let held = runs.iter().filter(|run| run.verdict == Verdict::Held).count();
    held > 0 && held < runs.len()
}

/// `vacuous`: campaigns, each a case and a failure more.
fn counts<'a>(runs: impl Iterator<Item = &'a Report>, vacuous: usize) -> String {
    let (mut tests, mut failures, mut errors, mut took_ms) = (vacuous, vacuous, 0, 0);
    for run in runs {
        tests += 1;
        took_ms += run.took_ms;
        match run.verdict {
            Verdict::Held => {}
            Verdict::Failed => failures += 1,
            Verdict::Unsteady | Verdict::Unfinished => errors += 1,
        }
    }
    let time = seconds(took_ms);
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{time}\"")
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// All that is known of a failure, for people.
#[must_use]
pub(crate) fn told(report: &Report, failure: &Failure) -> String {
    let mut told = String::new();
    let mut line = |text: &str| {
        told.push_str(text);
        told.push('\n');
    };
    for unmet in &failure.unmet {
        line(&format!("  expected: {}", unmet.expected));
        line(&format!("  seen:     {}", unmet.seen));
    }
    for storm in &report.storms {
        line(&format!("  storm: {}", storm.line()));
    }
    if let Some(shrunk) = &failure.shrunk {
        line(&format!("  shrunk: {}", shrunk.line()));
    }
    for incident in &report.incidents {
        line(&format!("  {incident}"));
    }
    for (worker, lines) in &failure.output {
        line(&format!("  last lines of {worker}:"));
        lines.iter().for_each(|one| line(&format!("    | {one}")));
    }
    if !failure.log.is_empty() {
        line("  last lines of the supervisor:");
        failure.log.iter().for_each(|one| line(&format!("    | {one}")));
    }
    if let Some(directory) = &report.directory {
        line(&format!("  kept in {}", directory.display()));
    }
    line(&format!("  again: {}", failure.repeat));
    told
}

/// Text in an element or an attribute. What XML 1.0 has no character for is escaped as in Rust.
fn text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // A reader would make spaces of them in an attribute.
            '\n' => safe.push_str("&#10;"),
            '\t' => safe.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => safe.extend(letter.escape_unicode()),
            letter if letter.is_control() => safe.extend(letter.escape_unicode()),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A line for each run that did not hold, which GitHub shows at its place in the file.
#[must_use]
pub(crate) fn annotations(reports: &[Report], vacuous: &[Vacuous]) -> Vec<String> {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let failed = reports.iter().filter_map(|report| Some((report, report.failure.as_ref()?)));
    let vacuous = vacuous.iter().map(|one| {
        format!(
            "::error file={},line={},title={}::{}",
            property(&one.file.display().to_string()),
            one.line,
            property(&one.scenario),
            data(&one.message())
        )
    });
    failed
        .map(|(report, failure)| {
            format!(
                "::error file={},line={},title={}::{}",
                property(&report.file.display().to_string()),
                failure.line.max(1),
                property(&report.title()),
                data(&format!("{}: {}\n{}", failure.place(), failure.line(), failure.repeat))
            )
        })
        .chain(vacuous)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_xml_is_the_text_whatever_it_has() {
        assert_eq!(text("a<b> & \"c\"\n"), "a&lt;b&gt; &amp; &quot;c&quot;&#10;");
        assert_eq!(text("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(text("größer\u{ffff}"), "größer\\u{ffff}");
    }

    #[test]
    fn times_are_in_seconds() {
        assert_eq!([0, 7, 1234, 61_000].map(seconds), ["0.000", "0.007", "1.234", "61.000"]);
    }
}
