"""The suites that test what an article claims (claims.py); run.py has them
like all others.

Each is a few minutes, small grids and short slices, but nine blocks or more.
Six pairs are the fewest that an interval of 95 % can be had from, a table of
eight comparisons needs nine, and some blocks are lost.
"""

import os

# An arrangement with a worker for each cpu needs as many cpus for itself as
# the generator.
WORKERS = max(1, len(os.sched_getaffinity(0)) // 2)

# One request in a connection of its own, as many at a time as the article has.
ARTICLE_CONNECTIONS = 5000

# What decides between plain calls and the ring: one program, other options.
# 257 is more than a batch can have, and without an option it is the stage's.
OUR_THRESHOLDS, THEIR_THRESHOLDS = "ready-4", "ready-8-free-16"
THRESHOLDS = {
    OUR_THRESHOLDS: [], "single": ["--submit-ready", "257"],
    **{f"ready-{n}": ["--submit-ready", str(n)] for n in (1, 2, 8, 16, 64)},
    **{f"free-{n}": ["--submit-free", str(n)] for n in (8, 64)},
    THEIR_THRESHOLDS: ["--submit-ready", "8", "--submit-free", "16"]}


def make(Suite):    # pylint: disable=invalid-name
    """Every suite of the claims, made with suites.Suite."""
    several = ["--workers", str(WORKERS)]
    yield Suite(
        "claim-article", "1 KiB, a connection per request, closed loop: one "
        "worker, a global pool, all accelerators",
        {"workers": [WORKERS], "connections": [64, ARTICLE_CONNECTIONS]},
        ["--connections", "{connections}", "--close", "--path", "/bytes/1024",
         "--sources", "8"],
        variants={
            "one-worker": ("stage5", ["--workers", "1"]),
            "global-pool": ("variants/5-mutex-pool",
                            ["--workers", "1", "--pool", str(WORKERS)]),
            "accelerators": ("stage6", several)},
        only=("one-worker",), reference="global-pool", trace=False,
        cpus="workers",
        seconds=0.8, warmup=0.3, blocks=9)
    yield Suite(
        "claim-blocking", "GET / beside 8 connections whose handler sleeps "
        "12.4 ms",
        {"workers": [4], "handler": [12400]},
        ["--connections", "8", "--path", "/sleep/{handler}"],
        probe=["--connections", "64", "--rate", "1500"], trace=False,
        seconds=0.8, warmup=0.2, blocks=9)
    yield Suite(
        "claim-events", "Events that one wait may return: 1, 64 or 512; GET /",
        {"connections": [16, 512]}, ["--connections", "{connections}"],
        variants={name: (name, []) for name in ("2-events-1", "2-events-64")},
        only=("stage2",), reference="stage2", trace=False, seconds=0.6,
        warmup=0.15, blocks=9)
    yield Suite(
        "claim-pinning", "Workers pinned to cpus and not, GET /",
        {"workers": [4], "connections": [64]},
        ["--connections", "{connections}"],
        variants={"5-unpinned": ("stage5", ["--pin", "off"]),
                  "6-unpinned": ("stage6", ["--pin", "off"])},
        only=("stage5", "stage6"), reference="stage5", cpus="workers",
        threads=True, trace=False, seconds=0.8, warmup=0.2, blocks=9)
    # A ring alone: one that also tells what is ready; and stage 5, which does
    # not ask, since its receives wait in the ring.
    yield Suite(
        "claim-submit", "GET /: calls one by one, batches, both by what is "
        "ready, and a ring alone",
        {"connections": [1, 8, 64, 1024]},
        ["--connections", "{connections}"],
        variants={name: (name, []) for name in (
            "6-submit-single", "6-submit-batch", "6-notify-ring")},
        only=("stage5", "stage6"), reference="stage6", trace=False, calls=True,
        seconds=0.5, warmup=0.1, blocks=9)
    # One threshold at a time, the other as the stage has it: they are joined by
    # "or", so a pair does what one of them does alone.  With one connection all
    # thresholds but 1 say the same: that is in the suite above.
    yield Suite(
        "claim-thresholds", "GET /: so many ready connections, or so few free "
        "entries, make a batch",
        {"connections": [64, 1024]},
        ["--connections", "{connections}"],
        variants={name: ("6-submit-hybrid", words)
                  for name, words in THRESHOLDS.items()},
        only=("stage5",), reference=OUR_THRESHOLDS, trace=False, calls=True,
        seconds=0.5, warmup=0.1, blocks=15)
    yield Suite(
        # A median needs twenty downloads of a slice: 1.25 GiB.
        "claim-downloads", "Downloads by 8 connections, with GET / beside",
        {"size": [1 << 20, 64 << 20]},
        ["--connections", "8", "--path", "/bytes/{size}"],
        probe=["--connections", "8", "--rate", "2000"], trace=False,
        seconds=2.0, warmup=0.3, blocks=9)
    yield Suite(
        "claim-burst", "As many connects at once as a process has descriptors "
        "for",
        {"idle": [19000]},
        ["--connections", "1", "--rate", "20", "--idle", "{idle}",
         "--processes", "{processes}", "--sources", "{sources}"],
        variants={"6-malloc": ("6-malloc", [])}, memory=True, trace=False,
        seconds=0.2, warmup=0.1, blocks=9)
