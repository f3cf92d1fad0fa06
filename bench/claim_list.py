"""The claims of the article, A1 to A20, as data: what is said, which figures
decide it, and which command measures them.  The rule is in claim_rules.py.

`says` is in our words; numbers in it and in bounds are the article's.  A bound
of 1 asks for the direction, the other one for the size.
"""

from claim_rules import Check, Claim, Series, Step
from claim_suites import OUR_THRESHOLDS, THEIR_THRESHOLDS, THRESHOLDS
from suites import STAIRS, SUITES

FEW_CPUS = ("The article measured on 32 cores; here two cpus carry server and "
            "generator, so nothing that needs many cores at once is tested.")
ELASTIC = "elastic"
COLD = {"cache": "cold", "size": 4096}
COLD_LARGE = {"cache": "cold", "size": 1 << 20}
MANY = {"connections": 5000}
PACED = {"wait": "spin", "load": "paced", "consumers": 1}
PARKED = {"wait": "park", "load": "paced", "consumers": 1}


def ratio(suite, ours, theirs, metric, cell=None, text=None, **bound):
    """Checks of one paired ratio, one for each bound: below=(1, 0.5)."""
    words = {"cpu_us": "CPU a request", "qps": "requests/s",
             "mean_us": "mean", "p50_us": "p50", "p99_us": "p99",
             "max_us": "longest", "probe_p99_us": "p99 of / beside it",
             "probe_p50_us": "p50 of / beside it", "threads": "threads",
             "own_calls": "system calls a request"}
    text = text or f"{ours} / {theirs}, {words.get(metric, metric)}"
    where = ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}"
                      for k, v in (cell or {}).items())
    if where:
        text += f" ({where})"
    for kind, limits in bound.items():
        for limit in limits:
            yield Check(text, Series(suite, ours, metric, cell or {}),
                        Series(suite, theirs, metric, cell or {}),
                        **{kind: limit})


def best(suite, ours, others, metric, cell, text, **bound):
    """A check of the ratio to the best of several servers."""
    where = ", ".join(f"{k} {v:,}" for k, v in cell.items())
    return Check(f"{text} ({where})", Series(suite, ours, metric, cell),
                 tuple(Series(suite, name, metric, cell) for name in others),
                 **bound)


def value(suite, server, metric, text, cell=None, unit="", times=1.0,
          **bound):
    return Check(text, Series(suite, server, metric, cell or {}, times),
                 unit=unit, **bound)


def what_if(variant):
    """The suite that measures a variant; a name that no set has until there
    is one."""
    return next((name for name, suite in SUITES.items()
                 if variant in suite.variants and name.startswith("whatif-")),
                f"whatif-of-{variant}")


def what_if_step(variant):
    name = what_if(variant)
    return (Step(name, ("whatif", "--only", name, "--blocks", "9")),) \
        if name in SUITES else ()


def staircase(rule):
    """Checks of a rule for the number of workers, against always all."""
    for step, load in enumerate(STAIRS, 1):
        cell = {"step": step, "load": load}
        yield from ratio(ELASTIC, rule, "max", "p99_us", cell, below=(1.5,))
        if load == min(STAIRS):
            yield from ratio(ELASTIC, rule, "max", "cpu_us", cell,
                             below=(1, 0.6))
    yield value(ELASTIC, rule, "lost", f"{rule}, requests without an answer "
                "on the whole staircase", cell, below=0.5)


def _files_and_waiting():
    yield Claim(
        "A1", "Blocking calls waste cores",
        "Files that are read synchronously: 12.4 ms mean and 8,200 requests a "
        "second; asynchronously 3.1 ms and 24,600. A call that blocks keeps "
        "its core from all other work.",
        (*ratio("files", "stage4", "stage2", "qps", COLD, above=(1, 3)),
         *ratio("files", "stage4", "stage2", "qps", COLD_LARGE, above=(1,)),
         *ratio("files", "stage4", "stage2", "p50_us", COLD, below=(1, 0.25)),
         *ratio("files", "stage4", "stage2", "probe_p99_us", COLD_LARGE,
                below=(1,)),
         *ratio("claim-blocking", "stage1", "stage2", "probe_p50_us",
                below=(1,), text="stage1 / stage2, p50 of / beside handlers "
                "that sleep"),
         *ratio("claim-blocking", "stage6", "stage2", "probe_p50_us",
                below=(1,), text="stage6 / stage2, p50 of / beside handlers "
                "that sleep")),
        "The share of the cpus that is busy: a file that the disk's host "
        "holds in its own memory is never as slow as the article's.",
        (Step("files", ("files", "--servers", "stage1,stage2,stage3,stage4",
                        "--set", "cache=cold", "--blocks", "9", "--seconds",
                        "0.5", "--warmup", "0.1", "--no-trace")),
         Step("claim-blocking", ("claim-blocking",))))
    yield Claim(
        "A2", "Readiness comes in batches of up to 64",
        "A task that waits is parked; a wait returns up to 64 events, and each "
        "puts its task on a run queue.",
        (value("claim-events", "stage2", "events_per_wait",
               "stage2, events a wait at 512 connections",
               {"connections": 512}, above=2),
         *ratio("claim-events", "2-events-1", "stage2", "cpu_us",
                {"connections": 512}, above=(1,)),
         *ratio("claim-events", "2-events-64", "stage2", "cpu_us",
                {"connections": 512}, below=(1.05,))),
        steps=(Step("claim-events", ("claim-events",)),))
    ops = ("uring_ops",)
    yield Claim(
        "A3", "Registered buffers make it zero copies",
        "Two copies become none: the card writes into user memory.",
        (Check("READ_FIXED / RECV, cost (1 KiB, 64 at a time)",
               Series(*ops, "READ_FIXED", "ratio", {
                   "group": "recv", "batch": 64, "size": 1024}), below=1),
         Check("WRITE_FIXED / SEND, cost (1 KiB)",
               Series(*ops, "WRITE_FIXED", "ratio", {
                   "group": "send", "batch": 1, "size": 1024}), below=1),
         Check("SEND_ZC / SEND, cost (1 KiB)",
               Series(*ops, "SEND_ZC", "ratio", {
                   "group": "send", "batch": 1, "size": 1024}), below=1),
         Check("share of zero-copy sends that the kernel copied all the same",
               Series(*ops, "SEND_ZC", "copied_share", {
                   "group": "send", "batch": 1, "size": 1024}), below=0.5)),
        "A network card: on loopback every send is copied. With a card the "
        "kernel's own report (SEND_ZC_REPORT_USAGE) says what was copied.",
        (Step("uring_ops", ("uring_ops", "--blocks", "21"), "micro_run.py",
              70),))


def _cores():
    yield Claim(
        "A4", "Without affinity workers migrate",
        "Pinned to cores: 187 becomes 93 us mean, and 42 % more requests; "
        "unpinned, a ready thread waits over 200 us.",
        (value("claim-pinning", "5-unpinned", "migrations",
               "5-unpinned, migrations a request", above=0, control=True),
         *ratio("claim-pinning", "stage5", "5-unpinned", "mean_us",
                below=(1, 0.5)),
         *ratio("claim-pinning", "stage5", "5-unpinned", "qps",
                above=(1, 1.42)),
         *ratio("claim-pinning", "stage6", "6-unpinned", "mean_us",
                below=(1, 0.5)),
         *ratio("claim-pinning", "stage6", "6-unpinned", "run_wait_us",
                text="stage6 / 6-unpinned, a thread's wait for a cpu",
                below=(1,))),
        FEW_CPUS + " Cache misses: this machine has no counters for them "
        "(perf stat -e LLC-load-misses where there are).",
        (Step("claim-pinning", ("claim-pinning",)),))
    pads = {"update": "add", "every_ns": 0}
    slow = {"update": "add", "every_ns": 500}
    yield Claim(
        "A5", "False sharing of two fields",
        "Fields of two cores on lines of their own: 128,000 requests a second "
        "at 78 us; side by side 73,000 at 210 us.",
        (*ratio("padding", "0", "128", "ns_per_update", pads,
                "side by side / 128 bytes apart, an update without a pause",
                above=(1.75,)),
         *ratio("padding", "0", "128", "ns_per_update", slow,
                "side by side / 128 bytes apart, an update each 0.5 us",
                above=(1, 1.75)),
         *ratio("show-pads", "stage6", "pad0", "qps", above=(1, 1.75)),
         *ratio("show-pads", "stage6", "pad0", "p99_us", below=(1, 0.37))),
        steps=(Step("padding", ("padding", "--blocks", "31"), "micro_run.py",
                    40),
               Step("show-pads", ("show-pads", "--blocks", "9",
                                  "--seconds", "0.8"))))
    yield Claim(
        "A6", "perf and eBPF find the hot path",
        "Stacks of each core, and system calls of over 50 us, name what is "
        "slow.",
        tuple(check for n in range(1, 7) for check in (
            value("planted", f"stage{n}", "named",
                  f"stage{n}: a sleep of 2 ms is named", {"script": "slow"},
                  above=0.5),
            value("planted", f"stage{n}", "named_without",
                  f"stage{n}: named without one", {"script": "slow"},
                  below=0.5, control=True))),
        "Misses of the first-level cache: no counters for them here.",
        (Step("planted", (), "planted.py", 180),))
    yield Claim(
        "A7", "Ready work belongs on the local queue",
        "Injected locally it starts within 50 us; stolen or from a global "
        "queue after 200 us and more.",
        (*ratio(what_if("6-global-queue"), "stage6", "6-global-queue",
                "p50_us", below=(1,)),
         *ratio(what_if("6-global-queue"), "stage6", "6-global-queue",
                "p99_us", below=(1, 0.25))),
        FEW_CPUS, what_if_step("6-global-queue"))
    yield Claim(
        "A8", "A ring without locks beats a queue with a mutex",
        "At a million tasks a second: 1.7 us mean and 5.3 us p99, against 8.2 "
        "and 42.",
        (*ratio("queues", "spmc", "mutex", "mean_ns", PACED,
                "spmc / mutex, mean", below=(1, 0.21)),
         *ratio("queues", "spmc", "mutex", "p99_ns", PACED,
                "spmc / mutex, p99", below=(1, 0.13)),
         value("queues", "spmc", "mean_ns", "spmc, mean (spinning)", PACED,
               "us", 1e-3, below=1.7),
         *ratio("queues", "spmc", "mutex", "mean_ns", PARKED,
                "spmc / mutex, mean", below=(1,))),
        FEW_CPUS,
        (Step("queues", ("queues", "--blocks", "75", "--consumers", "1"),
              "micro_run.py", 110),))


def _thresholds():
    """Ours and the article's, each beside the best of all others."""
    name = "claim-thresholds"
    # A batch of 64 leaves more entries free than any of them asks for.
    few = [other for other in THRESHOLDS if "free" not in other]
    for ours, text in ((OUR_THRESHOLDS, "ours (4)"),
                       (THEIR_THRESHOLDS, "the article's (8, 16)")):
        for n, others in ((64, few), (1024, THRESHOLDS)):
            yield best(name, ours, [o for o in others if o != ours], "cpu_us",
                       {"connections": n}, f"{text} / best threshold, CPU",
                       below=1.03)
    for server, bound in (("ready-1", {"above": 0.99}),
                          ("single", {"below": 0.01})):
        yield value(name, server, "ring_rounds",
                    f"{server}, share of rounds by the ring",
                    {"connections": 1024}, control=True, **bound)


def _ends_and_rings():
    stages = [f"stage{n}" for n in range(1, 7)]
    yield Claim(
        "A9", "Workers end with their context",
        "Nothing is left when work is cancelled: no task leaks.",
        tuple(check for s in stages for check in (
            value("cycles", s, "threads", f"{s}: threads left", below=0.5),
            value("cycles", s, "descriptors", f"{s}: descriptors left",
                  below=0.5),
            value("cycles", s, "bytes_a_cycle",
                  f"{s}: memory left, bytes a cycle", below=256.0),
            value("cycles", s, "bad_ends", f"{s}: ends that failed",
                  below=0.5))),
        steps=(Step("cycles", ("--cycles", "3500"), "cycles.py", 45),))
    yield Claim(
        "A10", "Hybrid submission: single calls for few, a batch for many",
        "Fewer than 8 ready: one by one. 8 or more: a batch by the ring.",
        (*(best("claim-submit", "stage6", ("6-submit-single", *others),
                "cpu_us", {"connections": n},
                f"stage6 / best of calls, {words}, CPU", below=1.03)
           for others, words in ((("6-submit-batch",), "batches"),
                                 (("6-notify-ring", "stage5"), "ring only"))
           for n in (1, 64, 1024)), *_thresholds()),
        "Entries that wait in the queue of the ring: here none stays in it, so "
        "that few are free only where a batch itself is that large.",
        (Step("claim-submit", ("claim-submit",)),
         Step("claim-thresholds", ("claim-thresholds",))))
    shared = what_if("5-shared-ring")
    yield Claim(
        "A11", "A completion queue for each core",
        "Bound to its own ring, a pool sees no wake-up across cores.",
        (*ratio(shared, "stage5", "5-shared-ring", "cpu_us", below=(1,)),
         *ratio(shared, "stage5", "5-shared-ring", "p99_us", below=(1,))),
        FEW_CPUS, what_if_step("5-shared-ring"))
    yield Claim(
        "A12", "Workers grow and shrink with the load",
        "Every 500 ms the load of a worker decides: fewer below 200 tasks a "
        "core, up to twice as many above 600.",
        (Check("min / max, CPU a request (step 1, load 0.1)",
               *(Series(ELASTIC, server, "cpu_us", {"step": 1})
                 for server in ("min", "max")), below=1, control=True),
         *staircase("load"), *staircase("wait")),
        "Here a worker fewer leaves no core to others: all share one. The "
        "control, always one worker, is the most that any rule could save.",
        (Step(ELASTIC, (ELASTIC,)),))


def _whole():
    name, all_three, pool = "claim-article", "accelerators", "global-pool"
    yield Claim(
        "A13", "HTTP, a connection per request, 1 KiB, 5,000 at a time",
        "One worker: 8,240 requests a second, 602 ms mean. A global pool: "
        "42,700 and 117. All three accelerators: 68,900 and 72.",
        (*ratio(name, all_three, pool, "qps", MANY, above=(1, 1.61)),
         *ratio(name, all_three, pool, "mean_us", MANY, below=(1, 0.62)),
         *ratio(name, all_three, pool, "p99_us", MANY, below=(1, 0.58)),
         *ratio(name, all_three, pool, "cpu_us", MANY, below=(1,)),
         *ratio(name, pool, "one-worker", "qps", MANY, above=(1, 5.18))),
        FEW_CPUS + " One worker and a pool on the same cpu cannot differ by "
        "the factor of five that more cores give.",
        (Step(name, (name,)),))
    batch = what_if("6-batch-inject")
    yield Claim(
        "A14", "Ready tasks pushed in batches",
        "The scheduling delay falls by 37 %.",
        (*ratio(batch, "6-batch-inject", "stage6", "p50_us",
                below=(1, 0.63)),
         *ratio(batch, "6-batch-inject", "stage6", "cpu_us", below=(1,))),
        "The delay of a task alone: the latency of a request holds it.",
        what_if_step("6-batch-inject"))
    made, asked = ({"what": what, "depth": 12} for what in ("make", "check"))
    yield Claim(
        "A15", "Contexts without locks",
        "Creation: 83 becomes 9 ns. At depth 12 a third of the allocations.",
        (*ratio("tokens", "atomic", "locked", "ns", made,
                "atomics / lock, time", below=(1, 0.11)),
         *ratio("tokens", "atomic", "locked", "ns", asked,
                "atomics / lock, time", below=(1,)),
         value("tokens", "atomic", "allocations", "atomics, allocations", made,
               below=0.33),
         value("tokens", "locked", "allocations", "lock, allocations", made,
               above=0.5, control=True)),
        steps=(Step("tokens", (), "tokens.py", 15),))
    yield Claim(
        "A16", "Tracing the life of tasks finds a sleep of 100 ms",
        "A heat map of task states from eBPF showed a handler that slept.",
        tuple(value("planted", f"stage{n}", "named",
                    f"stage{n}: a handler of 100 ms shows", {
                        "script": "sleep"}, above=0.5) for n in range(1, 7)),
        steps=(Step("planted", (), "planted.py", 180),))


def _crowds():
    beat, down = "heartbeat", "claim-downloads"
    yield Claim(
        "A17", "Heartbeats of devices, and downloads of firmware",
        "Heartbeats: p99 1,240 becomes 89 ms, 128,000 tasks become 18,500. "
        "Downloads: 3,820 becomes 217 ms.",
        (*ratio(beat, "stage6", "stage1", "beat_p99_us",
                text="stage6 / stage1, p99 of heartbeats", below=(1, 0.072)),
         *ratio(beat, "stage6", "stage1", "threads", below=(1, 0.145)),
         *ratio(down, "stage6", "stage1", "p50_us", {"size": 1 << 20},
                below=(1, 0.057)),
         *ratio(down, "stage6", "stage1", "p50_us", {"size": 64 << 20},
                below=(1, 0.057)),
         *ratio(down, "stage6", "stage1", "probe_p99_us", {"size": 64 << 20},
                below=(1,))),
        FEW_CPUS,
        (Step(beat, (beat, "--set", "period=1", "--blocks", "9", "--seconds",
                     "1", "--warmup", "0.2")),
         Step(down, (down, "--servers", "stage1,stage6"))))
    heap = what_if("6-timer-heap")
    yield Claim(
        "A18", "Timers local to a worker",
        "A deque and timers for each worker: the longest pause of a loop "
        "falls from 12 to 0.8 ms.",
        (*ratio(heap, "stage6", "6-timer-heap", "p99_us", below=(1,)),
         *ratio(heap, "stage6", "6-timer-heap", "max_us",
                below=(1, 0.067))),
        FEW_CPUS, what_if_step("6-timer-heap"))
    burst = "claim-burst"
    yield Claim(
        "A19", "Pooled objects",
        "Memory allocated for a response: 1.2 MB becomes 184 KB; objects made "
        "in a burst of connects: 17,000 a second become 2,300.",
        (*(check for n in range(2, 7) for check in (
            value("steady", f"stage{n}", "allocations",
                  f"stage{n}: allocations a request", below=0.001),
            value("steady", f"stage{n}", "faults",
                  f"stage{n}: page faults a request", below=0.001))),
         *ratio(burst, "stage6", "6-malloc", "connect_faults",
                text="stage6 / 6-malloc, page faults a connect",
                below=(1, 0.15)),
         *ratio(burst, "stage6", "6-malloc", "connects_per_s",
                text="stage6 / 6-malloc, connects/s in a burst",
                above=(1,))),
        "A burst of 20,000 into one process: its descriptors end at 20,000, "
        "so it is 19,000.",
        (Step("steady", (), "steady.py", 20),
         Step(burst, (burst, "--servers", "stage6"))))
    crowd = {"idle": 10000}
    yield Claim(
        "A20", "Very many long connections on one machine",
        "A gateway holds millions of connections that are mostly silent, with "
        "120,000 tasks.",
        (value("idle", "stage6", "private_kib",
               "stage6, user memory of an idle connection", crowd, "B",
               1024 / 10000, below=1024),
         value("idle", "stage4", "private_kib",
               "stage4, user memory of an idle connection", crowd, "B",
               1024 / 10000, below=1024),
         value("idle", "stage1", "private_kib",
               "stage1, user memory of an idle connection", crowd, "B",
               1024 / 10000, above=1024, control=True),
         *ratio("idle", "stage6", "stage1", "private_kib", crowd,
                "stage6 / stage1, user memory", below=(0.1,)),
         value("idle", "stage6", "server_busy",
               "stage6, share of a cpu with an idle crowd", crowd,
               below=0.02)),
        "Millions at once: a process here has 20,000 descriptors. "
        "docs/scale.md computes what they would take.",
        (Step("idle", ("idle", "--set", "idle=10000", "--blocks", "9",
                       "--seconds", "0.4", "--warmup", "0.1")),))


CLAIMS = (*_files_and_waiting(), *_cores(), *_ends_and_rings(), *_whole(),
          *_crowds())
BY_ID = {claim.id: claim for claim in CLAIMS}
