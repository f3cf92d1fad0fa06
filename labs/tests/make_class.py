#!/usr/bin/python3
"""Makes up a class: make_class.py LAB FOLDER [COUNT]

Good, partial, broken and hostile submissions of one lab, in all the forms in
which they arrive: folders, archives, single files, names from Canvas and from
Moodle, names with blanks and newlines.  expected() says what each must get.
"""

import gzip
import io
import os
import sys
import tarfile
import tomllib
import zipfile

LABS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, LABS)

import selftest                                     # noqa: E402
from grader import lab as labs, markers, params     # noqa: E402

GIB = 1 << 30


def put_folder(path, files, below=""):
    folder = os.path.join(path, below)
    os.makedirs(folder)
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)


def put_tar(path, files, prefix="work/"):
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def put_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr("my work/" + name, text)


def put_link(path, files):
    os.mkdir(path)
    for name in files:
        os.symlink("/etc/passwd", os.path.join(path, name))


def put_large(path, files):
    """1 GiB, that takes no room on the disk."""
    os.mkdir(path)
    for name in files:
        with open(os.path.join(path, name), "wb") as f:
            f.truncate(GIB)


def put_bomb(path, files):
    """A small zip of much."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            archive.writestr(name, bytes(64 << 20))


def put_long_name(path, _files):
    """A tar whose first member's name alone has a GiB."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, GIB
    with gzip.open(path, "wb", compresslevel=1) as f:
        f.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(16):
            f.write(bytes(1 << 20))


def put_pipe(path, files):
    os.mkdir(path)
    for name in files:
        os.mkfifo(os.path.join(path, name))


def put_makefile(path, files):
    """Everything that a student may not bring, beside the right files."""
    put_folder(path, dict(files, Makefile="all:\n\tfalse\n",
                          **{"grade.toml": "points = 1000\n",
                             "params.h": "#error mine\n"}))


def hostile(files):
    """(name, how it is put there, files, what the reason must hold)"""
    broken = {n: "int main(void) { return }\n" for n in files}
    empty = {n: "" for n in files}
    return [
        ("broken-build", put_folder, broken, "error:"),
        ("empty-folder", lambda p, f: os.mkdir(p), files, "holds none of"),
        ("empty-file", put_folder, empty, ""),
        ("link-out", put_link, files, "not a regular file"),
        ("one-gib", put_large, files, "larger than"),
        ("dotdot.tar.gz", lambda p, f: put_tar(p, f, "../../"), files,
         "leads out"),
        ("bomb.zip", put_bomb, files, "larger than"),
        ("long-name.tar.gz", put_long_name, files, "cannot be read"),
        ("a-pipe", put_pipe, files, "not a regular file"),
        ("noise.zip", lambda p, f: put_file(p, "\0" * 999), files,
         ""),
    ]


def good(files):
    """Full points, however they are handed in."""
    forms = [("ann", put_folder), ("bob.tar.gz", put_tar),
             ("cia.zip", put_zip), ("own Makefile", put_makefile),
             ("with\nnewline", put_folder), ("it's \"quoted\" $HOME;",
                                             put_folder),
             ("=1+2", put_folder),
             ("Dee Smith_4711_assignsubmission_file_", put_folder)]
    if len(files) == 1:
        name = next(iter(files))
        forms.append((f"eveadams_LATE_815_99_{name[:-2]}-2.c",
                      lambda p, f: put_file(p, f[name])))
    return [(n, how, files, None) for n, how in forms]


def put_file(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def partial(lab, files):
    """Wrong solutions: what they lose is in wrong.toml."""
    with open(os.path.join(lab.folder, "wrong.toml"), "rb") as f:
        wrong = tomllib.load(f)["wrong"]
    made = []
    for one in wrong:
        name = "wrong " + one["name"]
        made.append((name, put_folder, selftest.replaced(lab, files, one),
                     one.get("refused")))
    return made


def members(lab, count=30):
    """[(name, put, files, reason)]: reason None: no reason is expected."""
    files = selftest.solution(lab, params.course_seed())
    starter = markers.files(lab)
    fixed = good(files) + hostile(files)
    fixed += [("starter", put_folder, starter, None)]
    rest = partial(lab, files)
    while len(fixed) + len(rest) < count:
        rest.append((f"copy {len(rest)}", put_folder, files, None))
    return fixed + rest[:max(0, count - len(fixed))]


def make(lab, folder, count=30, only=None):
    os.makedirs(folder)
    made = []
    for name, put, files, reason in members(lab, count):
        if only is None or name in only:
            put(os.path.join(folder, name), files)
            made.append((name, reason))
    return made


def main(argv):
    if len(argv) not in (2, 3):
        print("usage: make_class.py LAB FOLDER [COUNT]", file=sys.stderr)
        return 64
    lab = labs.load(labs.find(argv[0]))
    made = make(lab, argv[1], int(argv[2]) if len(argv) == 3 else 30)
    print(f"{len(made)} submissions of {lab.name} in {argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
