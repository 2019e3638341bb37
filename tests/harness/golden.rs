//! Golden files: the texts that users read, so that a review shows each change of words.
//! `SUPERVISORD_RS_GOLDEN=write` writes them instead of comparing.

use super::repository;

/// Compares a text with `tests/golden/NAME`.
#[track_caller]
pub fn golden(name: &str, actual: &str) {
    let path = repository("tests/golden").join(name);
    if std::env::var_os("SUPERVISORD_RS_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::create_dir_all(path.parent().expect("a directory above")).expect("a directory");
        std::fs::write(&path, actual).expect("a golden file");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; SUPERVISORD_RS_GOLDEN=write writes it\n--- expected\n{expected}\n--- actual\n\
            {actual}",
        path.display()
    );
}
