use super::*;

const TABLE: &[u8] = br"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 27 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 unbindable - ext3 /dev/root rw,errors=continue
69 27 0:41 / /tmp/a\040b\134c,d\043e\011f\012g rw,nosuid,nodev,relatime shared:2 - fuse.z,z\040y a,b\134c\040d rw,user_id=0
70 27 0:42 / /tmp/empty rw - fuse  rw,user_id=0
";

fn table(text: &str) -> Vec<Row> {
    parse(text.as_bytes())
}

/// A row with the given id, parent and mountpoint.
fn row(id: u64, parent: u64, mountpoint: &str) -> Row {
    let (fs_type, options, source) = ("fuse".into(), "rw".into(), "x".into());
    Row { id, parent, device: (0, id), mountpoint: mountpoint.into(), fs_type, options, source }
}

/// The id of the mount that is found where row `id` is mounted.
fn reached_from(rows: &[Row], id: u64) -> u64 {
    reached(rows, rows.iter().find(|row| row.id == id).unwrap()).unwrap().id
}

#[test]
fn rows_are_read() {
    let rows = parse(TABLE);
    assert_eq!(rows.len(), 5);
    assert_eq!((rows[1].id, rows[1].parent, rows[1].device), (27, 1, (254, 0)));
    assert_eq!(rows[1].source, "/dev/vda");
    assert_eq!(rows[2].options, "rw,noatime,rw,errors=continue");
    assert_eq!(rows[2].mountpoint, Path::new("/mnt2"));
    assert_eq!(rows[2].fs_type, "ext3", "the optional fields are passed over");
}

#[test]
fn escapes_are_undone() {
    let row = &parse(TABLE)[3];
    assert_eq!(row.mountpoint, Path::new("/tmp/a b\\c,d#e\tf\ng"));
    assert_eq!(row.fs_type, "fuse.z,z y");
    assert_eq!(row.source, "a,b\\c d");
}

#[test]
fn a_source_may_be_empty() {
    let row = &parse(TABLE)[4];
    assert_eq!(row.source, "");
    assert_eq!(row.connection(), Some(42));
}

#[test]
fn names_need_not_be_text() {
    let rows = parse(b"1 1 0:9 / /\xff\xfe rw - fuse.\xfd \xfc rw\n");
    assert_eq!(rows[0].mountpoint.as_os_str().as_encoded_bytes(), b"/\xff\xfe");
    assert!(rows[0].is_fuse());
}

#[test]
fn only_fuse_has_a_connection() {
    let rows = table(
        "1 0 0:5 / /a rw - fuse x rw\n2 0 0:6 / /b rw - fuse.sub x rw\n3 0 0:7 / /c rw - fusectl x rw\n\
         4 0 8:1 / /d rw - fuseblk /dev/sda1 rw\n5 0 0:8 / /e rw - tmpfs x rw\n",
    );
    assert_eq!(rows.iter().map(Row::connection).collect::<Vec<_>>(), [Some(5), Some(6), None, None, None]);
}

#[test]
fn malformed_lines_are_left_out() {
    for line in [
        "",
        "x",
        "1 2",
        "1 2 0:3 / /a rw",
        "1 2 0:3 / /a rw -",
        "1 2 0:3 / /a rw - fuse",
        "a 2 0:3 / / rw - b c d",
    ] {
        assert_eq!(table(line), [], "{line:?}");
    }
    assert_eq!(table("1 2 3 / / rw - b c d\n1 2 0:3 / /a rw - b c d").len(), 1);
}

#[test]
fn escapes_that_are_none_stay() {
    assert_eq!(unescape(br"\04"), r"\04");
    assert_eq!(unescape(br"a\"), r"a\");
    assert_eq!(unescape(br"\777\1340"), r"\777\0");
}

#[test]
fn the_topmost_of_a_stack_is_reached() {
    // In no particular order: that of the table means nothing.
    let rows =
        [row(5, 4, "/mnt/a"), row(3, 2, "/mnt/a"), row(2, 1, "/"), row(4, 3, "/mnt/a"), row(9, 2, "/mnt/b")];
    for id in [3, 4, 5] {
        assert_eq!(reached_from(&rows, id), 5);
    }
    assert_eq!(reached_from(&rows, 9), 9);
    assert_eq!(reached_from(&rows, 2), 2);
}

#[test]
fn a_mount_on_a_directory_above_hides() {
    let rows = [row(2, 1, "/"), row(3, 2, "/mnt/a"), row(4, 2, "/mnt")];
    assert_eq!(reached_from(&rows, 3), 4);
    // The hidden one is not in the way of one at the same place in what hides it.
    let rows = [row(2, 1, "/"), row(3, 2, "/mnt/a"), row(4, 2, "/mnt"), row(5, 4, "/mnt/a")];
    assert_eq!((reached_from(&rows, 3), reached_from(&rows, 5)), (5, 5));
}

#[test]
fn names_that_begin_alike_are_other_directories() {
    let rows = [row(2, 1, "/"), row(3, 2, "/mnt/ab"), row(4, 2, "/mnt/a")];
    assert_eq!((reached_from(&rows, 3), reached_from(&rows, 4)), (3, 4));
}

#[test]
fn the_root_may_be_its_own_parent_or_not_be_there() {
    let rows = [row(2, 2, "/"), row(3, 2, "/mnt")];
    assert_eq!((reached_from(&rows, 2), reached_from(&rows, 3)), (2, 3));
    // In a chroot that is not a mountpoint.
    let rows = [row(3, 2, "/mnt/a"), row(4, 2, "/mnt")];
    assert_eq!((reached_from(&rows, 3), reached_from(&rows, 4)), (4, 4));
}

#[test]
fn a_loop_ends() {
    let rows = [row(2, 3, "/"), row(3, 2, "/")];
    reached(&rows, &rows[0]);
}

#[test]
fn the_table_of_this_machine_is_read() {
    let rows = read().unwrap();
    assert!(!rows.is_empty());
    let proc = rows.iter().find(|row| row.mountpoint == Path::new("/proc")).unwrap();
    assert_eq!(reached_from(&rows, proc.id), proc.id);
}
