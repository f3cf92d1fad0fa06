#!/usr/bin/python3 -S
"""Stands in for micro/calibrate in the runner's tests.

FAKE_PLAN's "calibration" is a list: the n-th call answers with its n-th value,
and with the last one from there on.  "slow" is what it says of slow stretches.
"""
import json
import os
import sys

with open(os.environ["FAKE_PLAN"], encoding="utf-8") as f:
    plan = json.load(f)
values = plan.get("calibration", [1000])
with open(os.environ["FAKE_LOG"] + f".calibrate{sys.argv[1]}", "a+",
          encoding="utf-8") as f:
    f.write("x")
    call = f.tell()
print(json.dumps({"schema": "ioladder-calibration/1",
                  "round_ns": values[min(call, len(values)) - 1],
                  "slow_pct": plan.get("slow", [0, 0])[0],
                  "slow_ms": plan.get("slow", [0, 0])[1]}))
