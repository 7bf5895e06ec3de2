//! A tree of files with all that a tree may hold.

use std::fs::{self, File, FileTimes};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::XattrFlags;

use super::super::case::{Env, Outcome, must};

/// Bytes that look random and are the same each time.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Makes it in the scratch folder.
pub(super) fn tree(env: &Env) -> Outcome<PathBuf> {
    let root = env.scratch.join("tree");
    for i in 0..6 {
        for j in 0..6 {
            let folder = root.join(format!("folder{i}/sub{j}/leaf"));
            fs::create_dir_all(&folder)?;
            for k in 0..8 {
                let seed = i * 100 + j * 10 + k;
                fs::write(folder.join(format!("file{k}")), noise(seed, (seed * 37 % 9000) as usize))?;
            }
            symlink("../leaf/file1", folder.join("link"))?;
        }
    }
    fs::write(root.join("big"), noise(1, 8 << 20))?;
    fs::hard_link(root.join("big"), root.join("folder1/also-big"))?;
    fs::hard_link(root.join("big"), root.join("also-big"))?;
    sparse(&root.join("hole"))?;
    symlink("nowhere", root.join("dangling"))?;
    symlink("x/".repeat(500), root.join("long-link"))?;
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), fifo, 0o640.into(), 0)?;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("null"),
        rustix::fs::FileType::CharacterDevice,
        0o666.into(),
        null,
    )?;
    for name in ["white space", "quote'\"\\", "\u{e9}\u{4e16}", "-dash", &"n".repeat(255), "new\nline"] {
        fs::write(root.join(name), name)?;
    }
    fs::create_dir(root.join("empty"))?;
    fs::create_dir(root.join("sticky"))?;
    fs::write(root.join("setuid"), "#!")?;
    chown(root.join("folder2/sub2/leaf/file2"), Some(1), Some(2))?;
    chown(root.join("folder2/sub2"), Some(3), Some(4))?;
    for (name, mode) in
        [("sticky", 0o1777), ("setuid", 0o4755), ("folder0/sub0/leaf/file1", 0o400), ("folder3", 0o2750)]
    {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode))?;
    }
    let attributed = root.join("folder4/sub4");
    for path in [attributed.clone(), attributed.join("leaf/file4")] {
        // Not every kernel's tmpfs has these.
        let _ = rustix::fs::setxattr(&path, "user.note", b"some\0bytes\xff", XattrFlags::empty());
        let _ = rustix::fs::setxattr(&path, "user.empty", b"", XattrFlags::empty());
    }
    must(env.program("setfacl").args(["-m", "u:1:rwx,g:2:r-x,m::rx"]).arg(attributed.join("leaf/file5")))?;
    must(env.program("setfacl").args(["-d", "-m", "u:1:r-x"]).arg(&attributed))?;
    // Last, as all else changes times.
    for (name, secs, nanos) in
        [("setuid", 946_684_799, 123_456_789), ("big", 1, 0), ("folder5", 4_102_444_800, 1)]
    {
        let time = UNIX_EPOCH + Duration::new(secs, nanos);
        File::open(root.join(name))?.set_times(FileTimes::new().set_modified(time).set_accessed(time))?;
    }
    Ok(root)
}

/// A file of which little is there.
fn sparse(path: &Path) -> Outcome {
    let mut file = File::create(path)?;
    for at in [0, 10 << 20, (30 << 20) + 5] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&noise(at, 5000))?;
    }
    Ok(file.set_len(48 << 20)?)
}
