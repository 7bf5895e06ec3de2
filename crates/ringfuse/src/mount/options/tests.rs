use super::*;

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

fn with(change: impl FnOnce(&mut MountOptions)) -> MountOptions {
    let mut options = MountOptions::default();
    change(&mut options);
    options
}

fn items(list: &[u8]) -> Vec<(String, Option<OsString>)> {
    MountOptions::split(os(list))
}

fn data(options: &MountOptions) -> String {
    options.mount_data(7, FileType::Directory, Uid::from_raw(1000), Gid::from_raw(100))
}

#[test]
fn a_list_is_split_at_commas_and_the_first_equals_sign() {
    let item = |name: &str, value: Option<&str>| (name.to_owned(), value.map(OsString::from));
    assert_eq!(items(b""), []);
    assert_eq!(items(b"ro"), [item("ro", None)]);
    assert_eq!(items(b",ro,,noatime,"), [item("ro", None), item("noatime", None)]);
    assert_eq!(items(b"a=b=c,d="), [item("a", Some("b=c")), item("d", Some(""))]);
    assert_eq!(items(b"=x"), [item("", Some("x"))]);
}

#[test]
fn a_backslash_escapes_any_byte_and_octal_numbers() {
    let value = |list: &[u8]| items(list)[0].1.clone().unwrap();
    assert_eq!(value(br"fsname=a\,b"), "a,b");
    assert_eq!(value(br"fsname=a\\b"), r"a\b");
    assert_eq!(value(br"fsname=a\\,ro"), r"a\");
    assert_eq!(value(br"fsname=a\054b\040c"), "a,b c");
    assert_eq!(value(br"fsname=\q\05x\400"), "q05x400");
    assert_eq!(value(br"fsname=end\"), r"end\");
    assert_eq!(value(b"fsname=\xff\\,\xfe"), os(b"\xff,\xfe"));
    assert_eq!(items(br"a\=b=c"), [("a=b".to_owned(), Some("c".into()))]);
    assert_eq!(items(b"n\xffme")[0].0, "n\u{fffd}me");
}

#[test]
fn each_flag_sets_its_field() {
    let cases: &[(&str, MountOptions)] = &[
        ("allow_other", with(|o| o.allow_other = true)),
        ("default_permissions", with(|o| o.default_permissions = true)),
        ("auto_unmount", with(|o| o.auto_unmount = true)),
        ("ro", with(|o| o.read_only = true)),
        ("suid", with(|o| o.suid = true)),
        ("dev", with(|o| o.dev = true)),
        ("noexec", with(|o| o.exec = false)),
        ("noatime", with(|o| o.atime = Atime::Never)),
        ("strictatime", with(|o| o.atime = Atime::Strict)),
        ("nodiratime", with(|o| o.nodiratime = true)),
        ("lazytime", with(|o| o.lazytime = true)),
        ("sync", with(|o| o.synchronous = true)),
        ("dirsync", with(|o| o.dirsync = true)),
        ("nosymfollow", with(|o| o.nosymfollow = true)),
        ("max_read=65536", with(|o| o.max_read = Some(65536))),
        ("fsname=host:/a b", with(|o| o.fsname = Some("host:/a b".into()))),
        ("subtype=memfs", with(|o| o.subtype = Some("memfs".into()))),
        ("subtype=memfs,subtype=", MountOptions::default()),
    ];
    for (list, expected) in cases {
        assert_eq!(&MountOptions::parse(list).unwrap(), expected, "{list}");
    }
}

#[test]
fn of_conflicting_options_the_last_wins() {
    for (list, same) in [
        ("ro,rw", ""),
        ("rw,ro", "ro"),
        ("suid,nosuid", ""),
        ("dev,nodev", ""),
        ("noexec,exec", ""),
        ("sync,async", ""),
        ("noatime,relatime", ""),
        ("noatime,atime", ""),
        ("noatime,strictatime", "strictatime"),
        ("strictatime,nostrictatime", ""),
        ("nodiratime,diratime", ""),
        ("lazytime,nolazytime", ""),
        ("nosymfollow,symfollow", ""),
        ("fsname=a,fsname=b", "fsname=b"),
        ("max_read=1,max_read=2", "max_read=2"),
    ] {
        assert_eq!(MountOptions::parse(list).unwrap(), MountOptions::parse(same).unwrap(), "{list}");
    }
    let mut options = MountOptions::parse("ro,noatime").unwrap();
    options.merge("rw,dev").unwrap();
    assert_eq!(options, MountOptions::parse("noatime,dev").unwrap());
}

#[test]
fn what_mount_keeps_for_itself_is_ignored() {
    let list = "rw,x-systemd.automount,x-gvfs-name=a,X-mount.mkdir,nofail,_netdev,user,users,user=joe,auto,noauto,\
                comment=any\\,thing,defaults,nonempty,owner,group";
    assert_eq!(MountOptions::parse(list).unwrap(), MountOptions::default());
}

#[test]
fn unknown_options_are_refused_with_the_nearest_names() {
    let text = |list: &str| {
        let error = MountOptions::parse(list).unwrap_err();
        assert!(error.is_options());
        error.to_string()
    };
    assert_eq!(text("allow_othr"), "mount option `allow_othr` is unknown; did you mean `allow_other`?");
    assert_eq!(
        text("nolatime"),
        "mount option `nolatime` is unknown; did you mean `noatime` or `nolazytime` or `norelatime`?"
    );
    assert_eq!(text("syn"), "mount option `syn` is unknown; did you mean `sync`?");
    assert_eq!(text("maxread=1"), "mount option `maxread` is unknown; did you mean `max_read`?");
    assert_eq!(
        text("frobnicate"),
        "mount option `frobnicate` is unknown; see mount(8) and mount.fuse3(8) for those that exist"
    );
    assert!(text("=x").starts_with("mount option `` is unknown; "));
    assert!(text("RO").starts_with("mount option `RO` is unknown; "));
}

#[test]
fn known_options_that_cannot_be_had_say_what_to_do() {
    let text = |list: &str| MountOptions::parse(list).unwrap_err().to_string();
    assert_eq!(
        text("allow_root"),
        "mount option `allow_root` is not possible; pass allow_other, and let the filesystem check who calls"
    );
    for list in ["fd=3", "rootmode=40000", "user_id=0", "group_id=0", "blkdev", "blksize=512", "remount"] {
        assert!(text(list).contains("is not possible; "), "{list}");
    }
}

#[test]
fn bad_values_are_refused() {
    let text = |list: &str| MountOptions::parse(list).unwrap_err().to_string();
    assert_eq!(text("ro=1"), "mount option `ro` takes no value");
    assert_eq!(text("fsname"), "mount option `fsname` needs a value, as in NAME=VALUE");
    assert_eq!(text("subtype"), "mount option `subtype` needs a value, as in NAME=VALUE");
    for list in ["max_read=", "max_read=x", "max_read=-1", "max_read=4294967296"] {
        assert!(text(list).starts_with("mount option `max_read` needs a "), "{list}");
    }
}

#[test]
fn a_filesystem_can_take_its_own_options_first() {
    let (mut options, mut colour) = (MountOptions::default(), None);
    for (name, value) in MountOptions::split(r"ro,colour=re\,d,x-any") {
        match name.as_str() {
            "colour" => colour = value,
            _ => assert!(options.apply(&name, value.as_deref()).unwrap(), "{name}"),
        }
    }
    assert_eq!(options, with(|o| o.read_only = true));
    assert_eq!(colour, Some("re,d".into()));
    assert!(!options.apply("colour", None).unwrap());
}

#[test]
fn every_known_name_is_accepted() {
    for (name, _) in FLAGS {
        assert!(MountOptions::default().apply(name, None).unwrap(), "{name}");
    }
    for name in VALUES {
        assert!(MountOptions::default().apply(name, Some(OsStr::new("1"))).unwrap(), "{name}");
    }
}

#[test]
fn the_defaults_are_the_helpers() {
    let options = MountOptions::default();
    assert_eq!(options.mount_flags(), MountFlags::NOSUID | MountFlags::NODEV);
    assert_eq!(data(&options), "fd=7,rootmode=40000,user_id=1000,group_id=100");
    assert_eq!(options.helper_list().unwrap(), "fsname=ringfuse");
    assert_eq!((options.source(), options.fs_type()), (OsStr::new("ringfuse"), "fuse".into()));
}

#[test]
fn everything_reaches_mount() {
    let options = MountOptions::parse(
        "ro,suid,dev,noexec,noatime,nodiratime,lazytime,sync,dirsync,nosymfollow,allow_other,default_permissions,\
         max_read=8192,fsname=a,subtype=b",
    )
    .unwrap();
    let flags = MountFlags::RDONLY
        | MountFlags::NOEXEC
        | MountFlags::NOATIME
        | MountFlags::NODIRATIME
        | MountFlags::LAZYTIME
        | MountFlags::SYNCHRONOUS
        | MountFlags::DIRSYNC
        | MountFlags::NOSYMFOLLOW;
    assert_eq!(options.mount_flags(), flags);
    assert_eq!(
        data(&options),
        "fd=7,rootmode=40000,user_id=1000,group_id=100,default_permissions,allow_other,max_read=8192"
    );
    let file = options.mount_data(3, FileType::RegularFile, Uid::ROOT, Gid::ROOT);
    assert!(file.starts_with("fd=3,rootmode=100000,user_id=0,group_id=0,"));
    assert_eq!((options.source(), options.fs_type()), (OsStr::new("a"), "fuse.b".into()));
    assert!(MountOptions::parse("strictatime").unwrap().mount_flags().contains(MountFlags::STRICTATIME));
}

#[test]
fn the_helpers_list_has_what_it_accepts_and_escapes_names() {
    let all =
        "ro,suid,dev,noexec,noatime,sync,dirsync,allow_other,default_permissions,auto_unmount,max_read=8192";
    assert_eq!(
        MountOptions::parse(all).unwrap().helper_list().unwrap(),
        "fsname=ringfuse,default_permissions,allow_other,auto_unmount,ro,suid,dev,noexec,noatime,sync,dirsync,\
         max_read=8192"
    );
    let names = with(|o| {
        o.fsname = Some(os(b"a,b\\c d\xff"));
        o.subtype = Some("x,\\".into());
    });
    let list = names.helper_list().unwrap();
    assert_eq!(list.as_bytes(), b"fsname=a\\,b\\\\c d\xff,subtype=x\\,\\\\");
    assert_eq!(MountOptions::parse(list).unwrap(), names, "the same language");
}

#[test]
fn the_helpers_list_names_what_it_refuses() {
    for name in ["strictatime", "nodiratime", "lazytime", "nosymfollow"] {
        let error = MountOptions::parse(name).unwrap().helper_list().unwrap_err();
        assert!(error.is_options());
        assert_eq!(
            error.to_string(),
            format!(
                "mount option `{name}` is not accepted by fusermount3; leave it out, or mount directly: as root, \
                 without auto_unmount"
            )
        );
    }
}

#[test]
fn names_that_the_kernel_cannot_take_are_refused() {
    let subtype = |length| with(|o| o.subtype = Some("s".repeat(length).into())).check();
    let fsname = |length| with(|o| o.fsname = Some("n".repeat(length).into())).check();
    assert!(fsname(4095).is_ok() && subtype(4090).is_ok());
    assert!(fsname(4096).is_err() && subtype(4091).is_err());
    assert!(fsname(0).is_err() && subtype(0).is_err());
    assert!(with(|o| o.fsname = Some("a\0b".into())).check().unwrap_err().is_options());
}

#[test]
fn distance_counts_edits() {
    for (a, b, edits) in
        [("", "", 0), ("", "ab", 2), ("ro", "rw", 1), ("atime", "noatime", 2), ("sync", "async", 1)]
    {
        assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
    }
}
