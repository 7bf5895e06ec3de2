//! Whatever the kernel puts into the fields of a message comes out of it.

use std::ffi::{CStr, CString};

use super::cases;
use super::random::Random;
use super::wire::{Case, NODE, UNIQUE, Want, case, name, node, wire};
use crate::proto::op::{self, Creation, Operation, SecurityContexts};
use crate::types::{
    DirPos, Fh, Lock, LockKind, LockOwner, NodeId, OpenFlags, PollHandle, SetTime, Timestamp, Unique,
};

/// What a message borrows.
struct Data {
    name: CString,
    other: CString,
    text: CString,
    value: Vec<u8>,
}

impl Data {
    fn new(random: &mut Random) -> Self {
        let name = text(random, 300, true);
        let other = text(random, 30, true);
        let text = text(random, 4095, false);
        let len = random.below(200);
        Self { name, other, text, value: random.bytes(len) }
    }
}

/// A C string of up to `max` bytes, with or without slashes.
fn text(random: &mut Random, max: usize, is_name: bool) -> CString {
    let len = 1 + random.below(max);
    let mut bytes = random.bytes(len);
    for byte in &mut bytes {
        if *byte == 0 || (is_name && *byte == b'/') {
            *byte = b'n';
        }
    }
    CString::new(bytes).unwrap()
}

/// A number that is not zero, and the node of it.
fn some_node(random: &mut Random) -> (u64, NodeId) {
    let number = random.u64().max(1);
    (number, node(number))
}

fn bit(flags: u32, bit: u32) -> bool {
    flags & (1 << bit) != 0
}

/// A message with random fields. Those that the decoder ignores are random too.
fn sample<'a>(random: &mut Random, opcode: u32, data: &'a Data) -> Case<'a> {
    let me = node(NODE);
    let [a, b, c] = [random.u64(), random.u64(), random.u64()];
    let [w, x, y, z] = [random.u32(), random.u32(), random.u32(), random.u32()];
    let (number, other_node) = some_node(random);
    let (a_name, other) = (name(&data.name), name(&data.other));
    let name_bytes = data.name.to_bytes_with_nul();
    let names = [name_bytes, data.other.to_bytes_with_nul()].concat();
    let text = data.text.as_c_str();
    let text_bytes = text.to_bytes_with_nul();
    let value = &data.value[..];
    let len = value.len() as u32;
    let (fh, flags) = (Fh(a), OpenFlags(w));
    let title = format!("opcode {opcode}");
    let of =
        |op, payload: &[u8], want: Operation<'a>| case(title.clone(), opcode, op, payload.to_vec(), want);
    match opcode {
        1 => of(wire![], name_bytes, Operation::Lookup(op::Lookup { parent: me, name: a_name })),
        2 => of(wire![u64 a], b"", Operation::Forget(op::Forget { node: me, nlookup: a })),
        3 | 52 => {
            let fh = bit(w, 0).then_some(fh);
            if opcode == 3 {
                return of(wire![u32 w, u32 x, u64 a], b"", Operation::Getattr(op::Getattr { node: me, fh }));
            }
            let want = Operation::Statx(op::Statx { node: me, fh, flags: y, mask: z });
            of(wire![u32 w, u32 x, u64 a, u32 y, u32 z], b"", want)
        }
        4 => setattr(random, title),
        5 => of(wire![], b"", Operation::Readlink(op::Readlink { node: me })),
        6 | 8 | 9 | 35 | 51 => creation(random, opcode, data),
        10 => of(wire![], name_bytes, Operation::Unlink(op::Unlink { parent: me, name: a_name })),
        11 => of(wire![], name_bytes, Operation::Rmdir(op::Rmdir { parent: me, name: a_name })),
        12 | 45 => {
            let (op, flags) =
                if opcode == 12 { (wire![u64 number], 0) } else { (wire![u64 number, u32 w, u32 x], w) };
            let new_parent = other_node;
            of(
                op,
                &names,
                Operation::Rename(op::Rename {
                    parent: me,
                    name: a_name,
                    new_parent,
                    new_name: other,
                    flags,
                }),
            )
        }
        13 => {
            let want = op::Link { node: other_node, new_parent: me, new_name: a_name };
            of(wire![u64 number], name_bytes, Operation::Link(want))
        }
        14 | 27 => {
            let want = op::Open { node: me, flags, kill_suidgid: bit(x, 0) };
            let wrap = if opcode == 14 { Operation::Open } else { Operation::Opendir };
            of(wire![u32 w, u32 x], b"", wrap(want))
        }
        15 => {
            let lock_owner = bit(y, 1).then_some(LockOwner(c));
            let want = op::Read { node: me, fh, offset: b, size: x, lock_owner, flags };
            of(wire![u64 a, u64 b, u32 x, u32 y, u64 c, u32 w, u32 z], b"", Operation::Read(want))
        }
        16 => {
            let lock_owner = bit(y, 1).then_some(LockOwner(c));
            let (cache, kill_suidgid) = (bit(y, 0), bit(y, 2));
            let want =
                op::Write { node: me, fh, offset: b, size: len, lock_owner, flags, cache, kill_suidgid };
            of(wire![u64 a, u64 b, u32 len, u32 y, u64 c, u32 w, u32 z], value, Operation::Write(want))
        }
        17 => of(wire![], b"", Operation::Statfs(op::Statfs { node: me })),
        18 | 29 => {
            let (flush, flock_unlock) = (bit(x, 0), bit(x, 1));
            let want = op::Release { node: me, fh, flags, lock_owner: LockOwner(b), flush, flock_unlock };
            let wrap = if opcode == 18 { Operation::Release } else { Operation::Releasedir };
            of(wire![u64 a, u32 w, u32 x, u64 b], b"", wrap(want))
        }
        20 | 30 => {
            let want = op::Fsync { node: me, fh, datasync: bit(w, 0) };
            let wrap = if opcode == 20 { Operation::Fsync } else { Operation::Fsyncdir };
            of(wire![u64 a, u32 w, u32 x], b"", wrap(want))
        }
        21 => {
            let ext = random.once_in(2);
            let op = if ext { wire![u32 len, u32 w, u32 x, u32 y] } else { wire![u32 len, u32 w] };
            let acl_kill_sgid = ext && bit(x, 0);
            let want = op::Setxattr { node: me, name: text, value, flags: w, acl_kill_sgid };
            of(op, &[text_bytes, value].concat(), Operation::Setxattr(want)).setxattr_ext(ext)
        }
        22 => {
            let want = op::Getxattr { node: me, name: text, size: w };
            of(wire![u32 w, u32 x], text_bytes, Operation::Getxattr(want))
        }
        23 => of(wire![u32 w, u32 x], b"", Operation::Listxattr(op::Listxattr { node: me, size: w })),
        24 => of(wire![], text_bytes, Operation::Removexattr(op::Removexattr { node: me, name: text })),
        25 => {
            let want = op::Flush { node: me, fh, lock_owner: LockOwner(b) };
            of(wire![u64 a, u32 w, u32 x, u64 b], b"", Operation::Flush(want))
        }
        28 | 44 => {
            let want = op::Readdir { node: me, fh, pos: DirPos(b), size: x, flags };
            let wrap = if opcode == 28 { Operation::Readdir } else { Operation::Readdirplus };
            of(wire![u64 a, u64 b, u32 x, u32 y, u64 c, u32 w, u32 z], b"", wrap(want))
        }
        31..=33 => {
            let kind = [LockKind::Read, LockKind::Write, LockKind::Unlock][x as usize % 3];
            let lock = Lock { start: c, end: number, kind, pid: y };
            let op = wire![u64 a, u64 b, u64 c, u64 number, u32 x % 3, u32 y, u32 z, u32 w];
            let owner = LockOwner(b);
            let want = if opcode == 31 {
                Operation::Getlk(op::Getlk { node: me, fh, owner, lock })
            } else {
                let (flock, wait) = (bit(z, 0), opcode == 33);
                Operation::Setlk(op::Setlk { node: me, fh, owner, lock, flock, wait })
            };
            of(op, b"", want)
        }
        34 => of(wire![u32 w, u32 x], b"", Operation::Access(op::Access { node: me, mask: w })),
        36 => of(wire![u64 a], b"", Operation::Interrupt(op::Interrupt { unique: Unique(a) })),
        37 => {
            let want = op::Bmap { node: me, block: a, blocksize: w };
            of(wire![u64 a, u32 w, u32 x], b"", Operation::Bmap(want))
        }
        38 => of(wire![], b"", Operation::Destroy),
        39 => {
            let want = op::Ioctl { node: me, fh, flags: w, cmd: x, arg: b, input: value, out_size: y };
            of(wire![u64 a, u32 w, u32 x, u64 b, u32 len, u32 y], value, Operation::Ioctl(want))
        }
        40 => {
            let schedule_notify = bit(w, 0);
            let want = op::Poll { node: me, fh, kh: PollHandle(b), schedule_notify, events: x };
            of(wire![u64 a, u64 b, u32 w, u32 x], b"", Operation::Poll(want))
        }
        41 => {
            let head = wire![u64 a, u64 b, u32 len, u32 w, u64 c, u64 a];
            let want = op::NotifyReply { notify_unique: UNIQUE, offset: b, data: value };
            of(wire![], &[&head, value].concat(), Operation::NotifyReply(want))
        }
        42 => {
            let forgets: Vec<_> =
                (0..random.below(20)).map(|_| (random.u64().max(1), random.u64())).collect();
            let bytes = forgets.iter().flat_map(|&(node, count)| wire![u64 node, u64 count]).collect();
            case(title, opcode, wire![u32 forgets.len() as u32, u32 w], bytes, Want::Forgets(forgets))
        }
        43 => {
            let want = op::Fallocate { node: me, fh, offset: b, length: c, mode: w };
            of(wire![u64 a, u64 b, u64 c, u32 w, u32 x], b"", Operation::Fallocate(want))
        }
        46 => {
            let want = op::Lseek { node: me, fh, offset: b, whence: w };
            of(wire![u64 a, u64 b, u32 w, u32 x], b"", Operation::Lseek(want))
        }
        47 | 53 => {
            let [d, e, f] = [random.u64(), random.u64(), random.u64()];
            let (out_fh, out_offset) = (Fh(c), d);
            let want = op::CopyFileRange {
                node: me,
                fh,
                offset: b,
                out_node: other_node,
                out_fh,
                out_offset,
                len: e,
                flags: f,
            };
            let wrap = if opcode == 47 { Operation::CopyFileRange } else { Operation::CopyFileRange64 };
            of(wire![u64 a, u64 b, u64 number, u64 c, u64 d, u64 e, u64 f], b"", wrap(want))
        }
        50 => of(wire![u64 a], b"", Operation::Syncfs(op::Syncfs { node: me })),
        other => panic!("nothing is known of opcode {other}"),
    }
}

fn setattr(random: &mut Random, title: String) -> Case<'static> {
    let valid = random.u32();
    let [fh, size, owner] = [random.u64(), random.u64(), random.u64()];
    let secs = [random.u64(), random.u64(), random.u64()];
    let nanos = [random.u32(), random.u32(), random.u32()].map(|nanos| nanos % 1_000_000_000);
    let [mode, uid, gid] = [random.u32(), random.u32(), random.u32()];
    let time = |which: usize| Timestamp { secs: secs[which] as i64, nanos: nanos[which] };
    let set = |which, now| if bit(valid, now) { SetTime::Now } else { SetTime::At(time(which)) };
    let want = op::Setattr {
        node: node(NODE),
        fh: bit(valid, 6).then_some(Fh(fh)),
        mode: bit(valid, 0).then_some(mode),
        uid: bit(valid, 1).then_some(uid),
        gid: bit(valid, 2).then_some(gid),
        size: bit(valid, 3).then_some(size),
        atime: bit(valid, 4).then_some(set(0, 7)),
        mtime: bit(valid, 5).then_some(set(1, 8)),
        ctime: bit(valid, 10).then_some(time(2)),
        lock_owner: bit(valid, 9).then_some(LockOwner(owner)),
        kill_suidgid: bit(valid, 11),
    };
    let op = wire![
        u32 valid, u32 random.u32(), u64 fh, u64 size, u64 owner, u64 secs[0], u64 secs[1], u64 secs[2],
        u32 nanos[0], u32 nanos[1], u32 nanos[2], u32 mode, u32 random.u32(), u32 uid, u32 gid, u32 random.u32(),
    ];
    case(title, 4, op, wire![], Operation::Setattr(want))
}

/// Up to three contexts and perhaps a group behind up to 300 bytes of name.
fn creation<'a>(random: &mut Random, opcode: u32, data: &'a Data) -> Case<'a> {
    let [mode, umask, flags, rdev, open_flags] = [(); 5].map(|()| random.u32());
    let mut contexts: Vec<(&CStr, &[u8])> = Vec::new();
    let mut area = wire![];
    if random.once_in(2) {
        for _ in 0..random.below(4) {
            let (name, value) = (data.other.as_c_str(), &data.value[random.below(data.value.len() + 1)..]);
            area.extend(wire![u32 value.len() as u32, u32 random.u32()]);
            area.extend(wire![bytes name.to_bytes_with_nul(), bytes value]);
            area.resize(area.len().next_multiple_of(8), 0);
            contexts.push((name, value));
        }
        area = [wire![u32 8 + area.len() as u32, u32 contexts.len() as u32], area].concat();
    }
    let supplementary_group = random.once_in(2).then(|| random.u32());
    if let Some(group) = supplementary_group {
        area.extend(wire![u32 16, u32 32, u32 1, u32 group]);
    }
    let made = Creation { umask, supplementary_group, security: SecurityContexts::default() };
    let (parent, a_name) = (node(NODE), name(&data.name));
    let kill_suidgid = bit(open_flags, 0);
    let mut args = data.name.to_bytes_with_nul().to_vec();
    let (op, want) = match opcode {
        6 => {
            let creation = Creation { umask: 0, ..made };
            args.extend(data.text.to_bytes_with_nul());
            (wire![], Operation::Symlink(op::Symlink { parent, name: a_name, target: &data.text, creation }))
        }
        8 => {
            let want = op::Mknod { parent, name: a_name, mode, rdev, creation: made };
            (wire![u32 mode, u32 rdev, u32 umask, u32 open_flags], Operation::Mknod(want))
        }
        9 => {
            let want = op::Mkdir { parent, name: a_name, mode, creation: made };
            (wire![u32 mode, u32 umask], Operation::Mkdir(want))
        }
        35 => {
            let flags_of = OpenFlags(flags);
            let want =
                op::Create { parent, name: a_name, mode, flags: flags_of, kill_suidgid, creation: made };
            (wire![u32 flags, u32 mode, u32 umask, u32 open_flags], Operation::Create(want))
        }
        _ => {
            args = wire![bytes b"/\0"];
            let want = op::Tmpfile { parent, mode, flags: OpenFlags(flags), creation: made };
            (wire![u32 flags, u32 mode, u32 umask, u32 open_flags], Operation::Tmpfile(want))
        }
    };
    let extlen = (area.len() / 8) as u16;
    let payload = [args, area].concat();
    case(format!("opcode {opcode}"), opcode, op, payload, Want::With(want, contexts)).extlen(extlen)
}

#[test]
fn fields_come_out_as_they_went_in() {
    let mut opcodes: Vec<u32> = cases::all().iter().map(|case| case.opcode).collect();
    opcodes.sort_unstable();
    opcodes.dedup();
    let mut random = Random::new(0x6c62_272e_07bb_0142);
    for _ in 0..50 {
        for &opcode in &opcodes {
            let data = Data::new(&mut random);
            sample(&mut random, opcode, &data).check();
        }
    }
}
