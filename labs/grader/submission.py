"""What a student handed in: a folder, a tar, a zip or one file.

Only the files that the lab names are taken, wherever one level of folders puts
them.  An archive is read, never unpacked: members that are links, devices, too
large, or that lead out of it are refused with the reason, and a bomb ends at
the limit of bytes.  read_apart() does it in a process of its own, which may be
killed for what it uses: the grader is not.
"""

import base64
import hashlib
import json
import lzma
import os
import resource
import stat
import subprocess
import sys
import tarfile
import zipfile
import zlib

FILE_BYTES = 1 << 20        # of one source file
ALL_BYTES = 64 << 20        # of all members that are looked at
MEMBERS = 2000              # looked at in one archive or folder
READ_S = 20                 # for the whole of it
READ_BYTES = 512 << 20      # of memory


class SubmissionError(Exception):
    """Nothing to grade, and why; the student gets zero points and reads it."""


def _keep(found, wanted, name, read):
    """Takes the member when the lab wants it; the least deep one wins."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith("/") or ".." in parts:
        raise SubmissionError(f"{name!r} leads out of the submission")
    parts = [p for p in parts if p not in ("", ".")]
    if not parts or parts[-1] not in wanted or len(parts) > 3 \
            or "__MACOSX" in parts:
        return
    depth = found.get(parts[-1], (99, b""))[0]
    if len(parts) < depth:
        data = read()
        if len(data) > FILE_BYTES:
            raise SubmissionError(f"{name!r} is larger than {FILE_BYTES} bytes")
        found[parts[-1]] = (len(parts), data)


def _limited(stream):
    data = stream.read(FILE_BYTES + 1)
    stream.close()
    return data


def _from_folder(path, wanted, found):
    count = 0
    for here, folders, files in os.walk(path):
        depth = os.path.relpath(here, path).count(os.sep)
        if depth >= 2:
            folders.clear()
        for name in files:
            count += 1
            if count > MEMBERS:
                raise SubmissionError(f"more than {MEMBERS} files")
            full = os.path.join(here, name)
            if name not in wanted:
                continue
            if not stat.S_ISREG(os.lstat(full).st_mode):
                raise SubmissionError(f"{name!r} is not a regular file")
            _keep(found, wanted, os.path.relpath(full, path),
                  lambda full=full: _limited(open(full, "rb")))


def _from_tar(path, wanted, found):
    total = 0
    with tarfile.open(path) as archive:
        for count, member in enumerate(archive):
            if count == MEMBERS:
                raise SubmissionError(f"more than {MEMBERS} members")
            total += max(0, member.size)
            if total > ALL_BYTES:       # to pass one over is to unpack it
                raise SubmissionError(f"members of more than {ALL_BYTES} "
                                      "bytes")
            if member.isdir():
                continue
            if not member.isreg():
                if os.path.basename(member.name) in wanted:
                    raise SubmissionError(f"{member.name!r} is not a regular "
                                          "file")
                continue
            _keep(found, wanted, member.name,
                  lambda m=member: _limited(archive.extractfile(m)))


def _from_zip(path, wanted, found):
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MEMBERS:
            raise SubmissionError(f"more than {MEMBERS} members")
        for member in members:
            mode = member.external_attr >> 16
            if member.is_dir():
                continue
            if stat.S_ISLNK(mode) and \
                    os.path.basename(member.filename) in wanted:
                raise SubmissionError(f"{member.filename!r} is not a regular "
                                      "file")
            _keep(found, wanted, member.filename,
                  lambda m=member: _limited(archive.open(m)))


def read(path, wanted):
    """{file name: bytes} of the wanted files that are there."""
    found = {}
    try:
        if os.path.islink(path) or not os.path.exists(path):
            raise SubmissionError("not there, or a link")
        if not stat.S_ISREG(os.stat(path).st_mode) \
                and not os.path.isdir(path):
            raise SubmissionError("neither a file nor a folder")
        if os.path.isdir(path):
            _from_folder(path, wanted, found)
        elif tarfile.is_tarfile(path):
            _from_tar(path, wanted, found)
        elif zipfile.is_zipfile(path):
            _from_zip(path, wanted, found)
        elif len(wanted) == 1 and path.endswith(".c"):
            _keep(found, wanted, wanted[0], lambda: _limited(open(path, "rb")))
        else:
            raise SubmissionError("neither a folder nor a tar or zip archive")
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error,
            lzma.LZMAError, zipfile.BadZipFile, NotImplementedError,
            RuntimeError) as err:
        raise SubmissionError(f"cannot be read: {err}") from None
    if not found:
        raise SubmissionError(f"holds none of {', '.join(wanted)}")
    missing = [name for name in wanted if name not in found]
    if missing:
        raise SubmissionError(f"{', '.join(missing)} missing")
    return {name: data for name, (_, data) in found.items()}


def fingerprint(files):
    """The same for the same files: a result can be kept for it."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {len(files[name])}\n".encode())
        digest.update(files[name])
    return digest.hexdigest()


def read_apart(path, wanted, seconds=READ_S):
    """read(), in a process with a limit of time and memory."""
    try:
        done = subprocess.run([sys.executable, os.path.abspath(__file__),
                               os.path.abspath(path), *wanted],
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=seconds, check=False)
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise SubmissionError(f"took longer than {seconds} s to read") \
            from None
    except ValueError:
        raise SubmissionError("cannot be read: the reader was stopped, with "
                              f"status {done.returncode}") from None
    if "error" in answer:
        raise SubmissionError(answer["error"])
    return {name: base64.b64decode(data)
            for name, data in answer["files"].items()}


def main(argv):
    resource.setrlimit(resource.RLIMIT_AS, (READ_BYTES, READ_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (READ_S, READ_S))
    try:
        files = read(argv[0], argv[1:])
        answer = {"files": {name: base64.b64encode(data).decode()
                            for name, data in files.items()}}
    except SubmissionError as err:
        answer = {"error": str(err)}
    except MemoryError:
        answer = {"error": f"needs more than {READ_BYTES >> 20} MiB to read"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
