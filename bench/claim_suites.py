"""The suites that test what an article claims (claims.py); run.py has them
like all others.

Each is a few minutes at most: small grids, short slices, six or more blocks,
because six pairs are the fewest that an interval of 95 % can be had from.
"""

import os

# An arrangement with a worker for each cpu needs as many cpus for itself as
# the generator.
WORKERS = max(1, len(os.sched_getaffinity(0)) // 2)

# One request in a connection of its own, as many at a time as the article has.
ARTICLE_CONNECTIONS = 5000


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
        seconds=0.8, warmup=0.2, blocks=6)
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
    yield Suite(
        "claim-submit", "GET /: calls one by one, batches, and both by what "
        "is ready",
        {"connections": [1, 8, 64, 1024]},
        ["--connections", "{connections}"],
        variants={name: (name, []) for name in ("6-submit-single",
                                                "6-submit-batch")},
        only=("stage6",), reference="stage6", trace=False, calls=True,
        seconds=0.5, warmup=0.1, blocks=7)
    yield Suite(
        "claim-downloads", "Downloads by 16 connections, with GET / beside",
        {"size": [1 << 20, 64 << 20]},
        ["--connections", "16", "--path", "/bytes/{size}"],
        probe=["--connections", "8", "--rate", "2000"], trace=False,
        seconds=0.6, warmup=0.15, blocks=6)
    yield Suite(
        "claim-burst", "As many connects at once as a process has descriptors "
        "for",
        {"idle": [19000]},
        ["--connections", "1", "--rate", "20", "--idle", "{idle}",
         "--processes", "{processes}", "--sources", "{sources}"],
        variants={"6-malloc": ("6-malloc", [])}, memory=True, trace=False,
        seconds=0.2, warmup=0.1, blocks=6)
