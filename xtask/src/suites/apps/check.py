import hashlib
import mmap
import multiprocessing
import os
import shutil
import tempfile
import threading
import zipfile


def mapped():
    with open("mapped", "w+b") as file:
        file.truncate(1 << 20)
        with mmap.mmap(file.fileno(), 1 << 20) as view:
            for at in range(0, 1 << 20, 4096):
                view[at] = at // 4096 % 251
            # What was written through the file is seen through the mapping, and the other way round.
            file.seek(5)
            file.write(b"hello")
            file.flush()
            assert view[5:10] == b"hello"
            view.flush()
            with open("mapped", "rb") as other:
                content = other.read()
            assert content[5:10] == b"hello"
            assert all(content[at] == at // 4096 % 251 for at in range(0, 1 << 20, 4096))
        os.fsync(file.fileno())
        file.truncate(10)
    assert os.path.getsize("mapped") == 10
    return hashlib.sha256(content).hexdigest()


def churn(number):
    os.mkdir(f"churn{number}")
    for i in range(200):
        path = f"churn{number}/{i}"
        with open(path, "w") as file:
            file.write(path)
        with open(path) as file:
            assert file.read() == path
        os.rename(path, path + "x")
        os.link(path + "x", path + "y")
        os.unlink(path + "x")
    names = sorted(os.listdir(f"churn{number}"))
    assert len(names) == 200
    return hashlib.sha256(" ".join(names).encode()).hexdigest()


def threads(count):
    faults = []

    def body(number):
        try:
            churn(number)
        except BaseException as error:
            faults.append(error)

    started = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert not faults, faults


def packed():
    with zipfile.ZipFile("packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, _, names in os.walk("churn1"):
            for name in names:
                archive.write(os.path.join(folder, name))
    with zipfile.ZipFile("packed.zip") as archive:
        assert archive.testzip() is None
        archive.extractall("unpacked")
    same = all(open(f"churn1/{n}").read() == open(f"unpacked/churn1/{n}").read() for n in os.listdir("churn1"))
    return same, len(os.listdir("unpacked/churn1"))


def temporary():
    with tempfile.TemporaryFile(dir=".") as file, tempfile.NamedTemporaryFile(dir=".") as named:
        file.write(b"x" * 100000)
        file.seek(0)
        named.write(file.read())
        named.flush()
        return os.stat(named.name).st_size, os.fstat(file.fileno()).st_nlink


if __name__ == "__main__":
    print("mapped", mapped())
    threads(6)
    # Forked, as a script from standard input has no file to be imported from.
    with multiprocessing.get_context("fork").Pool(3) as pool:
        print("processes", pool.map(churn, range(10, 16)))
    print("packed", *packed())
    print("temporary", *temporary())
    shutil.copytree("churn2", "copied")
    shutil.move("copied", "moved")
    print("moved", len(os.listdir("moved")))
    shutil.rmtree("churn0")
    print("left", sorted(os.listdir(".")))
