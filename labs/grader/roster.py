"""Which submissions a folder holds, and whose they are.

    Canvas   smithjohn_LATE_4711_98765_line-2.c    one file each, so a student
             may have several: they are one submission
    Moodle   Ann Smith_12345_assignsubmission_file_/  or ..._file_line.c
    else     the name of a folder, an archive or a file is the student's login

The names are the students' own work: they may hold blanks, newlines, quotes.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field

from . import submission

CANVAS = re.compile(r"(?P<name>[^_]+)(?:_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+)",
                    re.DOTALL)
MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_"
                    r"(?:file|onlinetext)_?(?P<file>.*)", re.DOTALL)
ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".c")


@dataclass
class Submission:
    """What one student handed in."""

    name: str
    ident: str                  # Canvas' or Moodle's number, else the name
    system: str                 # "canvas", "moodle" or ""
    files: list = field(default_factory=list)   # (path, name it was sent with)

    @property
    def key(self):
        """A name for files and commands, whatever the student's name holds."""
        text = f"{self.system}/{self.ident}/{self.name}"
        return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]

    @property
    def shown(self):
        return self.name.encode("unicode_escape").decode()[:60]


def stem(name):
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if name.endswith(ending) and name != ending:
            return name[:-len(ending)]
    return name


def printable(name):
    """Bytes that are no UTF-8 must not stop the table at its end."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def find(folder):
    """The submissions of a folder, by name."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith(".") or name == "__MACOSX":
            continue
        path, system = os.path.join(folder, name), ""
        sent, owner, ident = name, stem(name), stem(name)
        for word, pattern in (("moodle", MOODLE), ("canvas", CANVAS)):
            match = pattern.fullmatch(name)
            if match and (word == "moodle" or not os.path.isdir(path)):
                system, owner, ident = word, match["name"], match["id"]
                sent = match["file"] or name
                break
        key = (system, ident)
        if not system and key in found:
            key, owner, ident = (system, name), name, name
        one = found.setdefault(key, Submission(
            printable(owner), printable(ident), system))
        one.files.append((path, sent))
    return list(found.values())


def _loose(path):
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise submission.SubmissionError(
            f"{printable(os.path.basename(path))!r} is not a regular file")
    with open(path, "rb") as f:
        data = f.read(submission.FILE_BYTES + 1)
    if len(data) > submission.FILE_BYTES:
        raise submission.SubmissionError(
            f"{printable(os.path.basename(path))!r} is larger than "
            f"{submission.FILE_BYTES} bytes")
    return data


def read(one, wanted):
    """{name: bytes}, or SubmissionError.  Canvas puts -1, -2 behind the name
    of a file that is sent again."""
    if len(one.files) == 1:
        return submission.read_apart(one.files[0][0], wanted)
    found = {}
    for path, sent in one.files:
        plain = re.sub(r"-\d+(\.\w+)$", r"\1", sent)
        if plain in wanted:
            found[plain] = _loose(path)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise submission.SubmissionError(f"{', '.join(missing)} missing")
    return found
