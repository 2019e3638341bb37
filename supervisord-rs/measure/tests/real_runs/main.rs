//! Real runs of each axis, in this program: it starts itself again, as the product does.
//!
//! Figures are judged by structure and by sanity, never by their size: a busy machine fails no test.

mod dying;
mod sane;

use std::process::ExitCode;

/// The tests, by name.
const TESTS: [(&str, fn()); 4] = [
    ("every_axis_yields_figures_that_are_sane", sane::every_axis_yields_figures_that_are_sane),
    ("one_cpu_is_a_reason_and_no_failure", sane::one_cpu_is_a_reason_and_no_failure),
    ("the_json_has_the_shape_of_its_golden_file", sane::the_json_has_the_shape_of_its_golden_file),
    ("no_process_outlives_the_one_that_measures", dying::no_process_outlives_the_one_that_measures),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(exit) = measure::child::main(&arguments) {
        return exit;
    }
    let words: Vec<String> =
        arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.first().is_some_and(|word| word == dying::MEASURE) {
        dying::measure_for_ever();
    }
    if words.iter().any(|word| word == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    for (name, test) in TESTS {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            // A panic ends the program with 101, as libtest's.
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}
