"""What a figure depends on: the machine, the build, the kernel's settings.

Everything here is best effort: a fact that cannot be had is None, never a
reason to stop.  Nothing that names the user, the host or a directory is kept,
so that a result set can be committed.
"""

import hashlib
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import time


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return None


def output(argv, timeout=10, cwd=None):
    """stdout and stderr of a command, or None."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd,
                              timeout=timeout, errors="replace", check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return (done.stdout + done.stderr).strip()


def first_line(text):
    return text.splitlines()[0] if text else None


# --- processors -----------------------------------------------------------

def cpu_list(text):
    """'0-2,5' -> [0, 1, 2, 5]"""
    cpus = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        cpus += range(int(low), int(high or low) + 1)
    return cpus


def topology():
    """One entry for every cpu this process may use."""
    found = []
    for cpu in sorted(os.sched_getaffinity(0)):
        base = f"/sys/devices/system/cpu/cpu{cpu}"
        found.append({
            "cpu": cpu,
            "core": read(f"{base}/topology/core_id"),
            "package": read(f"{base}/topology/physical_package_id"),
            "siblings": read(f"{base}/topology/thread_siblings_list"),
            "l3": read(f"{base}/cache/index3/shared_cpu_list"),
            "max_khz": read(f"{base}/cpufreq/cpuinfo_max_freq"),
            "governor": read(f"{base}/cpufreq/scaling_governor"),
        })
    return found


def choose_cpus(topo, workers=1):
    """(server cpus, client cpus): apart, on cores of their own.

    The first cpu of each core is handed out, the server's first; the client
    gets up to twice as many.  Its threads never share a core with the server
    unless there is only one.
    """
    seen, cores = set(), []
    for entry in topo:
        key = entry["siblings"] or str(entry["cpu"])
        if key not in seen:
            seen.add(key)
            cores.append(entry["cpu"])
    if len(cores) == 1:
        cores = [entry["cpu"] for entry in topo]
    if len(cores) == 1:
        return cores, cores
    workers = max(1, min(workers, len(cores) - 1))
    return cores[:workers], cores[workers:3 * workers]


def cpus_for_workers(topo, workers):
    """(server cpus, client cpus) when each worker is to have a cpu.

    The client gets others while there are any.  Where the workers need all of
    them, both sides may use all: the client is left to the scheduler, since
    every way to pin it would take time from one worker only.
    """
    server, client = choose_cpus(topo, workers)
    if len(server) < workers and set(server) != set(client):
        both = sorted(set(server) | set(client))
        return both[:workers], both[:workers]
    return server, client


def cpu_model():
    text = read("/proc/cpuinfo") or ""
    for key in ("model name", "Hardware", "cpu model"):
        match = re.search(rf"^{key}\s*:\s*(.+)$", text, re.M)
        if match:
            return match.group(1)
    return platform.machine()


def hypervisor():
    text = output(["lscpu"]) or ""
    match = re.search(r"^Hypervisor vendor:\s*(.+)$", text, re.M)
    return match.group(1) if match else None


def core_to_core(build, cpus):
    """Round trips of a cache line between the cpus used, in nanoseconds."""
    probe = os.path.join(build, "micro", "c2c")
    if not os.access(probe, os.X_OK):
        return {"missing": "micro/c2c is not built"}
    text = output([probe, "--json", *map(str, cpus[:8])], timeout=30)
    try:
        return json.loads(text)
    except (TypeError, json.JSONDecodeError):
        return {"missing": "micro/c2c failed"}


def price_list(build, cpus):
    """What a system call, a wake-up, a copy ... costs here: micro/prices."""
    probe = os.path.join(build, "micro", "prices")
    if not os.access(probe, os.X_OK):
        return {"missing": "micro/prices is not built"}
    text = output([probe, "--json", *map(str, cpus[:2])], timeout=120)
    try:
        return json.loads(text)
    except (TypeError, json.JSONDecodeError):
        return {"missing": "micro/prices failed"}


# --- build and settings ---------------------------------------------------

def compiled_with(binary):
    """The compiler and its flags as the debug information has them."""
    try:
        tool = subprocess.Popen(
            ["readelf", "--debug-dump=info", binary], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            errors="replace")
    except OSError:
        return None
    with tool:
        found = None
        for line in tool.stdout:
            match = re.search(r"DW_AT_producer\s*:\s*(?:\(.*?\):\s*)?(.+)",
                              line)
            if match and "GNU AS" not in match.group(1):
                found = match.group(1).strip()
                break
        tool.kill()
    return found


def sha256(path):
    try:
        with open(path, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()
    except OSError:
        return None


def liburing():
    text = output(["pkg-config", "--modversion", "liburing"])
    return first_line(text)


def git(root):
    # An unpacked archive may lie in a tree that is somebody else's.
    if not os.path.exists(os.path.join(root, ".git")):
        return {"revision": None, "dirty": None}
    head = output(["git", "rev-parse", "HEAD"], cwd=root)
    # Other result sets do not change what is measured.
    dirty = output(["git", "status", "--porcelain", "--untracked-files=no",
                    "--", ".", ":!bench/results"], cwd=root)
    return {"revision": head, "dirty": None if dirty is None else bool(dirty)}


def limits():
    nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
    memlock = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    net = "/proc/sys/net/"
    return {
        "nofile": list(nofile),
        "memlock_bytes": list(memlock),
        "somaxconn": read(net + "core/somaxconn"),
        "port_range": read(net + "ipv4/ip_local_port_range"),
        "congestion_control": read(net + "ipv4/tcp_congestion_control"),
        "default_qdisc": read(net + "core/default_qdisc"),
        "tcp_rmem": read(net + "ipv4/tcp_rmem"),
        "tcp_wmem": read(net + "ipv4/tcp_wmem"),
        "io_uring_disabled": read("/proc/sys/kernel/io_uring_disabled"),
    }


def _cgroup_mount(proc, v2):
    """(where it is mounted, what of it) of the hierarchy with the cpus."""
    for line in (read(f"{proc}/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        place, kind = left.split(), right.split()
        if v2 and kind[0] == "cgroup2" or \
                not v2 and kind[0] == "cgroup" and \
                "cpu" in kind[2].split(","):
            return place[4], place[3]
    return None, None


def cpu_quota(proc="/proc", pid="self"):
    """The limit that a control group sets, and how often it stopped this
    process so far: {"cpus": None or a number, "throttled": times}.

    The same files as bench/loadgen/quota.c, which counts for each slice."""
    limits, stops = [], 0
    for line in (read(f"{proc}/{pid}/cgroup") or "").splitlines():
        _, names, path = line.split(":", 2)
        if names and "cpu" not in names.split(","):
            continue
        mount, root = _cgroup_mount(proc, not names)
        if not mount:
            continue
        if root != "/":
            path = path[len(root):] if path.startswith(root) else ""
        group = (mount + path).rstrip("/")
        while group.startswith(mount):
            words = (read(f"{group}/cpu.max")
                     or f"{read(f'{group}/cpu.cfs_quota_us')} "
                        f"{read(f'{group}/cpu.cfs_period_us')}").split()
            if len(words) == 2 and all(w.isdigit() for w in words):
                limits.append(int(words[0]) / int(words[1]))
            found = re.search(r"^nr_throttled (\d+)",
                              read(f"{group}/cpu.stat") or "", re.M)
            stops += int(found[1]) if found else 0
            group = os.path.dirname(group)
    return {"cpus": min(limits) if limits else None, "throttled": stops}


def mitigations():
    base = "/sys/devices/system/cpu/vulnerabilities"
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return None
    found = {name: read(os.path.join(base, name)) for name in names}
    return {name: text for name, text in found.items()
            if text and text != "Not affected"}


PEER_VERSIONS = {
    "nginx": ["nginx", "-v"], "h2o": ["h2o", "--version"],
    "haproxy": ["haproxy", "-v"], "lighttpd": ["lighttpd", "-v"],
    "go": ["go", "version"],
    "fasthttp": ["dpkg-query", "-W", "golang-github-valyala-fasthttp-dev"],
    "libevent": ["dpkg-query", "-W", "libevent-dev"],
}


def peer_versions():
    """{peer: its version}, None where it is not installed."""
    found = {}
    for name, words in PEER_VERSIONS.items():
        path = shutil.which(words[0], path=os.environ.get("PATH", "")
                            + ":/usr/sbin")
        found[name] = first_line(output([path, *words[1:]])) if path else None
    return found


def describe(root, build, server_cpus, client_cpus):
    used = sorted(set(server_cpus) | set(client_cpus))
    memory = re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo") or "")
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "hypervisor": hypervisor(),
        "memory_kib": int(memory.group(1)) if memory else None,
        "topology": topology(),
        "server_cpus": server_cpus,
        "client_cpus": client_cpus,
        "core_to_core": core_to_core(build, used),
        "prices": price_list(build, used),
        "kernel": platform.release(),
        "kernel_build": platform.version(),
        "os": os_name(),
        "clocksource": read("/sys/devices/system/clocksource/clocksource0/"
                            "current_clocksource"),
        "thp": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "liburing": liburing(),
        "peers": peer_versions(),
        "python": platform.python_version(),
        "git": git(root),
        "limits": limits(),
        "cpu_quota": cpu_quota(),
        "mitigations": mitigations(),
    }


def os_name():
    text = read("/etc/os-release") or ""
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', text, re.M)
    return match.group(1) if match else None


# --- sampling while a slice runs ------------------------------------------

def stat_cpus(cpus):
    """(busy, steal, total, interrupts) jiffies of these cpus since boot; the
    time of interrupts, soft ones too, is a part of busy."""
    busy = steal = total = interrupts = 0
    wanted = {f"cpu{cpu}" for cpu in cpus}
    with open("/proc/stat", encoding="ascii") as f:
        for line in f:
            fields = line.split()
            if not fields[0].startswith("cpu"):
                break
            if fields[0] not in wanted:
                continue
            ticks = [int(x) for x in fields[1:9]]
            # user nice system idle iowait irq softirq steal
            busy += sum(ticks[:3]) + ticks[5] + ticks[6]
            steal += ticks[7]
            total += sum(ticks)
            interrupts += ticks[5] + ticks[6]
    return busy, steal, total, interrupts


def process_cpu(pid):
    """Seconds of CPU a process has used, to the nanosecond; None if gone.

    The clock of another process: clock_getcpuclockid(3) computes this id.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def user_and_system(pid):
    """(user, system) jiffies of a process and its threads; None if gone."""
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def page_faults(pid):
    """Minor page faults of a process so far; None if gone."""
    text = read(f"/proc/{pid}/stat")
    return int(text.rpartition(")")[2].split()[7]) if text else None


def scheduling(pid):
    """{"migrations", "run_wait_us"} of the threads that a process has now:
    how often the scheduler moved one to another cpu, and how long they were
    ready and waited for a cpu.  {} if gone or if the kernel does not say."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return {}
    moves = waits = 0
    for task in tasks:
        waited = read(f"/proc/{pid}/task/{task}/schedstat")
        found = re.search(r"nr_migrations\s*:\s*(\d+)",
                          read(f"/proc/{pid}/task/{task}/sched") or "")
        if not waited or not found:
            return {}
        moves += int(found[1])
        waits += int(waited.split()[1]) / 1000
    return {"migrations": moves, "run_wait_us": waits}


def memory_map(pid):
    """{"rss_kib", "private_kib"} read exactly, page by page; {} if gone.

    /proc/PID/status is cheaper, but its counters may lag by 64 pages a cpu.
    """
    text = read(f"/proc/{pid}/smaps_rollup")
    if not text:
        return {}
    kib = {name: int(value) for name, value in
           re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    return {"rss_kib": kib.get("Rss", 0),
            "private_kib": kib.get("Private_Clean", 0)
            + kib.get("Private_Dirty", 0)}


def children(pid):
    text = read(f"/proc/{pid}/task/{pid}/children")
    if text is not None:
        return [int(x) for x in text.split()]
    return []
