//! Which module of a crate imports which, as its `use` lines say and the paths in its code.
//!
//! A module is a file. What a module re-exports is followed to where it is defined, so that a spelling hides nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// Names from the root of the crate, which is none.
type Path = Vec<String>;

/// What one module names of another, neither of which contains the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The file that names it.
    pub file: String,
    /// What is named, by its whole path.
    pub named: String,
    /// The innermost module that contains both; empty for the crate.
    pub within: String,
    /// The one of its children that names.
    pub from: String,
    /// The one of its children that has what is named.
    pub to: String,
}

/// A name that a module has by a `use` line or as part of a path, and what it stands for.
struct Name {
    local: String,
    path: Path,
}

/// All imports between modules of `krate`, in the order of their files; tests are left out.
///
/// # Panics
/// For `use path::*`, which does not say what it imports.
#[must_use]
pub fn imports(krate: &str, sources: &[Source]) -> Vec<Import> {
    let of_crate = || sources.iter().filter_map(|source| Some((module_of(krate, &source.path)?, source)));
    let modules: BTreeSet<Path> = of_crate().map(|(module, _)| module).collect();
    let mut names = BTreeMap::new();
    for (module, source) in of_crate() {
        let (used, code) = take_uses(&source.shipped);
        assert!(used.iter().all(|name| name.local != "*"), "{}: use path::* says not what", source.path);
        let absolute = |name: Name| Some(Name { path: absolute(&module, &name.path, &modules)?, ..name });
        let used: Vec<Name> = used.into_iter().filter_map(absolute).collect();
        let said: Vec<Name> = paths_in(&code, &used).into_iter().filter_map(absolute).collect();
        names.insert(module, (source, used, said));
    }
    let mut found = Vec::new();
    for (module, (source, used, said)) in &names {
        for name in used.iter().chain(said) {
            let mut path = name.path.clone();
            // A re-export may lead to another one; none leads further than there are modules.
            for _ in 0..modules.len() {
                let home = home_of(&path, &modules);
                let Some(item) = path.get(home.len()) else { break };
                let exported = names.get(home).and_then(|(_, used, _)| used.iter().find(|name| name.local == *item));
                let Some(exported) = exported.filter(|_| home != module.as_slice()) else { break };
                path = [&exported.path[..], &path[home.len() + 1..]].concat();
            }
            found.extend(between(source, module, home_of(&path, &modules), &path));
        }
    }
    found
}

/// Of these imports those that go round in a circle among the children of one module, each child with all that it
/// contains; and those on a way from one such circle to another.
#[must_use]
pub fn circles(mut imports: Vec<Import>) -> Vec<Import> {
    loop {
        let before = imports.len();
        let ends = |part: fn(&Import) -> &str| -> BTreeSet<(String, String)> {
            imports.iter().map(|import| (import.within.clone(), part(import).to_owned())).collect()
        };
        let (importing, imported) = (ends(|import| &import.from), ends(|import| &import.to));
        imports.retain(|import| {
            importing.contains(&(import.within.clone(), import.to.clone()))
                && imported.contains(&(import.within.clone(), import.from.clone()))
        });
        if imports.len() == before {
            return imports;
        }
    }
}

/// `[conn, close]` for `engine/src/conn/close.rs`; `None` outside of the crate.
fn module_of(krate: &str, file: &str) -> Option<Path> {
    let inside = file.strip_prefix(krate)?.strip_prefix("/src/")?.strip_suffix(".rs")?;
    let mut module: Path = inside.split('/').map(str::to_owned).collect();
    module.pop_if(|last| last == "mod" || last == "lib");
    Some(module)
}

/// The innermost module on the way to an item.
fn home_of<'a>(path: &'a [String], modules: &BTreeSet<Path>) -> &'a [String] {
    let length = (0..=path.len()).rev().find(|length| modules.contains(&path[..*length]));
    &path[..length.unwrap_or(0)]
}

fn between(source: &Source, from: &[String], to: &[String], named: &[String]) -> Option<Import> {
    let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
    let (child_from, child_to) = (from.get(common)?.clone(), to.get(common)?.clone());
    let within = from[..common].join("::");
    Some(Import { file: source.path.clone(), named: named.join("::"), within, from: child_from, to: child_to })
}

/// A path of `module` from the crate's root; `None` for one into another crate.
fn absolute(module: &[String], path: &[String], modules: &BTreeSet<Path>) -> Option<Path> {
    let climbs = path.iter().take_while(|segment| *segment == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => Some([&module[..module.len().checked_sub(climbs)?], &path[climbs..]].concat()),
        child => modules.contains(&[module, &[child.to_owned()]].concat()).then(|| [module, path].concat()),
    }
}

/// What the `use` lines name, and the code without them.
fn take_uses(code: &str) -> (Vec<Name>, String) {
    let (mut names, mut rest) = (Vec::new(), String::new());
    let mut left = code;
    while let Some(at) = left.find("use ") {
        let (before, line) = left.split_at(at);
        rest.push_str(before);
        let is_word = !rest.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        match line.find(';').filter(|_| is_word) {
            Some(end) => {
                names_of(&[], &line["use ".len()..end], &mut names);
                left = &line[end..];
            }
            None => {
                rest.push_str("use ");
                left = &line["use ".len()..];
            }
        }
    }
    rest.push_str(left);
    (names, rest)
}

/// `a::{b, c::{self, d as e}}` gives `b`, `c`, and `e` for `d`.
fn names_of(prefix: &[String], tree: &str, names: &mut Vec<Name>) {
    if let Some((path, group)) = tree.trim().split_once('{') {
        let prefix = [prefix, &segments(path)].concat();
        let group = group.strip_suffix('}').unwrap_or(group);
        let mut depth = 0;
        let parts = group.split(|character| {
            depth += i32::from(character == '{') - i32::from(character == '}');
            depth == 0 && character == ','
        });
        return parts.filter(|part| !part.trim().is_empty()).for_each(|part| names_of(&prefix, part, names));
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut path = [prefix, &segments(path)].concat();
    if path.len() > 1 {
        path.pop_if(|last| last == "self");
    }
    let Some(last) = path.last() else { return };
    names.push(Name { local: alias.unwrap_or(last).to_owned(), path });
}

fn segments(path: &str) -> Path {
    path.split("::").map(|segment| segment.trim().to_owned()).filter(|segment| !segment.is_empty()).collect()
}

/// Paths in code that begin at the crate, a parent, the module itself, or what the module has by a `use` line.
fn paths_in(code: &str, used: &[Name]) -> Vec<Name> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    let paths = code.split(|character| !is_part(character)).filter(|path| path.contains("::"));
    let absolute = |path: Path| match used.iter().find(|name| name.local == path[0]) {
        Some(name) => [&["crate".to_owned()], &name.path[..], &path[1..]].concat(),
        None => path,
    };
    let paths = paths.map(segments).filter(|path| !path.is_empty());
    paths.map(|path| Name { local: String::new(), path: absolute(path) }).collect()
}

#[cfg(test)]
mod tests {
    use super::{circles, imports};
    use crate::source::Source;

    /// Files of a room `a`, and between which of them imports go round.
    fn around(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, raw): &(&str, &str)| Source::new(format!("engine/src/a/{path}"), (*raw).to_owned());
        let sources: Vec<Source> = files.iter().map(source).collect();
        let found = circles(imports("engine", &sources));
        found.iter().map(|import| format!("{} {}", import.from, import.to)).collect()
    }

    #[test]
    fn circles_are_found_in_every_spelling() {
        let there_and_back = ["b c", "c b"];
        assert_eq!(around(&[("b.rs", "use super::c::X;"), ("c.rs", "use super::b::Y;")]), there_and_back);
        let others = [
            "use super::{d, b};",
            "use crate::a::b::{self};",
            "use crate::{\n    a::{b::Y as Z, d},\n    e,\n};",
            "fn f() { super::b::g() }",
            "impl crate::a::b::Y for X {}",
            "use crate::a as room;\nfn f() -> room::b::Y;",
        ];
        for other in others {
            let files = [("mod.rs", ""), ("b.rs", "pub use super::c::{X};"), ("c.rs", other), ("d.rs", "")];
            assert_eq!(around(&files), there_and_back, "{other}");
        }
    }

    #[test]
    fn what_a_module_re_exports_is_where_it_is_defined() {
        let files = |root| [("mod.rs", root), ("b.rs", "use super::c::X;"), ("c.rs", "use super::Y;")];
        for root in ["pub use b::Y;", "use self::b::Y;", "use crate::a::b::Z as Y;"] {
            assert_eq!(around(&files(root)), ["b c", "c b"], "{root}");
        }
        assert_eq!(around(&files("struct Y;")), [""; 0]);
    }

    #[test]
    fn a_module_with_all_it_contains_is_one_and_its_own_are_no_circle() {
        let outside = ("c.rs", "use super::b::Y;");
        assert_eq!(around(&[("b.rs", ""), ("b/x.rs", "use crate::a::c::X;"), outside]), ["b c", "c b"]);
        assert_eq!(around(&[("b.rs", "use self::x::X;"), ("b/x.rs", "use super::Y;"), outside]), [""; 0]);
        let inside = [("b.rs", ""), ("b/x.rs", "use super::y::Y;"), ("b/y.rs", "use super::x::X;")];
        assert_eq!(around(&inside), ["x y", "y x"]);
    }

    #[test]
    fn tests_and_what_leads_to_a_circle_are_none() {
        let test = "#[cfg(test)]\nmod tests { use super::super::b::Y; }";
        assert_eq!(around(&[("b.rs", "use super::c::X;"), ("c.rs", test)]), [""; 0]);
        let files = [("b.rs", "use super::c::X;"), ("c.rs", "use super::b::Y;"), ("d.rs", "use super::b::Y;")];
        assert_eq!(around(&files), ["b c", "c b"]);
    }
}
