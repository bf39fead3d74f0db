//! Takes a Rust source apart as far as the rules need: words without comments and literals, what is for tests alone, and
//! every path led back to `crate` or to the name of a crate.

use std::collections::BTreeMap;

/// A word or a mark; a literal is a `"`.
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A path as it stands, led back to `crate` or to the name of a crate.
pub struct Resolved {
    pub segments: Vec<String>,
    pub line: usize,
    pub is_test: bool,
}

/// A source file taken apart.
pub struct File {
    /// `src/a/b.rs` is `a`, `b`.
    pub module: Vec<String>,
    pub tokens: Vec<Token>,
    pub comments: BTreeMap<usize, String>,
    test_spans: Vec<std::ops::Range<usize>>,
    /// Modules that `#[cfg(test)] mod x;` declares, as `a/x`.
    pub test_modules: Vec<String>,
    pub paths: Vec<Resolved>,
}

impl File {
    /// Takes apart the `text` of the file at `path` from the repository's root.
    pub fn read(path: &str, text: &str) -> Self {
        let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
        let mut module: Vec<String> = inside.split('/').map(String::from).collect();
        if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
            module.pop();
        }
        let (tokens, comments) = lex(text);
        let mut file =
            Self { module, tokens, comments, test_spans: Vec::new(), test_modules: Vec::new(), paths: Vec::new() };
        file.find_tests();
        file.find_paths();
        file
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// The token at `at` is compiled for tests alone.
    pub fn is_test(&self, at: usize) -> bool {
        self.test_spans.iter().any(|span| span.contains(&at))
    }

    /// Finds the items behind `#[cfg(test)]`.
    fn find_tests(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            let inner = self.text(at) == "#" && self.text(at + 1) == "!";
            let open = if inner { at + 2 } else { at + 1 };
            if self.text(at) != "#" || self.text(open) != "[" {
                at += 1;
                continue;
            }
            let end = self.closing(open);
            let words: Vec<&str> = (open + 1..end).map(|at| self.text(at)).collect();
            let for_tests = words.first() == Some(&"cfg")
                && words.contains(&"test")
                && !words.iter().any(|word| matches!(*word, "not" | "any"));
            if for_tests {
                let last = if inner { self.tokens.len() } else { self.item_end(end + 1) };
                if let Some(name) = self.declared(end + 1, last) {
                    self.test_modules
                        .push(self.module.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/"));
                }
                self.test_spans.push(at..last);
            }
            at = end + 1;
        }
    }

    /// The name of the module when the item is `mod x;`.
    fn declared(&self, from: usize, end: usize) -> Option<&str> {
        let at = (from..end).find(|&at| self.text(at) == "mod")?;
        (self.text(at + 2) == ";").then(|| self.text(at + 1))
    }

    /// One past the item that begins at `from`: its `;`, or its first braces.
    fn item_end(&self, from: usize) -> usize {
        let mut at = from;
        while at < self.tokens.len() {
            match self.text(at) {
                ";" => return at + 1,
                "{" => return self.closing(at) + 1,
                "(" | "[" => at = self.closing(at) + 1,
                _ => at += 1,
            }
        }
        at
    }

    /// The bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0;
        for at in open..self.tokens.len() {
            match self.text(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at;
            }
        }
        self.tokens.len()
    }

    /// Finds every path, the imported ones first, since the others may begin with a name that an import gave.
    fn find_paths(&mut self) {
        let mut found: Vec<(Vec<String>, usize, Vec<String>)> = Vec::new();
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut module = self.module.clone();
        let mut braces: Vec<bool> = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            match self.text(at) {
                "use" => {
                    let mut imports = Vec::new();
                    let start = at;
                    at = self.use_tree(at + 1, &[], &mut imports);
                    for (path, name) in imports {
                        let absolute = root(&path, &module);
                        // What the tests import does not name what stands outside them.
                        if !(self.is_test(start) && aliases.contains_key(&name)) {
                            aliases.insert(name, absolute.clone());
                        }
                        found.push((absolute, start, module.clone()));
                    }
                    continue;
                }
                "mod" if self.text(at + 2) == "{" => {
                    module.push(self.text(at + 1).to_owned());
                    braces.push(true);
                    at += 3;
                    continue;
                }
                "{" => braces.push(false),
                "}" if braces.pop() == Some(true) => drop(module.pop()),
                text if is_word(text) && self.text(at + 1) == "::" && is_word(self.text(at + 2)) => {
                    let start = at;
                    let mut path = vec![text.to_owned()];
                    while self.text(at + 1) == "::" && is_word(self.text(at + 2)) {
                        at += 2;
                        path.push(self.text(at).to_owned());
                    }
                    found.push((path, start, module.clone()));
                }
                _ => {}
            }
            at += 1;
        }
        for (path, at, module) in found {
            let segments = resolve(root(&path, &module), &aliases, &module);
            self.paths.push(Resolved { segments, line: self.tokens[at].line, is_test: self.is_test(at) });
        }
    }

    /// Reads one tree of a `use` from `at`; gives each path with the name that it gets here, and returns the end.
    fn use_tree(&self, mut at: usize, prefix: &[String], imports: &mut Vec<(Vec<String>, String)>) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match self.text(at) {
                "{" => {
                    let end = self.closing(at);
                    at += 1;
                    while at < end {
                        let next = self.use_tree(at, &path, imports);
                        at = next + usize::from(next == at || self.text(next) == ",");
                    }
                    return end + 1;
                }
                "::" => at += 1,
                "as" => {
                    imports.push((path, self.text(at + 1).to_owned()));
                    return at + 2;
                }
                "*" => {
                    path.push("*".into());
                    imports.push((path, "*".into()));
                    return at + 1;
                }
                word if is_word(word) => {
                    // `a::{self}` is `a`; a `self` at the start is this module.
                    if word != "self" || path.is_empty() {
                        path.push(word.to_owned());
                    }
                    at += 1;
                }
                _ => {
                    let name = path.last().cloned().unwrap_or_default();
                    imports.push((path, name));
                    return at;
                }
            }
        }
    }
}

/// Leads `self` and `super` back to `crate`; `dustfs` is what the binary calls the library.
fn root(path: &[String], module: &[String]) -> Vec<String> {
    let mut base = match path.first().map(String::as_str) {
        Some("crate" | "dustfs") => return std::iter::once("crate".to_owned()).chain(path[1..].to_vec()).collect(),
        Some("self" | "super") => module.to_vec(),
        _ => return path.to_vec(),
    };
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        rest = others;
    }
    std::iter::once("crate".to_owned()).chain(base).chain(rest.to_vec()).collect()
}

/// Replaces a first segment that an import named.
fn resolve(mut path: Vec<String>, aliases: &BTreeMap<String, Vec<String>>, module: &[String]) -> Vec<String> {
    for _ in 0..8 {
        let Some(target) = path.first().and_then(|first| aliases.get(first)) else { break };
        if path.starts_with(target) {
            break;
        }
        path = root(&[target.as_slice(), &path[1..]].concat(), module);
    }
    path
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The words and marks of a source without comments and literals, and the line comments by their lines.
fn lex(text: &str) -> (Vec<Token>, BTreeMap<usize, String>) {
    let chars: Vec<char> = text.chars().collect();
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let (mut tokens, mut comments) = (Vec::new(), BTreeMap::new());
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let mut token = None;
        match (peek(at), peek(at + 1)) {
            ('/', '/') => {
                at = (at..chars.len()).find(|&at| chars[at] == '\n').unwrap_or(chars.len());
                comments.insert(line, chars[start..at].iter().collect::<String>());
            }
            ('/', '*') => at = block_comment_end(&chars, at),
            ('"', _) => (at, token) = (string_end(&chars, at), Some("\"".into())),
            ('\'', next) if next == '\\' || peek(at + 2) == '\'' => {
                (at, token) = (char_end(&chars, at), Some("\"".into()));
            }
            // A lifetime or a label.
            ('\'', _) => at += 1,
            (':', ':') => (at, token) = (at + 2, Some("::".into())),
            (c, _) if c.is_alphanumeric() || c == '_' => {
                at =
                    (at..chars.len()).find(|&at| !peek(at).is_alphanumeric() && peek(at) != '_').unwrap_or(chars.len());
                let word: String = chars[start..at].iter().collect();
                let hashes = (at..chars.len()).take_while(|&at| peek(at) == '#').count();
                let quoted = peek(at + hashes) == '"';
                match word.as_str() {
                    "r" | "br" | "cr" if quoted => {
                        (at, token) = (raw_string_end(&chars, at + hashes + 1, hashes), Some("\"".into()));
                    }
                    "b" | "c" if quoted && hashes == 0 => (at, token) = (string_end(&chars, at), Some("\"".into())),
                    "b" if peek(at) == '\'' => (at, token) = (char_end(&chars, at), Some("\"".into())),
                    // A raw identifier: its word follows.
                    "r" if hashes == 1 => at += 1,
                    _ => token = Some(word),
                }
            }
            (c, _) => {
                at += 1;
                token = (!c.is_whitespace()).then(|| c.to_string());
            }
        }
        tokens.extend(token.map(|text| Token { text, line }));
        line += chars[start..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    (tokens, comments)
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars.get(at..at + 2) {
            Some(['/', '*']) => (depth, at) = (depth + 1, at + 2),
            Some(['*', '/']) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// One past the quote that closes the string which opens at `at`.
fn string_end(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_end(chars: &[char], from: usize, hashes: usize) -> usize {
    let closes =
        |at: usize| chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (from..chars.len()).find(|&at| closes(at)).map_or(chars.len(), |at| at + 1 + hashes)
}

fn char_end(chars: &[char], at: usize) -> usize {
    let from = if chars.get(at + 1) == Some(&'\\') { at + 3 } else { at + 1 };
    (from..chars.len()).find(|&at| chars[at] == '\'').map_or(chars.len(), |at| at + 1)
}

#[test]
fn lines_are_counted_through_literals() {
    let (tokens, comments) = lex("/* a\n b */ x\n\"c\n\\\"d\" y r#\"\n\"#\n'\\n' b'\\'' z // e\n");
    let lines: Vec<(&str, usize)> = tokens.iter().map(|token| (token.text.as_str(), token.line)).collect();
    assert_eq!(lines, [("x", 2), ("\"", 3), ("y", 4), ("\"", 4), ("\"", 6), ("\"", 6), ("z", 6)]);
    assert_eq!(comments, BTreeMap::from([(6, "// e".to_owned())]));
}
