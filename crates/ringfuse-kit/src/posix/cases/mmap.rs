//! Memory maps: mmap(2), msync(2).

use crate::posix::base::*;
use sys::Map;

cases! { "mmap":
    read_shared [MMAP] "a read-only map shows the content, and zeros to the end of the page (mmap(2))";
    read_private [] "a private map shows the content (mmap(2))";
    read_at_offset [MMAP] "a map from a page offset (mmap(2))";
    write_seen_by_read [MMAP] "what is stored in a shared map is read by read (mmap(2))";
    write_seen_by_map [MMAP] "what is written by write is seen in a shared map (mmap(2))";
    write_seen_in_read_map [MMAP] "what is written by write is seen in a read-only map (mmap(2))";
    private_write_stays [] "what is stored in a private map is not in the file (mmap(2))";
    msync_reaches_file [MMAP] "after msync the data is there when the cache was dropped (msync(2))";
    unmap_reaches_file [MMAP] "after munmap and fsync the data is there when the cache was dropped (munmap(2))";
    two_maps [MMAP] "two maps of a file show the same (mmap(2))";
    survives_close [MMAP] "a map stays when its descriptor is closed (mmap(2))";
    survives_rename [MMAP] "a map stays when its file is renamed (mmap(2))";
    access_checked [MMAP] "a shared writable map needs O_RDWR, any map O_RDONLY: EACCES (mmap(2))";
    bad_arguments [] "length 0 and an odd offset fail with EINVAL, directories with ENODEV (mmap(2))";
    tail_not_written [MMAP] "what is stored past the end within the page is not in the file (mmap(2))";
    extend_under_map [MMAP] "a file extended under a map shows the new bytes (mmap(2))";
    truncate_under_map [MMAP] "a file cut and extended under a map reads zeros there (mmap(2))";
    into_hole [MMAP] "stores into a hole, also after the cache was dropped (mmap(2))";
    large_random [MMAP] "random stores into 4 MiB match a model (mmap(2))";
    write_from_own_map [MMAP] "write(2) from a map of the same file (mmap(2))";
    read_into_own_map [MMAP] "read(2) into a map of the same file (mmap(2))";
    mixed_model [MMAP] "400 random stores, writes, reads and truncates match a model (mmap(2))";
}

fn read_shared(d: &Path) -> Outcome {
    let data = pattern(10_000, 1);
    let f = file(d.join("f"), &data)?;
    drop_cache(&f)?;
    let map = Map::new(&open(d.join("f"), RD)?, 0, 12_288, false, true)?;
    same(&map.read(0, 10_000), &data)?;
    same(&map.read(10_000, 2288), &[0; 2288])
}

fn read_private(d: &Path) -> Outcome {
    let data = pattern(300_000, 2);
    let f = file(d.join("f"), &data)?;
    drop_cache(&f)?;
    let map = Map::new(&f, 0, data.len(), false, false)?;
    same(&map.read(0, data.len()), &data)
}

fn read_at_offset(d: &Path) -> Outcome {
    let data = pattern(100_000, 3);
    let f = file(d.join("f"), &data)?;
    let page = rustix::param::page_size();
    let map = Map::new(&f, page as u64, 50_000, false, true)?;
    same(&map.read(0, 50_000), &data[page..page + 50_000])
}

fn write_seen_by_read(d: &Path) -> Outcome {
    let mut data = pattern(20_000, 4);
    let f = file(d.join("f"), &data)?;
    let map = Map::new(&f, 0, data.len(), true, true)?;
    for at in [0, 4095, 9999, 19_997] {
        map.write(at, b"abc");
        data[at..at + 3].copy_from_slice(b"abc");
        same(&read(d.join("f"))?, &data)?;
    }
    Ok(())
}

fn write_seen_by_map(d: &Path) -> Outcome {
    let f = file(d.join("f"), pattern(20_000, 5))?;
    let map = Map::new(&f, 0, 20_000, true, true)?;
    map.read(0, 20_000);
    for at in [0usize, 4095, 9999, 19_997] {
        f.write_all_at(b"abc", at as u64)?;
        same(&map.read(at, 3), b"abc")?;
    }
    map.write(4096, b"X");
    f.write_all_at(b"Y", 4098)?;
    same(&map.read(4096, 3), b"XcY")
}

fn write_seen_in_read_map(d: &Path) -> Outcome {
    let f = file(d.join("f"), pattern(20_000, 6))?;
    let map = Map::new(&open(d.join("f"), RD)?, 0, 20_000, false, true)?;
    map.read(0, 20_000);
    f.write_all_at(b"abc", 12_287)?;
    same(&map.read(12_287, 3), b"abc")
}

fn private_write_stays(d: &Path) -> Outcome {
    let data = pattern(10_000, 7);
    let f = file(d.join("f"), &data)?;
    let map = Map::new(&open(d.join("f"), RD)?, 0, data.len(), true, false)?;
    map.write(100, b"private");
    same(&map.read(100, 7), b"private")?;
    f.write_all_at(b"file", 5000)?;
    drop(map);
    let mut want = data;
    want[5000..5004].copy_from_slice(b"file");
    same(&read(d.join("f"))?, &want)
}

fn msync_reaches_file(d: &Path) -> Outcome {
    let mut data = pattern(200_000, 8);
    let f = file(d.join("f"), &data)?;
    let map = Map::new(&f, 0, data.len(), true, true)?;
    for at in [3, 70_000, 199_990] {
        map.write(at, b"changed");
        data[at..at + 7].copy_from_slice(b"changed");
    }
    map.sync()?;
    drop(map);
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn unmap_reaches_file(d: &Path) -> Outcome {
    let f = file(d.join("f"), vec![0; 100_000])?;
    let map = Map::new(&f, 0, 100_000, true, true)?;
    let data = pattern(100_000, 9);
    map.write(0, &data);
    drop(map);
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &data)
}

fn two_maps(d: &Path) -> Outcome {
    let f = file(d.join("f"), vec![b'.'; 20_000])?;
    let a = Map::new(&f, 0, 20_000, true, true)?;
    let b = Map::new(&open(d.join("f"), RDWR)?, 0, 20_000, true, true)?;
    a.write(10, b"from a");
    b.write(9000, b"from b");
    same(&b.read(10, 6), b"from a")?;
    same(&a.read(9000, 6), b"from b")
}

fn survives_close(d: &Path) -> Outcome {
    let f = file(d.join("f"), vec![b'.'; 10_000])?;
    let map = Map::new(&f, 0, 10_000, true, true)?;
    drop(f);
    map.write(5000, b"late");
    map.sync()?;
    same(&read(d.join("f"))?[5000..5004], b"late")?;
    drop(map);
    same(&read(d.join("f"))?[5000..5004], b"late")
}

fn survives_rename(d: &Path) -> Outcome {
    let f = file(d.join("f"), vec![b'.'; 10_000])?;
    let map = Map::new(&f, 0, 10_000, true, true)?;
    rename(d.join("f"), d.join("g"))?;
    file(d.join("f"), vec![b'!'; 10_000])?;
    map.write(5000, b"late");
    map.sync()?;
    same(&read(d.join("g"))?[5000..5004], b"late")?;
    same(&read(d.join("f"))?[5000..5004], b"!!!!")
}

fn access_checked(d: &Path) -> Outcome {
    let f = file(d.join("f"), vec![0; 5000])?;
    Map::new(&f, 0, 5000, true, true)?;
    expect_errno!(Map::new(&open(d.join("f"), RD)?, 0, 5000, true, true), ACCESS);
    expect_errno!(Map::new(&open(d.join("f"), WR)?, 0, 5000, true, true), ACCESS);
    expect_errno!(Map::new(&open(d.join("f"), WR)?, 0, 5000, false, true), ACCESS);
    Ok(())
}

fn bad_arguments(d: &Path) -> Outcome {
    let f = file(d.join("f"), vec![0; 5000])?;
    expect_errno!(Map::new(&f, 0, 0, false, true), INVAL);
    expect_errno!(Map::new(&f, 100, 1000, false, true), INVAL);
    expect_errno!(Map::new(&open(d, RD)?, 0, 5000, false, true), NODEV);
    Ok(())
}

fn tail_not_written(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    let map = Map::new(&f, 0, 4096, true, true)?;
    map.write(3, b"beyond the end");
    map.write(0, b"A");
    map.sync()?;
    drop(map);
    ensure_eq!(f.metadata()?.len(), 3);
    drop_cache(&f)?;
    same(&read(d.join("f"))?, b"Abc")
}

fn extend_under_map(d: &Path) -> Outcome {
    let f = file(d.join("f"), "abc")?;
    let map = Map::new(&f, 0, 40_960, true, true)?;
    same(&map.read(0, 3), b"abc")?;
    f.set_len(40_960)?;
    same(&map.read(3, 40_957), &vec![0; 40_957])?;
    map.write(40_000, b"stored");
    f.write_all_at(b"written", 20_000)?;
    same(&map.read(20_000, 7), b"written")?;
    same(&read_at(&f, 40_000, 6)?, b"stored")
}

fn truncate_under_map(d: &Path) -> Outcome {
    let f = file(d.join("f"), vec![b'x'; 40_960])?;
    let map = Map::new(&f, 0, 40_960, true, true)?;
    map.write(0, &[b'y'; 40_960]);
    f.set_len(5000)?;
    same(&map.read(0, 5000), &[b'y'; 5000])?;
    f.set_len(40_960)?;
    same(&map.read(5000, 35_960), &vec![0; 35_960])?;
    let mut want = vec![b'y'; 5000];
    want.resize(40_960, 0);
    same(&read(d.join("f"))?, &want)
}

fn into_hole(d: &Path) -> Outcome {
    let f = touch(d.join("f"))?;
    f.set_len(MIB as u64)?;
    let map = Map::new(&f, 0, MIB, true, true)?;
    let mut want = vec![0; MIB];
    for at in [0, 5000, 500_000, MIB - 4] {
        map.write(at, b"hole");
        want[at..at + 4].copy_from_slice(b"hole");
    }
    same(&map.read(0, MIB), &want)?;
    map.sync()?;
    drop(map);
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &want)
}

fn large_random(d: &Path) -> Outcome {
    const SIZE: usize = 4 * MIB;
    let mut model = pattern(SIZE, 10);
    let f = file(d.join("f"), &model)?;
    drop_cache(&f)?;
    let map = Map::new(&f, 0, SIZE, true, true)?;
    let mut random = Random(11);
    for i in 0..500 {
        let at = random.below(SIZE - 100);
        let data = pattern(1 + random.below(99), i);
        map.write(at, &data);
        model[at..at + data.len()].copy_from_slice(&data);
    }
    same(&read(d.join("f"))?, &model)?;
    map.sync()?;
    drop(map);
    drop_cache(&f)?;
    same(&read(d.join("f"))?, &model)
}

fn write_from_own_map(d: &Path) -> Outcome {
    let data = pattern(40_000, 12);
    let f = file(d.join("f"), &data)?;
    drop_cache(&f)?;
    let map = Map::new(&f, 0, data.len(), true, true)?;
    let mut done = 0;
    while done < 20_000 {
        done += map.pwrite_to(&f, done, 20_000 - done, 20_000 + done as u64)?;
    }
    map.write(0, b"!");
    let mut want = data[..20_000].repeat(2);
    want[0] = b'!';
    same(&read(d.join("f"))?, &want)?;
    same(&map.read(0, 40_000), &want)
}

fn read_into_own_map(d: &Path) -> Outcome {
    let data = pattern(40_960, 14);
    let f = file(d.join("f"), &data)?;
    drop_cache(&f)?;
    let map = Map::new(&f, 0, data.len(), true, true)?;
    let mut done = 0;
    while done < 10_000 {
        done += map.pread_from(&f, 20_480 + done, 10_000 - done, done as u64)?;
    }
    map.sync()?;
    let mut want = data;
    want.copy_within(0..10_000, 20_480);
    same(&read(d.join("f"))?, &want)
}

fn mixed_model(d: &Path) -> Outcome {
    const MAX: usize = 200_000;
    let f = touch(d.join("f"))?;
    let mut model: Vec<u8> = Vec::new();
    let mut random = Random(13);
    for step in 0..400u64 {
        let at = random.below(MAX);
        let len = 1 + random.below(10_000);
        match random.below(6) {
            0 | 1 => {
                let data = pattern(len, step);
                f.write_all_at(&data, at as u64)?;
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&data);
            }
            2 | 3 if !model.is_empty() => {
                let map = Map::new(&f, 0, model.len(), true, true)?;
                let at = at % model.len();
                let data = pattern(len.min(model.len() - at), step);
                same(&map.read(at, data.len()), &model[at..at + data.len()])?;
                map.write(at, &data);
                model[at..at + data.len()].copy_from_slice(&data);
            }
            4 => {
                f.set_len(at as u64)?;
                model.resize(at, 0);
            }
            _ => {
                if step % 3 == 0 {
                    drop_cache(&f)?;
                }
                same(&read(d.join("f"))?, &model)?;
            }
        }
    }
    same(&read(d.join("f"))?, &model)
}
