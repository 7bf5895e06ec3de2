//! Compares this crate with the kernel's own header, as a C compiler sees it.
//!
//! `table.rs` lists every struct with its fields, every constant and every function-like macro once. From that
//! list come a C program that prints what the header says and the lines that Rust expects it to print.
//! `header.rs` reads the header's text, so that nothing in it can be left out of the list.

mod header;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt::Write as _, fs, process};

use header::Header;
use table::{calls, constants, structs};

const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");

/// Names of the header that the table need not list.
const EXCEPTIONS: &[(&str, &str)] = &[("_LINUX_FUSE_H", "the include guard")];

/// Arguments with which function-like macros are tried.
const SAMPLES: &[usize] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 255, 256, 4095, 4096, 16384, 65536];

fn header_text() -> String {
    let path = Path::new(INCLUDE).join("linux/fuse.h");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// What the header has and the table lacks, the other way round, and fields whose types differ.
fn differences(header: &Header) -> Vec<String> {
    let mut found = Vec::new();
    let table = structs();

    for theirs in &header.structs {
        let Some(ours) = table.iter().find(|ours| ours.name == theirs.name) else {
            found.push(format!("struct {} is not in the table", theirs.name));
            continue;
        };
        let ours: Vec<_> = ours.fields.iter().map(|f| (f.name, f.c_type)).collect();
        let theirs_fields: Vec<_> =
            theirs.fields.iter().map(|f| (f.name.as_str(), f.c_type.as_str())).collect();
        if ours != theirs_fields {
            found.push(format!("struct {}:\n  header {theirs_fields:?}\n  table  {ours:?}", theirs.name));
        }
    }
    for ours in &table {
        if !header.structs.iter().any(|theirs| theirs.name == ours.name) {
            found.push(format!("struct {} is not in the header", ours.name));
        }
    }

    let listed: Vec<&str> =
        constants().iter().map(|c| c.name).chain(calls().iter().map(|c| c.name)).collect();
    let named: Vec<&str> =
        header.macros.iter().chain(header.enumerators().map(|(_, name)| name)).map(String::as_str).collect();
    for name in &named {
        if !listed.contains(name) && !EXCEPTIONS.iter().any(|(exception, _)| exception == name) {
            found.push(format!("{name} is not in the table"));
        }
    }
    for name in listed.iter().chain(EXCEPTIONS.iter().map(|(name, _)| name)) {
        if !named.contains(name) {
            found.push(format!("{name} is not in the header"));
        }
    }
    found
}

/// The C program, and the lines that it must print.
fn program() -> (String, Vec<String>) {
    let mut body = String::new();
    let mut expected = Vec::new();
    let mut line = |c_format: String, c_arguments: String, rust: String| {
        writeln!(body, "\tprintf(\"{c_format}\\n\", {c_arguments});").expect("writing to a string");
        expected.push(rust);
    };

    for s in structs() {
        let name = s.name;
        line(
            format!("struct {name}: size %zu align %zu"),
            format!("sizeof(struct {name}), _Alignof(struct {name})"),
            format!("struct {name}: size {} align {}", s.size, s.align),
        );
        for f in s.fields {
            let field = f.name;
            line(
                format!("{name}.{field}: offset %zu size %zu"),
                format!("offsetof(struct {name}, {field}), sizeof(((struct {name} *)0)->{field})"),
                format!("{name}.{field}: offset {} size {}", f.offset, f.size),
            );
        }
    }
    for c in constants() {
        let name = c.name;
        line(format!("{name} = %#llx"), format!("VALUE({name})"), format!("{name} = {}", c_hex(c.value)));
    }
    for c in calls() {
        for &n in SAMPLES {
            let (name, expression) = (c.name, c.expression);
            line(
                format!("{name} of {n} = %zu"),
                format!("(n = {n}, {expression})"),
                format!("{name} of {n} = {}", (c.function)(n)),
            );
        }
    }

    let program = format!(
        "#include <stddef.h>\n\
         #include <stdint.h>\n\
         #include <stdio.h>\n\
         #include <sys/ioctl.h>\n\
         #include \"linux/fuse.h\"\n\
         /* the bits of a value: an int of (1 << 31) is not to be sign-extended */\n\
         #define VALUE(x) (sizeof(x) == 4 ? (unsigned long long)(uint32_t)(x) : (unsigned long long)(x))\n\
         #undef PAGE_SIZE\n\
         #define PAGE_SIZE n\n\
         int main(void)\n{{\n\tsize_t n;\n\n{body}\treturn 0;\n}}\n"
    );
    (program, expected)
}

/// As C's `%#llx`, which prints a zero without prefix.
fn c_hex(value: u64) -> String {
    if value == 0 { "0".into() } else { format!("{value:#x}") }
}

/// Compiles and runs the program in `dir`; returns what it printed.
fn compile_and_run(dir: &Path, program: &str) -> String {
    let source = dir.join("layout.c");
    let binary = dir.join("layout");
    fs::write(&source, program).expect("write the C program");

    let cc = env::var("CC").ok().filter(|cc| !cc.trim().is_empty()).unwrap_or_else(|| "cc".into());
    let mut words = cc.split_whitespace();
    let compiler = words.next().expect("CC is not blank");
    let output = Command::new(compiler)
        .args(words)
        .arg("-I")
        .arg(INCLUDE)
        .arg("-o")
        .arg(&binary)
        .arg(&source)
        .output()
        .unwrap_or_else(|e| {
            panic!(
                "cannot run the C compiler `{compiler}`: {e}\ninstall one (`apt-get install gcc`) or set CC"
            )
        });
    assert!(
        output.status.success(),
        "`{cc}` cannot compile {}; if it misses a system header, `apt-get install gcc libc6-dev`\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr),
    );

    let output = Command::new(&binary).output().expect("run the compiled program");
    assert!(output.status.success(), "{}: {}", binary.display(), output.status);
    String::from_utf8(output.stdout).expect("the program prints ASCII")
}

#[test]
fn table_lists_all_of_the_header() {
    let found = differences(&Header::parse(&header_text()));
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

#[test]
fn c_compiler_agrees() {
    let (program, expected) = program();
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("layout-{}", process::id()));
    fs::create_dir_all(&dir).expect("create a directory for the C program");
    let printed = compile_and_run(&dir, &program);

    let printed: Vec<&str> = printed.lines().collect();
    assert_eq!(printed.len(), expected.len(), "number of lines printed");
    let wrong: Vec<String> = printed
        .iter()
        .zip(&expected)
        .filter(|(c, rust)| c != rust)
        .map(|(c, rust)| format!("C:    {c}\nRust: {rust}"))
        .collect();
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    fs::remove_dir_all(&dir).expect("remove the directory");
}

#[test]
fn every_opcode_has_its_name() {
    let header = Header::parse(&header_text());
    let mut count = 0;
    for (_, name) in header.enumerators().filter(|(group, _)| *group == "fuse_opcode") {
        let opcode = constants().iter().find(|c| c.name == name).expect("listed").value;
        let opcode = u32::try_from(opcode).expect("opcodes have 32 bits");
        let short = name.strip_prefix("FUSE_").unwrap_or(name);
        assert_eq!(ringfuse_abi::opcode_name(opcode), Some(short));
        count += 1;
    }
    assert!(count > 50, "the header's opcodes were not found");
}

/// A header that has something more than the table must be noticed.
#[test]
fn additions_to_the_header_are_noticed() {
    let text = header_text();
    let before = differences(&Header::parse(&text));
    let with = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "`{from}` is not in the header");
        let mut found = differences(&Header::parse(&changed));
        found.retain(|difference| !before.contains(difference));
        found.join("\n")
    };
    let end = "#endif /* _LINUX_FUSE_H */";

    let found = with(end, "struct fuse_new_in {\n\tuint64_t fh;\n};\n");
    assert_eq!(found, "struct fuse_new_in is not in the table");

    let found = with(end, "#define FUSE_NEW\t(1 << 3)\n");
    assert_eq!(found, "FUSE_NEW is not in the table");

    let found = with(end, "#define FUSE_NEW(x) \\\n\t((x) + 1)\n");
    assert_eq!(found, "FUSE_NEW is not in the table");

    let found = with("FUSE_NOTIFY_PRUNE = 9,", "FUSE_NOTIFY_PRUNE = 9,\n\tFUSE_NOTIFY_NEW, /* next */");
    assert_eq!(found, "FUSE_NOTIFY_NEW is not in the table");

    let found = with("struct fuse_syncfs_in {", "struct fuse_syncfs_in {\n\tuint32_t a, b;");
    assert!(found.starts_with("struct fuse_syncfs_in:"), "{found}");

    let found = with("uint64_t\tnlookup;", "int64_t\tnlookup;");
    assert!(found.starts_with("struct fuse_forget_in:"), "{found}");
}
