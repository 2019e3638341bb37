//! A page as blocks of code.

use crate::harness::repository;

/// A fenced block.
pub(super) struct Block {
    pub line: usize,
    pub language: String,
    pub kind: Kind,
    pub text: String,
}

/// What the test does with a block.
pub(super) enum Kind {
    Runs,
    Needs {
        program: String,
        package: String,
    },
    NotRun(String),
    /// A file of the session's directory.
    File(String),
    Other,
}

/// A command and what the page says it prints.
pub(super) struct Command {
    pub line: usize,
    /// As the shell reads it.
    pub text: String,
    /// As the page shows it, with its prompts.
    pub source: String,
    pub output: String,
}

impl Command {
    /// Whether it only asks the supervisor, and can be repeated.
    pub(super) fn asks(&self) -> bool {
        let verbs = ["status", "incidents", "logs"];
        let asks = |verb| self.text.starts_with(&format!("supervisord-rs {verb}"));
        verbs.into_iter().any(asks) && !self.text.contains("--wait")
    }

    /// Its first line, without what explains it.
    pub(super) fn shown(&self) -> &str {
        let line = self.text.lines().next().unwrap_or_default();
        line.split(" # ").next().unwrap_or_default().trim_end()
    }
}

impl Block {
    pub(super) fn is_console(&self) -> bool {
        self.language == "console"
    }

    pub(super) fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        for (number, line) in self.text.lines().enumerate() {
            let last = commands.last_mut();
            if let Some(text) = line.strip_prefix("$ ") {
                commands.push(Command {
                    line: self.line + 1 + number,
                    text: text.to_owned(),
                    source: format!("{line}\n"),
                    output: String::new(),
                });
            } else if let (Some(text), Some(last)) = (line.strip_prefix("> "), last) {
                last.text += &format!("\n{text}");
                last.source += &format!("{line}\n");
            } else {
                let last = commands.last_mut();
                let last = last.unwrap_or_else(|| panic!("line {}: no command", self.line));
                last.output += &format!("{line}\n");
            }
        }
        commands
    }
}

/// The blocks of a page, in their order.
pub(super) fn read(name: &str) -> Vec<Block> {
    let page = std::fs::read_to_string(repository(name)).expect(name);
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let text: String = inside.map(|line| format!("{line}\n")).collect();
        let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
        let place = || format!("{name}:{}: `{info}`", number + 1);
        let kind = kind(language, rest).unwrap_or_else(|| panic!("{}: what is that?", place()));
        blocks.push(Block { line: number + 1, language: language.to_owned(), kind, text });
    }
    blocks
}

/// What the words after the language say.
fn kind(language: &str, rest: &str) -> Option<Kind> {
    if let Some(file) = rest.strip_prefix("file: ") {
        return Some(Kind::File(file.to_owned()));
    }
    if language != "console" {
        return rest.is_empty().then_some(Kind::Other);
    }
    if let Some(reason) = rest.strip_prefix("not run: ") {
        return Some(Kind::NotRun(reason.to_owned()));
    }
    if let Some(needs) = rest.strip_prefix("needs ") {
        let (program, package) = needs.split_once(" of ")?;
        return Some(Kind::Needs { program: program.to_owned(), package: package.to_owned() });
    }
    rest.is_empty().then_some(Kind::Runs)
}
