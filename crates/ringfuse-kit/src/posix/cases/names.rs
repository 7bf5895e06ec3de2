//! What a name may be.

use crate::posix::base::*;

cases! { "names":
    every_byte [] "a name may hold any byte but '/' and 0 (path_resolution(7))";
    not_utf8 [] "names that are not UTF-8 are kept as they are (path_resolution(7))";
    length_255 [] "names of 255 bytes are taken for every kind, 256 fail with ENAMETOOLONG (open(2))";
    length_255_lookup [] "looking up a name of 256 bytes fails with ENAMETOOLONG (path_resolution(7))";
    spaces_and_newlines [] "leading and trailing spaces, dots, tabs and newlines are kept (path_resolution(7))";
    dots_only_two_special [] "'...' and '..a' are plain names (path_resolution(7))";
    case_matters [] "names that differ in case are different (path_resolution(7))";
    no_normalization [] "composed and decomposed letters are different names (path_resolution(7))";
    shared_prefix [] "200 names that differ in their last byte alone (path_resolution(7))";
    hash_spread [] "600 short names, found one by one and removed in another order (path_resolution(7))";
    dashes_and_globs [] "names that begin with '-' or hold '*' and quotes (path_resolution(7))";
    all_lengths [] "names of every length from 1 to 255 bytes (path_resolution(7))";
    odd_in_rename [] "odd names can be renamed, linked to and read back (rename(2))";
}

fn check_names(d: &Path, all: &[Vec<u8>]) -> Outcome {
    for name in all {
        file(d.join(OsStr::from_bytes(name)), name)?;
    }
    let want: BTreeSet<OsString> = all.iter().cloned().map(OsString::from_vec).collect();
    ensure_eq!(want.len(), all.len());
    ensure_eq!(names(d)?, want);
    for name in all {
        same(&read(d.join(OsStr::from_bytes(name)))?, name)?;
    }
    for name in all {
        unlink(d.join(OsStr::from_bytes(name)))?;
    }
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn every_byte(d: &Path) -> Outcome {
    let singles: Vec<_> =
        (1..=255u8).filter(|&byte| byte != b'/').map(|byte| vec![b'x', byte, b'y']).collect();
    check_names(d, &singles)?;
    let whole: Vec<u8> = (1..=255u8).filter(|&byte| byte != b'/').collect();
    check_names(d, &[whole])
}

fn not_utf8(d: &Path) -> Outcome {
    check_names(
        d,
        &[
            b"\xff\xfe".to_vec(),
            b"caf\xe9".to_vec(),
            b"\xc3".to_vec(),
            b"\xed\xa0\x80".to_vec(),
            b"\x80\x80\x80".to_vec(),
        ],
    )
}

fn length_255(d: &Path) -> Outcome {
    let (long, longer) = (d.join("n".repeat(255)), d.join("n".repeat(256)));
    touch(&long)?;
    unlink(&long)?;
    mkdir(&long)?;
    touch(long.join("f"))?;
    unlink(long.join("f"))?;
    rmdir(&long)?;
    expect_errno!(touch(&longer), NAMETOOLONG);
    expect_errno!(mkdir(&longer), NAMETOOLONG);
    expect_errno!(symlink("x", &longer), NAMETOOLONG);
    expect_errno!(mkfifo(&longer), NAMETOOLONG);
    touch(d.join("f"))?;
    expect_errno!(link(d.join("f"), &longer), NAMETOOLONG);
    expect_errno!(rename(d.join("f"), &longer), NAMETOOLONG);
    ensure_eq!(names(d)?, BTreeSet::from(["f".into()]));
    Ok(())
}

fn length_255_lookup(d: &Path) -> Outcome {
    let longer = d.join("n".repeat(256));
    expect_errno!(st(&longer), NAMETOOLONG);
    expect_errno!(open(&longer, RD), NAMETOOLONG);
    expect_errno!(unlink(&longer), NAMETOOLONG);
    expect_errno!(rmdir(&longer), NAMETOOLONG);
    expect_errno!(st(longer.join("f")), NAMETOOLONG);
    expect_errno!(st(d.join("n".repeat(255))), NOENT);
    Ok(())
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn spaces_and_newlines(d: &Path) -> Outcome {
    check_names(
        d,
        &texts(&[" ", "  ", "a ", " a", "a", "a.", "a..", ".a", "a\n", "\n", "\t", "a\r\n", "a b", "a  b"]),
    )
}

fn dots_only_two_special(d: &Path) -> Outcome {
    check_names(d, &texts(&["...", "....", "..a", "a..", ".a", ". ", ".. ", ".\n"]))
}

fn case_matters(d: &Path) -> Outcome {
    check_names(d, &texts(&["name", "Name", "NAME", "namE", "straße", "STRASSE", "i", "I", "ı", "İ"]))
}

fn no_normalization(d: &Path) -> Outcome {
    check_names(d, &texts(&["\u{e9}", "e\u{301}", "\u{212b}", "\u{c5}", "A\u{30a}", "ﬁ", "fi"]))
}

fn shared_prefix(d: &Path) -> Outcome {
    let all: Vec<_> = (1..=255u8)
        .filter(|&byte| byte != b'/')
        .take(200)
        .map(|byte| {
            let mut name = vec![b'p'; 200];
            name.push(byte);
            name
        })
        .collect();
    check_names(d, &all)
}

fn hash_spread(d: &Path) -> Outcome {
    let mut random = Random(0x4a54);
    let mut all = BTreeSet::new();
    while all.len() < 600 {
        all.insert(format!("{:x}", random.below(1 << 16)));
    }
    for name in &all {
        touch(d.join(name))?;
    }
    for name in all.iter().rev() {
        ensure!(exists(d.join(name)), "{name} is missing");
    }
    ensure_eq!(names(d)?.len(), 600);
    for name in all.iter().rev() {
        unlink(d.join(name))?;
        ensure!(!exists(d.join(name)), "{name} is still there");
    }
    ensure_eq!(names(d)?.len(), 0);
    Ok(())
}

fn dashes_and_globs(d: &Path) -> Outcome {
    check_names(
        d,
        &texts(&["-", "--", "-rf", "*", "?", "[a]", "\\", "\"", "'", "$HOME", "`x`", "a;b", "|", "~"]),
    )
}

fn all_lengths(d: &Path) -> Outcome {
    check_names(d, &(1..=255).map(|len| vec![b'l'; len]).collect::<Vec<_>>())
}

fn odd_in_rename(d: &Path) -> Outcome {
    let odd: Vec<_> = [&b"\xff\n \xfe"[..], b" ", b"\\x41", b"a\x01b"].map(OsStr::from_bytes).to_vec();
    for pair in odd.windows(2) {
        file(d.join(pair[0]), "x")?;
        rename(d.join(pair[0]), d.join(pair[1]))?;
        same(&read(d.join(pair[1]))?, b"x")?;
        ensure_eq!(names(d)?, BTreeSet::from([pair[1].to_owned()]));
        unlink(d.join(pair[1]))?;
    }
    Ok(())
}
