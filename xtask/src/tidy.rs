//! What ARCHITECTURE.md states, held by tests: which module may use which, where `unsafe` may be, how long files are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::workspace;

/// The library's modules and what each may use. No cycle among them: a line names only what stands below it.
const EDGES: [(&str, &[&str]); 15] = [
    (
        "lib",
        &[
            "builder",
            "dispatch",
            "error",
            "file",
            "fs",
            "internals",
            "mem",
            "mount",
            "notify",
            "passthrough",
            "proto",
            "session",
            "transport",
            "types",
        ],
    ),
    // For benches, behind a feature.
    ("internals", &["dispatch", "fs", "mem", "proto", "types"]),
    ("builder", &["session", "fs", "mount", "error", "types"]),
    ("session", &["dispatch", "fs", "notify", "transport", "mem", "proto", "mount", "error", "types"]),
    ("dispatch", &["fs", "mem", "proto", "types"]),
    ("fs", &["notify", "mem", "proto", "types"]),
    ("notify", &["passthrough", "transport", "proto", "types"]),
    ("passthrough", &["transport", "types"]),
    ("transport", &["mem", "proto", "types"]),
    ("file", &["mem", "types"]),
    ("mem", &["types"]),
    ("proto", &["types"]),
    ("mount", &["error"]),
    ("error", &[]),
    ("types", &[]),
];

/// Where the library may be unsafe. Whole modules, and files by name.
const UNSAFE: [&str; 4] = ["mem/", "transport/", "session/executor.rs", "session/placement.rs"];

/// The most lines of a file. Tables and tests are exempt.
const MAX_LINES: usize = 620;

fn library() -> PathBuf {
    workspace().join("crates/ringfuse/src")
}

/// All Rust files below a folder, with their contents.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Code without its comments and strings of documentation.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part == "tests" || part == "tests.rs" || part == "live_tests" || part == "live_tests.rs"
    })
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let order: Vec<&str> = EDGES.iter().map(|(module, _)| *module).collect();
    for (at, (module, uses)) in EDGES.iter().enumerate() {
        for used in *uses {
            let below = order.iter().position(|one| one == used).expect("a module of the list");
            assert!(below > at, "{module} -> {used} goes up");
        }
    }
    let root = library();
    let mut seen = BTreeSet::new();
    for (path, text) in sources(&root) {
        if is_test(&path) {
            continue;
        }
        let inside = path.strip_prefix(&root).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let module = module.trim_end_matches(".rs");
        let (_, allowed) = EDGES
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} is not in the list of modules"));
        // What follows `#[cfg(test)] mod tests {` in a file is a test.
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code(shipped) {
            for use_of in line.split("crate::").skip(1) {
                let used: String = use_of.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                seen.insert((module.to_owned(), used.clone()));
                assert!(
                    used == module || allowed.contains(&used.as_str()) || !order.contains(&used.as_str()),
                    "{}: {module} may not use {used}",
                    inside.display()
                );
            }
        }
    }
    // The list must not allow what nobody needs.
    for (module, uses) in &EDGES[1..] {
        for used in *uses {
            assert!(
                seen.contains(&((*module).to_owned(), (*used).to_owned())),
                "{module} -> {used} is not needed"
            );
        }
    }
}

#[test]
fn unsafe_is_where_it_may_be() {
    let root = library();
    for (path, text) in sources(&root) {
        let inside = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let has = code(&text).any(|line| {
            line.contains("unsafe {") || line.contains("unsafe impl") || line.contains("unsafe fn")
        });
        if has && !is_test(&path) {
            assert!(UNSAFE.iter().any(|allowed| inside.starts_with(allowed)), "{inside} is not to be unsafe");
        }
    }
    for crate_ in ["ringfuse-abi", "ringfuse-cli"] {
        for (path, text) in sources(&workspace().join("crates").join(crate_).join("src")) {
            // System calls that no crate has: the program's own.
            let allowed = path.ends_with("ringfuse-cli/src/sys.rs");
            assert!(
                allowed || !code(&text).any(|line| line.contains("unsafe {")),
                "{} is unsafe",
                path.display()
            );
        }
    }
}

#[test]
fn files_stay_readable() {
    for folder in ["crates", "examples", "tests", "benches", "xtask"] {
        for (path, text) in sources(&workspace().join(folder)) {
            let lines = text.lines().count();
            assert!(is_test(&path) || lines <= MAX_LINES, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn the_protocol_does_no_io() {
    for (path, text) in sources(&library().join("proto")) {
        if is_test(&path) {
            continue;
        }
        for line in code(&text) {
            for forbidden in
                ["std::io", "std::fs", "std::net", "std::time::Instant", "SystemTime", "async fn"]
            {
                assert!(!line.contains(forbidden), "{}: {forbidden}", path.display());
            }
        }
    }
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let hello = fs::read_to_string(workspace().join("examples/hello.rs")).unwrap();
    let code = hello.split_once("use ringfuse").map(|(_, code)| format!("use ringfuse{code}")).unwrap();
    assert!(readme.contains(&code), "examples/hello.rs has changed: copy it into README.md");
    assert!(hello.lines().count() < 80, "the smallest filesystem is no longer small");
}

#[test]
fn nothing_names_a_place_of_one_machine() {
    for folder in ["crates", "examples", "tests", "benches", "xtask"] {
        for (path, text) in sources(&workspace().join(folder)) {
            for (number, line) in text.lines().enumerate() {
                let home =
                    ["/home", "/root", "/Users"].iter().any(|place| line.contains(&format!("{place}/")));
                assert!(
                    !home || is_test(&path) || path.ends_with("tidy.rs"),
                    "{}:{}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}
