//! The source tree as the tidy test reads it: just enough Rust to tell code from comments, literals and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
#[derive(Debug)]
pub struct Source {
    /// Relative to the workspace.
    pub path: String,
    /// As written.
    pub raw: String,
    /// As `raw`, with comments and literals blanked out.
    pub code: String,
    /// As `code`, with test modules blanked out too; empty for files of tests and benchmarks.
    pub shipped: String,
}

impl Source {
    /// Reads `raw` as the file at `path`.
    #[must_use]
    pub fn new(path: String, raw: String) -> Self {
        let code = blank_comments_and_strings(&raw);
        let is_test = path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/");
        let shipped = if is_test { String::new() } else { blank_tests(&code) };
        Self { path, raw, code, shipped }
    }

    /// Every source file of the workspace, by path.
    ///
    /// # Panics
    /// When the tree cannot be read.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lives in the workspace");
        let mut paths = Vec::new();
        for package in ["bench", "engine", "proto", "scan", "tests"] {
            collect(&root.join(package), &mut paths);
        }
        paths.sort();
        let read = |path: PathBuf| {
            let relative = path.strip_prefix(root).expect("collected below the root").to_string_lossy().into_owned();
            Self::new(relative, fs::read_to_string(&path).expect("sources are UTF-8"))
        };
        paths.into_iter().map(read).collect()
    }

    /// `conn` for `engine/src/conn.rs` and `engine/src/conn/close.rs`; `None` outside `krate` and for its root.
    #[must_use]
    pub fn room(&self, krate: &str) -> Option<&str> {
        let inside = self.path.strip_prefix(krate)?.strip_prefix("/src/")?;
        let name = inside.split('/').next()?.trim_end_matches(".rs");
        (name != "lib").then_some(name)
    }

    /// Whether the file belongs to the engine, the protocol or what that rests on, not to programs, tests, examples or
    /// benchmarks.
    #[must_use]
    pub fn is_library(&self) -> bool {
        let is_program = self.path.starts_with("engine/src/bin/");
        !is_program && ["engine/src/", "proto/src/", "scan/src/"].iter().any(|library| self.path.starts_with(library))
    }

    /// First segments after `crate::` (in a room's root file also `super::`), in paths and in use groups.
    #[must_use]
    pub fn imported_rooms(&self) -> Vec<String> {
        let is_room_root = self.path.ends_with("/mod.rs") || self.path.matches('/').count() == 2;
        let roots: &[&str] = if is_room_root { &["crate::", "super::"] } else { &["crate::"] };
        roots.iter().flat_map(|root| members(&self.shipped, root)).collect()
    }

    /// `sim` for `engine/src/shard/sim/rig.rs` within `shard`; `None` for what is in no folder there.
    #[must_use]
    pub fn room_inside(&self, room: &str) -> Option<&str> {
        let (name, _) =
            self.path.strip_prefix("engine/src/")?.strip_prefix(room)?.strip_prefix('/')?.split_once('/')?;
        Some(name)
    }

    /// Of a room inside of `room`: first segments after `crate::`, and `room::segment` for what is of `room` itself,
    /// which the file that is the inner room's root also reaches by `super::`.
    #[must_use]
    pub fn imports_inside(&self, room: &str) -> Vec<String> {
        let of_room = format!("crate::{room}::");
        let mut found = members(&self.shipped, "crate::");
        found.retain(|name| name != room);
        let mut inside = members(&self.shipped, &of_room);
        if self.path.ends_with("/mod.rs") {
            inside.extend(members(&self.shipped, "super::"));
        }
        found.extend(inside.into_iter().map(|name| format!("{room}::{name}")));
        found
    }

    /// Lines, from 0, of unsafe blocks and impls that no `// SAFETY:` comment precedes.
    #[must_use]
    pub fn unsafe_without_reason(&self) -> Vec<usize> {
        let raw: Vec<&str> = self.raw.lines().collect();
        let code: Vec<&str> = self.code.lines().collect();
        unsafe_lines(&self.code).into_iter().filter(|at| !has_safety_comment(&raw, &code, *at)).collect()
    }
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("packages can be read").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// First segments after `root` in paths and in use groups.
fn members(code: &str, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split(root).skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_members(group)),
            None => found.push(leading_ident(rest)),
        }
    }
    found
}

/// `a::{b, c}, d}` gives `a` and `d`.
fn group_members(group: &str) -> Vec<String> {
    let mut members = vec![leading_ident(group.trim_start())];
    let mut depth = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(leading_ident(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    members
}

/// Whether the comment before the statement around line `at` contains `SAFETY:`.
fn has_safety_comment(raw: &[&str], code: &[&str], at: usize) -> bool {
    let begins_statement = |line: &usize| {
        let before = line.checked_sub(1).map_or("", |above| code[above].trim_end());
        before.trim().is_empty() || before.ends_with([';', '{', '}', ','])
    };
    let start = (0..=at).rev().find(begins_statement).unwrap_or(0);
    let comments = raw[..start].iter().rev().map(|line| line.trim_start());
    comments.take_while(|line| line.starts_with("//") || line.starts_with("#[")).any(|line| line.contains("// SAFETY:"))
        || raw[start..=at].iter().any(|line| line.contains("// SAFETY:"))
}

/// Lines, from 0, with an unsafe block or impl; `unsafe fn` has its own rule in clippy.
#[must_use]
pub fn unsafe_lines(code: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for (at, _) in code.match_indices("unsafe") {
        let rest = code[at + "unsafe".len()..].trim_start();
        if mentions(&code[at.saturating_sub(1)..], "unsafe") && (rest.starts_with('{') || rest.starts_with("impl")) {
            lines.push(code[..at].matches('\n').count());
        }
    }
    lines
}

/// Name, first line and number of lines of every function with a body.
#[must_use]
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name = leading_ident(&code[at + 3..]);
        let starts_word = !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        if name.is_empty() || !starts_word {
            continue;
        }
        let mut nesting = 0;
        let body = code[at..].find(|character: char| {
            nesting += i32::from("([".contains(character)) - i32::from(")]".contains(character));
            nesting == 0 && "{;".contains(character)
        });
        if let Some(open) = body.map(|offset| at + offset).filter(|open| code[*open..].starts_with('{')) {
            let length = code[at..block_end(code, open)].matches('\n').count() + 1;
            found.push((name, code[..at].matches('\n').count() + 1, length));
        }
    }
    found
}

/// Whether `text` contains `word` where no longer word does.
#[must_use]
pub fn mentions(text: &str, word: &str) -> bool {
    let part_of_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !(word.starts_with(part_of_word) && before.ends_with(part_of_word)
            || word.ends_with(part_of_word) && after.starts_with(part_of_word))
    })
}

fn leading_ident(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Offset after the brace that closes the one at `open`, or the end.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Replaces every item under `#[cfg(test)]` by spaces, keeping the lines.
fn blank_tests(code: &str) -> String {
    let mut blanked = code.to_owned();
    while let Some(start) = blanked.find("#[cfg(test)]") {
        let end = match blanked[start..].find(['{', ';']).map(|offset| start + offset) {
            Some(open) if blanked[open..].starts_with('{') => block_end(&blanked, open),
            Some(semicolon) => semicolon + 1,
            None => blanked.len(),
        };
        blanked.replace_range(start..end, &blank(&blanked[start..end]));
    }
    blanked
}

fn blank(text: &str) -> String {
    text.chars().map(|character| if character == '\n' { '\n' } else { ' ' }).collect()
}

/// Replaces comments, strings and character literals by spaces, keeping the lines.
fn blank_comments_and_strings(raw: &str) -> String {
    let mut code = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(first) = rest.chars().next() {
        let in_word = code.ends_with(|before: char| before.is_alphanumeric() || before == '_');
        match opaque_len(rest, in_word) {
            0 => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
            }
            length => {
                code.push_str(&blank(&rest[..length]));
                rest = &rest[length..];
            }
        }
    }
    code
}

/// Bytes of the comment or literal `text` begins with; 0 if it begins with code.
fn opaque_len(text: &str, in_word: bool) -> usize {
    let through = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    let raw_start = text.strip_prefix("br").or_else(|| text.strip_prefix('r')).filter(|_| !in_word);
    let fence = raw_start.map(|after| after.bytes().take_while(|byte| *byte == b'#').count());
    if let (Some(after), Some(hashes)) = (raw_start, fence)
        && after[hashes..].starts_with('"')
    {
        return through(text.len() - after.len() + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
    }
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return through(2, "*/");
    }
    match text.as_bytes() {
        [b'"', ..] => quoted_len(text, b'"'),
        [b'\'', b'\\', ..] => quoted_len(text, b'\''),
        // A lifetime has no quote after its first character.
        [b'\'', ..] => {
            let character = text[1..].chars().next().map_or(0, char::len_utf8);
            if text[1 + character..].starts_with('\'') { character + 2 } else { 0 }
        }
        _ => 0,
    }
}

/// Bytes of a literal with escapes, both quotes included.
fn quoted_len(text: &str, quote: u8) -> usize {
    let mut escaped = true;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{Source, functions, unsafe_lines};

    fn source(raw: &str) -> Source {
        Source::new("engine/src/conn/close.rs".to_owned(), raw.to_owned())
    }

    #[test]
    fn imports_are_found_in_every_spelling() {
        let imported = |raw: &str| source(raw).imported_rooms();
        assert_eq!(imported("use crate::driver::X;"), ["driver"]);
        assert_eq!(imported("use crate::{\n    id::{A, B},\n    mem, queue::C};"), ["id", "mem", "queue"]);
        assert_eq!(imported("fn f() { crate::queue::g() }"), ["queue"]);
        assert_eq!(imported("use super::other;"), [""; 0], "a neighbour in the same room");
        let root = Source::new("engine/src/conn.rs".to_owned(), "use super::driver::X;".to_owned());
        assert_eq!(root.imported_rooms(), ["driver"]);
    }

    #[test]
    fn comments_literals_and_tests_are_not_shipped() {
        let shipped = |raw: &str| source(raw).shipped.split_whitespace().collect::<Vec<&str>>().join(" ");
        assert_eq!(shipped("a // b\n/* c */ d \"e\\\" // f\" g"), "a d g");
        assert_eq!(shipped("r#\"a \" b\"# c br\"d\" var\"e\" '\"' '\\'' 'f' g"), "c var g");
        assert_eq!(shipped("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(shipped("#[cfg(test)]\nmod tests { { b } }\nc"), "c");
        assert_eq!(shipped("#[cfg(test)]\nmod tests;\nc { d }"), "c { d }");
    }

    #[test]
    fn unsafe_without_reason_is_found() {
        let bare = |raw: &str| source(raw).unsafe_without_reason();
        assert_eq!(bare("// SAFETY: so.\nunsafe impl Send for X {}\nunsafe impl Sync for X {}"), [2]);
        assert_eq!(bare("let a = b;\n// SAFETY: so,\n// and so.\nlet c =\n    unsafe { d };"), [0; 0]);
        assert_eq!(bare("// SAFETY: of another\nlet a = b;\nlet c = unsafe { d };"), [2]);
        let none = "#![deny(unsafe_code)]\n/// Not unsafe { at all }.\nunsafe fn f() {}";
        assert_eq!(unsafe_lines(&source(none).code), [0; 0]);
    }

    #[test]
    fn functions_are_measured_to_their_last_brace() {
        let code = "fn a() {}\npub fn b(\n    x: [u8; 4],\n) -> fn(u8) {\n    if x {\n    }\n}\nfn c();\n";
        assert_eq!(functions(code), [("a".to_owned(), 1, 1), ("b".to_owned(), 2, 6)]);
    }
}
