//! What the files of a crate import from each other: by `use`, and by paths in code that begin with
//! `crate`, `self` or `super`. Code that only tests have does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::harness::repository;

/// A source file.
#[derive(Debug)]
pub(super) struct File {
    /// Below the sources of the crate, as `control/server.rs`.
    pub(super) path: String,
    /// As `control::server`; of the crate itself, nothing.
    pub(super) module: String,
    /// The paths in it.
    paths: Vec<Named>,
    /// The modules in it that only tests have.
    of_tests: Vec<String>,
}

/// A path in a file, from the crate on.
#[derive(Debug)]
struct Named {
    segments: Vec<String>,
    line: usize,
    /// Of a `use`: its last name can be had from this file.
    is_use: bool,
}

/// A file that uses something of another one.
pub(super) struct Import<'a> {
    pub(super) from: &'a File,
    pub(super) to: &'a File,
    line: usize,
}

impl fmt::Display for Import<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:{} imports {}", self.from.path, self.line, self.to.path)
    }
}

/// The files of a crate by their modules.
#[derive(Debug)]
pub(super) struct Sources(BTreeMap<String, File>);

impl Sources {
    /// Those in a directory of the repository.
    pub(super) fn below(directory: &str) -> Self {
        let root = repository(directory);
        let mut found = Vec::new();
        walk(&root, &root, &mut found);
        Self::new(found.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    }

    /// Paths, and what the files contain.
    pub(super) fn new<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let files = files.filter(|(path, _)| *path != "main.rs").map(|(path, text)| {
            let file = File::read(path, text);
            (file.module.clone(), file)
        });
        let mut all: BTreeMap<String, File> = files.collect();
        let of_tests: BTreeSet<String> =
            all.values().flat_map(|file| file.of_tests.clone()).collect();
        all.retain(|module, _| !of_tests.contains(module));
        Self(all)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &File> {
        self.0.values()
    }

    /// Each import once a line; none of a file from itself.
    pub(super) fn imports(&self) -> Vec<Import<'_>> {
        let mut all = Vec::new();
        for from in self.files() {
            let mut seen = BTreeSet::new();
            for named in &from.paths {
                let Some(to) = self.target(&named.segments, 0) else { continue };
                let is_other = to.module != from.module && !from.module.is_empty();
                if is_other && seen.insert((named.line, &to.path)) {
                    all.push(Import { from, to, line: named.line });
                }
            }
        }
        all
    }

    /// The file that a path leads to: that of its longest beginning, or the one that this file has
    /// the next name from.
    fn target(&self, segments: &[String], depth: usize) -> Option<&File> {
        let length = (0..=segments.len())
            .rev()
            .find(|length| self.0.contains_key(&segments[..*length].join("::")))?;
        let file = &self.0[&segments[..length].join("::")];
        // A name of the crate's own file is that of a room.
        let next = segments.get(length).filter(|_| length > 0 && depth < 8);
        let reached = next.and_then(|next| {
            let passed_on = file.paths.iter().find(|named| {
                named.is_use && named.segments.last() == Some(next) && named.segments.len() > length
            })?;
            let is_below = passed_on.segments.starts_with(&segments[..length]);
            is_below.then(|| self.target(&passed_on.segments, depth + 1)).flatten()
        });
        Some(reached.unwrap_or(file))
    }
}

fn walk(root: &Path, directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).expect("a directory of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("it is below").display().to_string();
            found.push((name, std::fs::read_to_string(&path).expect("a source file")));
        }
    }
}

impl File {
    fn read(path: &str, text: &str) -> Self {
        let name = path.strip_suffix(".rs").unwrap_or(path).replace('/', "::");
        let name = name.strip_suffix("::mod").unwrap_or(&name);
        let module = if name == "lib" { "" } else { name }.to_owned();
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut file = Self { path: path.into(), module, paths: Vec::new(), of_tests: Vec::new() };
        let at: Vec<String> = file.module.split("::").map(str::to_owned).collect();
        file.collect(tokens, &at);
        file
    }

    /// `at`: the module of these tokens, which may be one within the file.
    fn collect(&mut self, tokens: TokenStream, at: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut place = 0;
        while let Some(token) = tokens.get(place) {
            let rest = &tokens[place + 1..];
            place += 1;
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' && is_of_tests(rest) => {
                    place += 1 + self.skip(&rest[1..], at);
                }
                TokenTree::Ident(ident) if ident == "use" => {
                    let end = rest.iter().position(is_semicolon).unwrap_or(rest.len());
                    self.tree(&rest[..end], &[], at, true);
                    place += end;
                }
                TokenTree::Ident(ident) if ident == "mod" => {
                    if let [TokenTree::Ident(name), TokenTree::Group(body), ..] = rest {
                        self.collect(body.stream(), &[at, &[name.to_string()]].concat());
                        place += 2;
                    }
                }
                // `pub(in crate::x)` imports nothing.
                TokenTree::Ident(ident) if ident == "pub" => {
                    place += usize::from(matches!(rest.first(), Some(TokenTree::Group(_))));
                }
                TokenTree::Ident(ident) if is_start(&ident.to_string()) && is_path(rest) => {
                    let length = path_length(&tokens[place - 1..]);
                    self.tree(&tokens[place - 1..place - 1 + length], &[], at, false);
                    place += length - 1;
                }
                TokenTree::Group(group) => self.collect(group.stream(), at),
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// Passes an item that only tests have; how many tokens it has.
    fn skip(&mut self, item: &[TokenTree], at: &[String]) -> usize {
        let is_end = |token: &TokenTree| {
            let is_body = matches!(token, TokenTree::Group(group)
                if group.delimiter() == Delimiter::Brace);
            is_body || is_semicolon(token)
        };
        let length = item.iter().position(is_end).map_or(item.len(), |end| end + 1);
        let names = item[..length].windows(2).filter_map(|pair| match pair {
            [TokenTree::Ident(word), TokenTree::Ident(name)] if word == "mod" => Some(name),
            _ => None,
        });
        let parent: Vec<&str> = at.iter().map(String::as_str).filter(|at| !at.is_empty()).collect();
        let modules = names.map(|name| [&parent[..], &[&name.to_string()]].concat().join("::"));
        self.of_tests.extend(modules);
        length
    }

    /// A path, or a tree of paths as `use` has it, after what is before it.
    fn tree(&mut self, tokens: &[TokenTree], before: &[String], at: &[String], is_use: bool) {
        let mut segments = before.to_vec();
        let mut line = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if ident == "as" => break,
                TokenTree::Ident(ident) => {
                    line = ident.span().start().line;
                    segments.push(ident.to_string());
                }
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    let branches = inner.split(|token| is_punct(token, ','));
                    for branch in branches.filter(|branch| !branch.is_empty()) {
                        self.tree(branch, &segments, at, is_use);
                    }
                    return;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        if let Some(segments) = from_the_crate(segments, at, is_use) {
            self.paths.push(Named { segments, line, is_use });
        }
    }
}

/// A path without `crate`, `self` and `super`. `None`: it leads to another crate.
fn from_the_crate(segments: Vec<String>, at: &[String], is_use: bool) -> Option<Vec<String>> {
    let here = || at.iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>();
    let mut base = match segments.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => here(),
        // `use child::X`: another crate looks the same, and leads to no file.
        _ if is_use => {
            let mut base = here();
            base.extend(segments);
            return Some(base);
        }
        _ => return None,
    };
    for segment in segments {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            _ => base.push(segment),
        }
    }
    Some(base)
}

fn is_start(word: &str) -> bool {
    ["crate", "self", "super"].contains(&word)
}

fn is_path(rest: &[TokenTree]) -> bool {
    matches!(rest, [one, other, TokenTree::Ident(_), ..]
        if is_punct(one, ':') && is_punct(other, ':'))
}

/// How many tokens of `a::b::c` belong to it.
fn path_length(tokens: &[TokenTree]) -> usize {
    let mut length = 1;
    while is_path(&tokens[length..]) {
        length += 3;
    }
    length
}

/// After `#`: whether that is `[cfg(test)]`.
fn is_of_tests(rest: &[TokenTree]) -> bool {
    matches!(rest.first(), Some(TokenTree::Group(group))
        if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

fn is_semicolon(token: &TokenTree) -> bool {
    is_punct(token, ';')
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}
