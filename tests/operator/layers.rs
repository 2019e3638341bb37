//! The order of the rooms. `docs/ARCHITECTURE.md` draws it, and this test reads the drawing: each
//! import in the sources leads to a room below its own, and files of one room form no circle.

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/imports.rs"]
mod imports;

use std::collections::BTreeMap;

use imports::{Import, Sources};

use crate::harness::repository;

/// Begins the part of the page that has the drawing, and the list of circles after it.
const HEADING: &str = "\n## The layers\n";

/// The rooms by their modules, as `control::protocol`, with their layers: 0 is the uppermost.
struct Layers {
    of: BTreeMap<String, usize>,
    /// Files of one room that use each other, as the page lists them.
    circles: Vec<Vec<String>>,
}

impl Layers {
    /// Reads the two blocks: a line of the first is a layer, from above; its rooms have a ` · `
    /// between them, and a description after three spaces. A line of the second is a circle.
    fn of_page(page: &str) -> Self {
        let (_, part) = page.split_once(HEADING).expect("a page with the layers");
        let part = part.split("\n## ").next().unwrap_or_default();
        let mut blocks = part.split("```").skip(1).step_by(2).map(|block| {
            let lines = block.lines().skip(1).filter(|line| !line.trim().is_empty());
            let rooms = |line: &str| -> Vec<String> {
                let names = line.split("   ").next().unwrap_or_default();
                names.split(" · ").map(|name| name.trim().to_owned()).collect()
            };
            lines.map(rooms).collect::<Vec<_>>()
        });
        let mut of = BTreeMap::new();
        for (layer, rooms) in blocks.next().expect("a drawing").into_iter().enumerate() {
            for room in rooms {
                assert_eq!(of.insert(room.clone(), layer), None, "{room} is drawn twice");
            }
        }
        Self { of, circles: blocks.next().unwrap_or_default() }
    }

    /// The room of a module: the smallest that is drawn.
    fn room<'a>(&'a self, module: &str) -> Option<(&'a str, usize)> {
        let mut name = module;
        loop {
            if let Some((room, layer)) = self.of.get_key_value(name) {
                return Some((room, *layer));
            }
            name = name.rsplit_once("::")?.0;
        }
    }

    /// What this import does against the drawing, in a sentence.
    fn objection(&self, import: &Import<'_>) -> Option<String> {
        let (Some((from, above)), Some((to, below))) =
            (self.room(&import.from.module), self.room(&import.to.module))
        else {
            return None;
        };
        if from == to || above < below {
            return None;
        }
        let place = if above == below { "beside" } else { "above" };
        Some(format!("{import}: {to} is drawn {place} {from}"))
    }
}

/// All that is wrong, a line each.
fn objections(sources: &Sources, layers: &Layers) -> Vec<String> {
    let undrawn = sources
        .files()
        .filter(|file| !file.module.is_empty() && layers.room(&file.module).is_none())
        .map(|file| format!("{} is in no room that docs/ARCHITECTURE.md draws", file.path));
    let missing = layers
        .of
        .keys()
        .filter(|room| sources.files().all(|file| file.module != **room))
        .map(|room| format!("docs/ARCHITECTURE.md draws {room}, which is not there"));
    let imports = sources.imports();
    let mut all: Vec<String> = undrawn.chain(missing).collect();
    all.extend(imports.iter().filter_map(|import| layers.objection(import)));
    let mut found = circles::of(&imports);
    for listed in &layers.circles {
        let before = found.len();
        found.retain(|circle| !circle.modules.iter().all(|module| listed.contains(module)));
        if found.len() == before {
            let listed = listed.join(" · ");
            all.push(format!("docs/ARCHITECTURE.md lists a circle that is not there: {listed}"));
        }
    }
    all.extend(found.iter().map(ToString::to_string));
    all
}

#[test]
fn every_import_leads_downwards_and_no_files_form_a_circle() {
    let page = std::fs::read_to_string(repository("docs/ARCHITECTURE.md")).expect("the page");
    let sources = Sources::below("supervisord-rs/src");
    assert!(sources.imports().len() > 500, "{}", sources.imports().len());
    let found = objections(&sources, &Layers::of_page(&page));
    assert!(found.is_empty(), "{} objections:\n{}", found.len(), found.join("\n"));
}

const DRAWING: &str = "# x\n\n## The layers\n\n```text\ntop   what is above\nmiddle · side\n\
    top::ground\n```\n\n```text\nside::a · side::b\n```\n\n## More\n";

/// What is found in these files.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let whole = [("lib.rs", ""), ("top.rs", ""), ("middle.rs", ""), ("top/ground.rs", "")];
    let kept = whole.iter().filter(|(path, _)| files.iter().all(|(other, _)| other != path));
    let circle =
        [("side.rs", ""), ("side/a.rs", "use super::b::X;\n"), ("side/b.rs", "use super::a::Y;\n")];
    let all = kept.chain(&circle).chain(files).map(|(path, text)| (*path, *text));
    objections(&Sources::new(all), &Layers::of_page(DRAWING))
}

#[test]
fn an_import_against_the_layers_is_named_with_both_files_and_its_line() {
    for (path, text, expected) in [
        ("middle.rs", "\nuse crate::top::X;\n", "middle.rs:2 imports top.rs: top is drawn above"),
        ("middle.rs", "use crate::{side, top::{X, Y}};", "side is drawn beside middle"),
        ("middle.rs", "fn f() {\n    crate::top::f()\n}\n", "middle.rs:2 imports top.rs"),
        ("top/ground.rs", "fn f() {\n\n    super::f()\n}\n", "top/ground.rs:3 imports top.rs"),
        (
            "top/ground.rs",
            "mod x {\n    use super::super::X;\n}\n",
            "top/ground.rs:2 imports top.rs",
        ),
    ] {
        let found = found(&[(path, text)]);
        assert!(found.iter().any(|line| line.contains(expected)), "{text}: {found:?}");
    }
    for text in [
        "use crate::top::ground::X;\n",
        "#[cfg(test)]\nmod tests {\n    use crate::top::X;\n}\n",
        "// use crate::top::X;\nconst X: &str = \"crate::top::X\";\n",
        "pub(in crate::middle) fn f() {}\n",
    ] {
        assert_eq!(found(&[("middle.rs", text)]), Vec::<String>::new(), "{text}");
    }
    let found = found(&[("new.rs", "")]);
    assert_eq!(found, ["new.rs is in no room that docs/ARCHITECTURE.md draws"]);
}

#[test]
fn a_circle_is_named_with_its_imports_unless_the_page_lists_it() {
    let files = [
        ("middle.rs", "mod a;\nmod b;\nmod c;\nuse c::C;\n"),
        ("middle/a.rs", "use super::b::deep::X;\n"),
        ("middle/b.rs", "mod deep;\n"),
        // By way of the parent, which has that name from `c`.
        ("middle/b/deep.rs", "use crate::middle::C;\n"),
        ("middle/c.rs", "use crate::middle::a;\n"),
    ];
    let found = found(&files).join("\n");
    for expected in [
        "circle",
        "middle/a.rs:1 imports middle/b/deep.rs",
        "middle/b/deep.rs:1 imports middle/c.rs",
        "middle/c.rs:1 imports middle/a.rs",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
    assert_eq!(self::found(&files[..4]), Vec::<String>::new(), "no file c");
}

#[test]
fn a_circle_that_has_gone_is_struck_out() {
    let found = found(&[("side/b.rs", "")]);
    assert_eq!(found, ["docs/ARCHITECTURE.md lists a circle that is not there: side::a · side::b"]);
}
