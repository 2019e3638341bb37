//! What the worker SDK offers to other crates is in `tests/golden/api.txt`: a change of it shows in
//! a review, and one that breaks programs raises the version. No earlier version is in the registry
//! with which a tool could compare.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::messages::sources;
use crate::harness::golden::golden;
use crate::harness::repository;

/// No part of the interface: what the SDK shares with the supervisor, and workers that are reached
/// by name.
const INTERNAL: [&str; 2] = ["workers/src/runtime/", "workers/src/builtin/"];

#[test]
fn the_interface_of_the_sdk_is_in_the_golden_file() {
    let mut items = Vec::new();
    for file in sources() {
        let is_internal = INTERNAL.iter().any(|path| file.starts_with(path));
        if file.starts_with("workers/src/") && (!is_internal || file.ends_with("builtin/mod.rs")) {
            let source = std::fs::read_to_string(repository(&file)).expect("a source file");
            let tokens: TokenStream = source.parse().expect("Rust");
            let mut found = Vec::new();
            collect(tokens, &mut found);
            items.push((file, found));
        }
    }
    let types: BTreeSet<String> = items
        .iter()
        .flat_map(|(_, found)| found)
        .filter_map(|item| match item {
            Item::Type(name, _) => Some(name.clone()),
            Item::Of(..) | Item::Other(_) => None,
        })
        .collect();
    let mut list = String::new();
    for (file, found) in items {
        let mut lines = found.into_iter().filter_map(|item| match item {
            Item::Of(of, line) => types.contains(&of).then_some(line),
            Item::Type(_, line) | Item::Other(line) => Some(line),
        });
        if let Some(first) = lines.next() {
            writeln!(list, "\n{file}\n  {first}").expect("a string");
        }
        lines.for_each(|line| writeln!(list, "  {line}").expect("a string"));
    }
    for known in
        ["pub fn stop_requested (& self) -> bool", "pub trait Worker", "StackOverflow = 13"]
    {
        assert!(list.contains(known), "{known} is not found:\n{list}");
    }
    golden("api.txt", list.trim_start());
}

/// Something public.
enum Item {
    /// A type or a trait, by name.
    Type(String, String),
    /// Something of a type: it counts if that is public.
    Of(String, String),
    Other(String),
}

/// Adds the public items of a module.
fn collect(tokens: TokenStream, found: &mut Vec<Item>) {
    let mut rest = tokens.into_iter().peekable();
    let mut attributes = String::new();
    while let Some(token) = rest.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let mut group = rest.next();
                if let Some(TokenTree::Punct(_)) = group {
                    group = rest.next();
                }
                let text = group.map_or_else(String::new, |group| group.to_string());
                if text.replace(' ', "") == "[cfg(test)]" {
                    let _ = item(&mut rest);
                } else if is_kept(&text) {
                    write!(attributes, "#{text} ").expect("a string");
                }
                continue;
            }
            TokenTree::Ident(word) if *word == "pub" => public(&attributes, &mut rest, found),
            TokenTree::Ident(word) if *word == "impl" => {
                let (header, body) = item(&mut rest);
                implementation(&header, body, found);
            }
            TokenTree::Ident(word) if *word == "faults" => {
                // The macro that declares `Fault`.
                let (_, body) = item(&mut rest);
                let body = body.map_or_else(TokenStream::new, |body| body.stream());
                let line = format!("pub enum Fault {{ {} }}", plain(body));
                found.push(Item::Type("Fault".into(), line));
            }
            TokenTree::Ident(_) => {
                let _ = item(&mut rest);
            }
            TokenTree::Punct(_) | TokenTree::Group(_) | TokenTree::Literal(_) => {}
        }
        attributes.clear();
    }
}

type Rest = std::iter::Peekable<proc_macro2::token_stream::IntoIter>;

/// The tokens up to a block or a semicolon, and the block.
fn item(rest: &mut Rest) -> (Vec<TokenTree>, Option<Group>) {
    let mut header = Vec::new();
    for token in rest.by_ref() {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                return (header, Some(group));
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            token => header.push(token),
        }
    }
    (header, None)
}

fn public(attributes: &str, rest: &mut Rest, found: &mut Vec<Item>) {
    if let Some(TokenTree::Group(_)) = rest.peek() {
        // `pub(crate)` and the like.
        let _ = item(rest);
        return;
    }
    let (header, body) = item(rest);
    let text = plain(header.iter().cloned().collect());
    let words: Vec<String> = header.iter().map(ToString::to_string).collect();
    let mut line = format!("{attributes}pub {text}");
    match words[0].as_str() {
        kind @ ("struct" | "enum" | "trait") => {
            if let Some(body) = body {
                match kind {
                    "struct" => write!(line, " {{ {} }}", fields(body.stream())),
                    "trait" => write!(line, " {{ {} }}", methods(body.stream())),
                    _ => write!(line, " {{ {} }}", plain(body.stream())),
                }
                .expect("a string");
            }
            found.push(Item::Type(words[1].clone(), line));
        }
        "use" => {
            let body = body.map_or_else(String::new, |body| plain(body.stream()));
            found.push(Item::Other(format!("{line} {body}")));
        }
        _ => found.push(Item::Other(line)),
    }
}

fn implementation(header: &[TokenTree], body: Option<Group>, found: &mut Vec<Item>) {
    let words: Vec<String> = header.iter().map(ToString::to_string).collect();
    // `for<'a>` begins a bound.
    let for_at = (1..words.len())
        .find(|at| words[*at] == "for" && words.get(at + 1).is_some_and(|next| next != "<"));
    let start = for_at.map_or_else(|| after_generics(&words), |at| at + 1);
    let of = words.get(start).cloned().unwrap_or_default();
    let text = plain(header.iter().cloned().collect());
    if for_at.is_some() {
        found.push(Item::Of(of, format!("impl {text}")));
        return;
    }
    let mut inner = Vec::new();
    collect(body.map_or_else(TokenStream::new, |body| body.stream()), &mut inner);
    let lines = inner.into_iter().filter_map(|item| match item {
        Item::Other(line) => Some(Item::Of(of.clone(), format!("{text}: {line}"))),
        Item::Type(..) | Item::Of(..) => None,
    });
    found.extend(lines);
}

/// Behind the parameters of an `impl`.
fn after_generics(words: &[String]) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "<" => depth += 1,
            ">" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if at == 0 { 0 } else { at + 1 };
        }
    }
    0
}

/// What a trait asks for: each method, and whether it has a default.
fn methods(tokens: TokenStream) -> String {
    let mut rest = tokens.into_iter().peekable();
    let mut all = Vec::new();
    while rest.peek().is_some() {
        let (header, default) = item(&mut rest);
        let end = if default.is_some() { " { .. }" } else { ";" };
        all.push(format!("{}{end}", plain(header.into_iter().collect())));
    }
    all.join(" ")
}

/// The public fields.
fn fields(tokens: TokenStream) -> String {
    let all = plain(tokens);
    // Not `pub(super)` and the like.
    let is_public = |field: &&str| field.starts_with("pub ") && !field.starts_with("pub (");
    let public = all.split(" , ").filter(is_public);
    public.collect::<Vec<_>>().join(", ")
}

fn is_kept(attribute: &str) -> bool {
    attribute.contains("non_exhaustive") || attribute.contains("feature")
}

/// As text, without what documents it.
fn plain(tokens: TokenStream) -> String {
    fn strip(tokens: TokenStream) -> TokenStream {
        let mut kept = Vec::new();
        let mut rest = tokens.into_iter().peekable();
        while let Some(token) = rest.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let _ = rest.next();
                }
                TokenTree::Group(group) => {
                    let inner = Group::new(group.delimiter(), strip(group.stream()));
                    kept.push(TokenTree::Group(inner));
                }
                token => kept.push(token),
            }
        }
        kept.into_iter().collect()
    }
    strip(tokens).to_string()
}
