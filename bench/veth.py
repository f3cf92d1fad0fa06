#!/usr/bin/python3
"""Two machines on paper: network namespaces joined by veth, an sshd in each.

    veth.py up DIR [--clients N] [--rate 1gbit]     as root; then
    eval run.py ladder $(veth.py words DIR)
    veth.py down DIR

Each namespace has one end of a veth and its own address, an sshd of its own
with its own host key, and nothing else in common with the others but the
kernel and the cpus.  DIR holds keys, configuration and logs; down removes it.
Packets pass through the whole of both TCP stacks, but through no card: what
a wire costs is not in it.  --rate makes the links slow (tc tbf).
"""

import argparse
import getpass
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

USAGE, SKIP = 64, 77
NET = "10.203.77"       # an address for each namespace; the bridge has .254
START_S = 15
SSHD = """ListenAddress {address}
Port 22
HostKey {dir}/host-{name}
AuthorizedKeysFile {dir}/login.pub
PidFile {dir}/{name}.pid
StrictModes no
PasswordAuthentication no
UsePAM no
PermitRootLogin prohibit-password
MaxStartups 100
"""
SSH = """Host {names}
    User {user}
    IdentityFile {dir}/login
    IdentitiesOnly yes
    UserKnownHostsFile {dir}/known
    StrictHostKeyChecking yes
    LogLevel ERROR
"""


class Missing(Exception):
    """What this machine lacks; the text says what."""


def tool(name):
    found = shutil.which(name, path=os.environ.get("PATH", "")
                         + ":/usr/sbin:/sbin")
    if not found:
        package = {"ip": "iproute2", "tc": "iproute2", "ssh-keygen":
                   "openssh-client", "ssh": "openssh-client"}
        raise Missing(f"{name} is missing (package "
                      f"{package.get(name, 'openssh-server')})")
    return found


def sh(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False,
                          timeout=30, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Missing(f"{' '.join(argv[:6])}: "
                      f"{done.stderr.strip().splitlines()[-1:] or 'failed'}")
    return done.stdout


def inside(name, *argv):
    """Runs a command in a namespace."""
    return sh(tool("ip"), "netns", "exec", name, *argv)


def names_of(tag, clients):
    """The namespaces, the server's first."""
    return [f"{tag}s", *(f"{tag}c{n}" for n in range(1, clients + 1))]


def address_of(number):
    return f"{NET}.{number + 1}"


def lay_link(tag, number, name, rate):
    """A veth from the bridge into the namespace."""
    ip, near, far = tool("ip"), f"{tag}v{number}", f"{tag}w{number}"
    sh(ip, "netns", "add", name)
    sh(ip, "link", "add", near, "type", "veth", "peer", "name", far)
    sh(ip, "link", "set", far, "netns", name)
    sh(ip, "link", "set", near, "master", f"{tag}b", "up")
    inside(name, ip, "link", "set", "lo", "up")
    inside(name, ip, "addr", "add", f"{address_of(number)}/24", "dev", far)
    inside(name, ip, "link", "set", far, "up")
    if rate:    # both ways: each end limits what it sends
        words = ("root", "tbf", "rate", rate, "burst", "256k", "latency",
                 "50ms")
        sh(tool("tc"), "qdisc", "add", "dev", near, *words)
        inside(name, tool("tc"), "qdisc", "add", "dev", far, *words)


def start_sshd(directory, number, name):
    path = os.path.join(directory, f"{name}.conf")
    sh(tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f",
       os.path.join(directory, f"host-{name}"))
    with open(path, "w", encoding="utf-8") as f:
        f.write(SSHD.format(address=address_of(number), dir=directory,
                            name=name))
    with open(os.path.join(directory, f"host-{name}.pub"),
              encoding="utf-8") as f:
        key = f.read()
    with open(os.path.join(directory, "known"), "a", encoding="utf-8") as f:
        f.write(f"{address_of(number)} {key}")
    # /run/sshd is where sshd wants to be; only this sshd sees this one.
    script = ("mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "
              f"{tool('sshd')} -f {shlex.quote(path)} -E "
              f"{shlex.quote(os.path.join(directory, name))}.log")
    inside(name, "sh", "-c", script)


def pid_of(directory, name):
    """The sshd of a namespace, None when it is not there (yet)."""
    try:
        with open(os.path.join(directory, f"{name}.pid"),
                  encoding="ascii") as f:
            return int(f.read())
    except (OSError, ValueError):
        return None


def up(directory, clients, rate):
    """Makes all of it, or nothing."""
    if os.geteuid():
        raise Missing("namespaces with addresses need root")
    for name in ("ip", "sshd", "ssh", "ssh-keygen", *(["tc"] if rate else [])):
        tool(name)
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o700)
    directory = os.path.realpath(directory)
    state = os.path.join(directory, "veth.json")
    if os.path.exists(state):
        raise ValueError(f"{directory} is up already")
    tag = f"il{os.getpid() % 100000}"    # names of links have 15 letters
    names = names_of(tag, clients)
    with open(state, "w", encoding="utf-8") as f:
        json.dump({"tag": tag, "names": names}, f)
    try:
        build(directory, tag, names, rate)
    except BaseException:
        down(directory)
        raise


def build(directory, tag, names, rate):
    ip = tool("ip")
    sh(tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f",
       os.path.join(directory, "login"))
    sh(ip, "link", "add", f"{tag}b", "type", "bridge")
    sh(ip, "link", "set", f"{tag}b", "up")
    sh(ip, "addr", "add", f"{NET}.254/24", "dev", f"{tag}b")
    for number, name in enumerate(names):
        lay_link(tag, number, name, rate)
        start_sshd(directory, number, name)
    with open(os.path.join(directory, "ssh.conf"), "w",
              encoding="utf-8") as f:
        f.write(SSH.format(names=f"{NET}.*", user=getpass.getuser(),
                           dir=directory))
    for number in range(len(names)):
        await_ssh(directory, address_of(number))


def await_ssh(directory, address):
    until = time.monotonic() + START_S
    while True:
        done = subprocess.run(
            [tool("ssh"), "-F", os.path.join(directory, "ssh.conf"), "-o",
             "BatchMode=yes", address, "true"], capture_output=True,
            text=True, check=False, timeout=30, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return
        if time.monotonic() > until:
            raise Missing(f"no ssh to {address}: {done.stderr.strip()}")
        time.sleep(0.1)


def down(directory):
    """Ends what up() began, as far as it came."""
    directory = os.path.realpath(directory)
    with open(os.path.join(directory, "veth.json"), encoding="utf-8") as f:
        state = json.load(f)
    ip = tool("ip")
    for name in state["names"]:
        pid = pid_of(directory, name)
        if pid:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        pids = subprocess.run([ip, "netns", "pids", name], text=True,
                              capture_output=True, check=False).stdout
        for left in pids.split():    # a session that is still open
            try:
                os.kill(int(left), signal.SIGKILL)
            except ProcessLookupError:
                pass
        subprocess.run([ip, "netns", "del", name], capture_output=True,
                       check=False)
    subprocess.run([ip, "link", "del", f"{state['tag']}b"],
                   capture_output=True, check=False)
    for number in range(len(state["names"])):
        subprocess.run([ip, "link", "del", f"{state['tag']}v{number}"],
                       capture_output=True, check=False)
    shutil.rmtree(directory)


def words(directory):
    """What run.py is to be told."""
    directory = os.path.realpath(directory)
    with open(os.path.join(directory, "veth.json"), encoding="utf-8") as f:
        names = json.load(f)["names"]
    config = shlex.quote(os.path.join(directory, "ssh.conf"))
    return ["--server-host", address_of(0), "--client-hosts",
            ",".join(address_of(n) for n in range(1, len(names))),
            f"--ssh=ssh -F {config}"]


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0],
                                allow_abbrev=False)
    p.error = lambda why: (print(f"veth.py: {why}", file=sys.stderr),
                           sys.exit(USAGE))
    p.add_argument("what", choices=["up", "down", "words", "run"])
    p.add_argument("directory", metavar="DIR")
    p.add_argument("--clients", type=int, default=1, metavar="N",
                   help="client hosts (1)")
    p.add_argument("--rate", metavar="RATE",
                   help="of each link, in tc's words: 100mbit (no limit)")
    args, rest = p.parse_known_args(argv)
    if rest and args.what != "run" or not 1 <= args.clients <= 16:
        p.error("up, down and words take DIR; run takes words of run.py; "
                "1 to 16 clients")
    try:
        if args.what in ("up", "run"):
            up(args.directory, args.clients, args.rate)
        if args.what == "run":
            return run(args.directory, rest)
        if args.what == "down":
            down(args.directory)
        if args.what == "words":
            print(shlex.join(words(args.directory)))
    except Missing as err:
        print(f"veth.py: {err}", file=sys.stderr)
        return SKIP
    except (OSError, ValueError) as err:
        print(f"veth.py: {err}", file=sys.stderr)
        return USAGE
    return 0


def run(directory, rest):
    """up, run.py with the words that are left over, down."""
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        return subprocess.run(
            [sys.executable, os.path.join(here, "run.py"), *rest,
             *words(directory)], check=False).returncode
    finally:
        down(directory)


if __name__ == "__main__":
    # Not inherit.py: this file may come on stdin, alone.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
