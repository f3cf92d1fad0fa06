"""The first program inside new namespaces: inside.py BYTES CWD [--ro PATH]
[--rw PATH] -- COMMAND...

Builds a root that holds only the paths given, a /tmp of BYTES, /proc and a few
devices, brings the loopback up, and becomes COMMAND there.  For root, after
`unshare --mount --pid --net`: see sandbox.py.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0, data=None):
    words = [w.encode() if w is not None else None
             for w in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags),
                   data.encode() if data else None) != 0:
        err = ctypes.get_errno()
        raise OSError(err, f"mount {target}: {os.strerror(err)}")


def loopback_up():
    with socket.socket() as s:
        name = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(s, SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh", b"lo",
                                                 flags | IFF_UP))


def build(size, paths):
    """The new root; returns its path."""
    root = "/tmp"
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    # The paths must stay reachable while /tmp is covered: hold them open.
    held = [(os.open(path, os.O_PATH), path, read_only)
            for path, read_only in paths
            if os.path.exists(path) and not os.path.islink(path)]
    links = [(path, os.readlink(path)) for path, _ in paths
             if os.path.islink(path)]
    kinds = {path: os.path.isdir(path) for _, path, _ in held}
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=755")
    for path, to in links:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(to, root + path)
    os.makedirs(root + "/tmp", exist_ok=True)
    mount("tmpfs", root + "/tmp", "tmpfs", MS_NOSUID | MS_NODEV,
          f"size={size},mode=1777")
    for fd, path, read_only in held:
        hang(root, f"/proc/self/fd/{fd}", path, kinds[path], read_only)
        os.close(fd)
    os.makedirs(root + "/dev", exist_ok=True)
    for name in DEVICES:
        with open(f"{root}/dev/{name}", "w", encoding="ascii"):
            pass
        mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)
    os.makedirs(root + "/dev/shm", exist_ok=True)
    mount("tmpfs", root + "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV,
          f"size={size},mode=1777")
    os.symlink("/proc/self/fd", root + "/dev/fd")
    os.makedirs(root + "/proc", exist_ok=True)
    mount("proc", root + "/proc", "proc", MS_NOSUID)
    return root


def hang(root, source, path, folder, read_only):
    """A path appears at its own name below the new root."""
    target = root + path
    os.makedirs(target if folder else os.path.dirname(target), exist_ok=True)
    if not folder:
        with open(target, "w", encoding="ascii"):
            pass
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        mount(None, target, None,
              MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID)


def main(argv):
    size, cwd, rest = int(argv[0]), argv[1], argv[2:]
    paths = []
    while rest[0] != "--":
        paths.append((rest[1], rest[0] == "--ro"))
        rest = rest[2:]
    root = build(size, paths)
    loopback_up()
    os.chroot(root)
    os.chdir(cwd)
    os.execvp(rest[1], rest[1:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as err:
        print(f"inside: {err}", file=sys.stderr)
        sys.exit(125)
