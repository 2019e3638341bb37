//! A client of yaml-language-server: JSON-RPC over its standard streams (Language Server Protocol
//! 3.17).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::harness::DEADLINE;

/// A server that runs.
pub(super) struct LanguageServer {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    next: u64,
    /// The last marks of each file.
    marks: HashMap<String, Vec<(u64, String)>>,
}

impl LanguageServer {
    /// Starts the one that is installed there. A comment in a file names its schema.
    pub(super) fn start(installed: &Path) -> Self {
        let program = installed.join("node_modules/yaml-language-server/bin/yaml-language-server");
        let mut child = Command::new("node")
            .arg(program)
            .arg("--stdio")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs");
        let input = child.stdin.take().expect("a pipe");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            while let Some(message) = read(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { child, input, messages, next: 0, marks: HashMap::new() };
        let settings = json!({ "yaml": {
            "validate": true, "hover": true, "completion": true,
            "schemaStore": { "enable": false }
        } });
        let capabilities = json!({ "textDocument": {
            "completion": { "completionItem": { "snippetSupport": true } },
            "hover": { "contentFormat": ["markdown", "plaintext"] },
            "publishDiagnostics": {}
        } });
        server.ask(
            "initialize",
            json!({
                "processId": std::process::id(), "rootUri": "file:///", "capabilities": capabilities
            }),
        );
        server.tell("initialized", json!({}));
        server.tell("workspace/didChangeConfiguration", json!({ "settings": settings }));
        server
    }

    /// Opens a file with this text, and waits for its marks: lines from 0, with what is wrong.
    pub(super) fn open(&mut self, file: &str, text: &str) -> Vec<(u64, String)> {
        let uri = format!("file://{file}");
        self.marks.remove(&uri);
        self.tell(
            "textDocument/didOpen",
            json!({ "textDocument": {
            "uri": uri, "languageId": "yaml", "version": 1, "text": text
        } }),
        );
        while !self.marks.contains_key(&uri) {
            self.take_one();
        }
        self.marks[&uri].clone()
    }

    /// The labels that are offered at a place, line and column from 0.
    pub(super) fn completion(&mut self, file: &str, line: u64, column: u64) -> Vec<String> {
        let answer = self.at("textDocument/completion", file, line, column);
        let items = answer.get("items").unwrap_or(&answer).as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| Some(item["label"].as_str()?.to_owned())).collect()
    }

    /// What is shown for a place, line and column from 0.
    pub(super) fn hover(&mut self, file: &str, line: u64, column: u64) -> String {
        self.at("textDocument/hover", file, line, column)["contents"].to_string()
    }

    fn at(&mut self, method: &str, file: &str, line: u64, column: u64) -> Value {
        let uri = format!("file://{file}");
        self.ask(
            method,
            json!({
                "textDocument": { "uri": uri }, "position": { "line": line, "character": column }
            }),
        )
    }

    /// Ends it in order.
    pub(super) fn end(mut self) {
        self.ask("shutdown", Value::Null);
        self.tell("exit", Value::Null);
        self.child.wait().expect("our child");
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.take_one();
            if message["id"] == id && message.get("method").is_none() {
                return message["result"].clone();
            }
        }
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The next message; questions of the server are answered, and marks are kept.
    fn take_one(&mut self) -> Value {
        let message = self.messages.recv_timeout(DEADLINE).expect("the language server answers");
        match (message["method"].as_str(), message.get("id")) {
            (Some("textDocument/publishDiagnostics"), _) => {
                let params = &message["params"];
                let marks = params["diagnostics"].as_array().cloned().unwrap_or_default();
                let marks = marks.iter().map(|mark| {
                    let line = mark["range"]["start"]["line"].as_u64().unwrap_or(u64::MAX);
                    (line, mark["message"].as_str().unwrap_or_default().to_owned())
                });
                let uri = params["uri"].as_str().unwrap_or_default().to_owned();
                self.marks.insert(uri, marks.collect());
            }
            // It asks for what it was told already, or wants to register for more.
            (Some(_), Some(id)) => {
                self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": Value::Null }));
            }
            _ => {}
        }
        message
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{text}", text.len()).expect("it reads");
        self.input.flush().expect("it reads");
    }
}

impl Drop for LanguageServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One message; `None`: the server has ended.
fn read(output: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim() {
            "" => break,
            line => {
                if let Some(number) = line.strip_prefix("Content-Length: ") {
                    length = number.parse().ok()?;
                }
            }
        }
    }
    let mut bytes = vec![0; length];
    output.read_exact(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}
