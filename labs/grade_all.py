#!/usr/bin/python3
"""Grades a class: grade_all.py LAB FOLDER --csv OUT.csv [options]

FOLDER holds one submission a student: folders, tar or zip archives, files, or
what Canvas and Moodle let you download.  Three tables are written: OUT.csv for
people, OUT-canvas.csv and OUT-moodle.csv to import.  What is graded stays
graded: the same command goes on where it was stopped, and grades again only
what has changed, the lab included.

  --jobs N        so many at once, on each machine (this one's processors)
  --hosts A,B     on these machines, by ssh; ":" is this one
  --slurm FILE    writes an array job instead; the same command without it
                  collects the results later
  --again         grades all of them again
  --seed, --test-seed, --sandbox    as for grade.py

Exit status: 0 all are graded, 1 some could not be (they have no points, the
reason stands in OUT.csv), 64 usage or a malformed lab, 130 stopped by Ctrl-C.
"""

import argparse
import base64
import contextlib
import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import grade                                                # noqa: E402
from grader import build, bundle, lab as labs, params       # noqa: E402
from grader import result as results, roster, sandbox       # noqa: E402
from grader import similar, submission, tables              # noqa: E402

BUILD_S = 60                # for the student's compiler, before TIME_SCALE
SLACK_S = 60
LINE = "ioladder-graded"
LAST_LINES = 5              # of what a job without a result has said


def parse(argv):
    p = argparse.ArgumentParser(
        usage="grade_all.py LAB FOLDER --csv OUT.csv [options]",
        description=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("lab")
    p.add_argument("folder")
    p.add_argument("--csv", required=True)
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--hosts", default="")
    p.add_argument("--slurm", metavar="FILE")
    p.add_argument("--again", action="store_true")
    p.add_argument("--seed", default=params.course_seed())
    p.add_argument("--test-seed", type=int)
    p.add_argument("--sandbox", choices=sandbox.WAYS[:-1])
    args = p.parse_args(argv)
    if args.jobs < 1:
        p.error("--jobs must be 1 or more")
    if not os.path.isdir(args.folder):
        p.error(f"{args.folder} is no folder")
    args.hosts = [h for h in args.hosts.split(",") if h]
    # The machine is full: what waits for a processor must not fail for it.
    args.scale = os.environ.get("TIME_SCALE") or "2"
    return args


# ---- one submission: what runs here, on another machine, or in a Slurm job

def grade_words(args):
    """The options that a job passes on to the grader."""
    words = ["--seed", args.seed]
    if args.test_seed:
        words += ["--test-seed", str(args.test_seed)]
    if args.sandbox:
        words += ["--sandbox", args.sandbox]
    return words


def work_folder(lab):
    return os.path.join("build", "labs", "class", lab.name)


def job(argv):
    """job LAB IDENT [OPTIONS OF grade.py]: grades what the main program has put
    into the folder of IDENT, and prints one line.  Exit status 1: it cannot be
    graded here, and another machine may try."""
    lab_name, ident = argv[:2]
    signal.signal(signal.SIGTERM, grade.stop)
    status, text = 69, ""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            lab = labs.load(labs.find(lab_name))
            path = os.path.join(labs.ROOT, work_folder(lab), "jobs", ident)
            args = grade.parse([lab_name, path, "--others-code", *argv[2:]])
            box = sandbox.choose(args.sandbox, False)
            text = json.dumps(grade.grade(lab, path, args, box))
            status = 0
        except (labs.LabError, sandbox.SandboxError, build.StaffError,
                OSError) as err:
            text = str(err)
    print(LINE, ident, status, base64.b64encode(text.encode()).decode(),
          flush=True)
    return 1 if status else 0


def prepare(argv):
    """prepare LAB [SEED [WAY]]: builds the staff's part, once for all jobs.
    With a WAY ("any": the first that works) it fails where there is no sandbox.
    """
    lab = labs.load(labs.find(argv[0]))
    seed = argv[1] if len(argv) > 1 else params.course_seed()
    build.prepare(lab, seed, os.path.join(lab.folder, "tests"))
    if len(argv) > 2:
        sandbox.choose(None if argv[2] == "any" else argv[2], False)
    return 0


# ---- the class

class Class:
    """The submissions of one folder, and what is known of each."""

    def __init__(self, lab, args):
        self.lab, self.args = lab, args
        self.work = os.path.join(labs.ROOT, work_folder(lab))
        self.all = roster.find(args.folder)
        self.files, self.results, self.reasons = {}, {}, {}
        self.idents, self.keys = {}, {}
        self.said, self.ends = {}, {}   # by ident: other lines, how it ended
        for name in ("jobs", "results"):
            os.makedirs(os.path.join(self.work, name), exist_ok=True)
        digest = hashlib.sha256()
        for name, (data, _) in sorted(bundle.grading(lab).items()):
            digest.update(f"{name} {len(data)}\n".encode() + data)
        digest.update(f"{args.seed} {args.test_seed}".encode())
        self.digest = digest.hexdigest()

    def path(self, kind, ident):
        return os.path.join(self.work, kind, ident)

    def read(self):
        """Takes the lab's files out of each; what cannot be read has its
        result already."""
        for one in self.all:
            try:
                files = roster.read(one, self.lab.student)
            except (submission.SubmissionError, OSError) as err:
                self.refuse(one, str(err))
                continue
            self.files[one.key] = files
            mark = submission.fingerprint(files) + self.digest
            mark = hashlib.sha256(mark.encode()).hexdigest()
            ident = f"{one.key}-{mark[:16]}"
            self.idents[one.key], self.keys[ident] = ident, one.key
            self.recall(ident)

    def refuse(self, one, reason):
        args = grade.parse([self.lab.name, one.shown, "--seed",
                            self.args.seed])
        self.results[one.key] = results.finish(
            grade.empty(self.lab, one.name, args, "", reason))

    def recall(self, ident):
        path = self.path("results", ident + ".json")
        if self.args.again or not os.path.exists(path):
            return
        try:
            self.results[self.keys[ident]] = results.load(path)
        except (OSError, ValueError):
            os.unlink(path)

    def left(self):
        """The idents that are still to be graded."""
        return [i for k, i in self.idents.items() if k not in self.results]

    def lay_out(self, idents):
        """Writes the files that the jobs read."""
        for ident in idents:
            folder = self.path("jobs", ident)
            os.makedirs(folder, exist_ok=True)
            for name, data in self.files[self.keys[ident]].items():
                with open(os.path.join(folder, name), "wb") as f:
                    f.write(data)

    def take(self, ident, line):
        """A line of one job; returns its key when that is its result."""
        words, key = line.split(), self.keys[ident]
        if len(words) not in (3, 4) or words[:2] != [LINE, ident]:
            self.said[ident] = self.said.get(ident, [])[1 - LAST_LINES:] \
                + [line]
            return None
        text = base64.b64decode(words[3] if len(words) == 4 else "").decode()
        if words[2] != "0":
            self.reasons[key] = text or "the grader failed"
            return key
        result = json.loads(text)
        result["submission"] = next(o for o in self.all if o.key == key).name
        results.write(result, self.path("results", ident + ".json"))
        self.results[key] = result
        return key

    def reason(self, key):
        """Why it has no result."""
        if key in self.reasons:
            return self.reasons[key]
        ident = self.idents[key]
        return "".join(["the grader gave no result", self.ends.get(ident, "")]
                       + [f"\n{line.rstrip()}"
                          for line in self.said.get(ident, [])])

    def shown(self, key):
        return next(o for o in self.all if o.key == key).shown


def seconds_for_one(lab, scale):
    """After that much time it is the grader that hangs."""
    tests = sum(t.timeout for t in lab.tests)
    return int((BUILD_S * 3 + tests) * float(scale) + SLACK_S)


def job_words(group, ident):
    return ["env", f"TIME_SCALE={group.args.scale}", "python3",
            "labs/grade_all.py", "job", group.lab.name, ident,
            *grade_words(group.args)]


def one_by_one(group, idents):
    """Without GNU parallel: (ident, line) of the jobs, one after the other."""
    for ident in idents:
        with subprocess.Popen(job_words(group, ident), text=True,
                              stdout=subprocess.PIPE, cwd=labs.ROOT,
                              stderr=subprocess.STDOUT, errors="replace",
                              stdin=subprocess.DEVNULL) as process:
            try:
                text, _ = process.communicate(
                    timeout=seconds_for_one(group.lab, group.args.scale))
                group.ends[ident] = f", {grade.ending(process.returncode)}"
                yield from ((ident, line) for line in text.splitlines())
            except subprocess.TimeoutExpired:
                process.terminate()
                group.ends[ident] = " in time"
            except BaseException:       # Ctrl-C: nothing stays behind
                process.terminate()
                process.wait()
                raise


def parallel_words(group, hosts, folder, log):
    # A job that fails is tried once more, on another machine if there is one.
    words = ["parallel", "--will-cite", "--jobs", str(group.args.jobs),
             "--timeout", str(seconds_for_one(group.lab, group.args.scale)),
             "--termseq", "TERM,5000,KILL,25", "--retries", "2",
             "--tagstring", "{}", "--joblog", log]
    if hosts:
        words += ["--sshlogin", ",".join(hosts), "--workdir", folder]
    # parallel gives the command to a shell.
    command = [w if w == "{}" else shlex.quote(w)
               for w in job_words(group, "{}")]
    return words + [" ".join(command) + " 2>&1"]


def parallel_env(home):
    """Nothing that a user has set up changes how it runs: neither options nor
    a login shell, which may be missing or refuse to run anything."""
    env = {n: v for n, v in os.environ.items() if n != "PARALLEL"}
    return dict(env, PARALLEL_SHELL="/bin/sh", PARALLEL_HOME=home)


def read_joblog(group, path):
    """How each job ended, and where."""
    with open(path, encoding="utf-8", errors="replace") as f:
        for row in f.read().split("\n")[1:]:
            cells = row.split("\t", 8)
            if len(cells) != 9:
                continue
            words = cells[8].split()
            for ident in set(words) & set(group.keys):
                status = -int(cells[7]) or int(cells[6])
                group.ends[ident] = f", {grade.ending(status)}" + (
                    f" on {cells[1]}" if cells[1] != ":" else "")


def in_parallel(group, idents, hosts=(), folder=""):
    """(ident, line) of the jobs, as they end."""
    with tempfile.TemporaryDirectory() as home:
        log = os.path.join(home, "joblog")
        words = parallel_words(group, hosts, folder, log)
        with contextlib.closing(
                lines_of(words, idents, parallel_env(home))) as lines:
            for line in lines:
                ident, _, text = line.partition("\t")
                if ident in group.keys:
                    yield ident, text
        read_joblog(group, log)


def lines_of(words, idents, env):
    """What parallel prints.  A reader that stops ends it, and its jobs."""
    with subprocess.Popen(words, text=True, env=env,
                          cwd=labs.ROOT, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, errors="replace",
                          start_new_session=True) as process:
        try:
            process.stdin.write("".join(i + "\n" for i in idents))
            process.stdin.close()
            yield from process.stdout
        except BaseException:
            # The first one asks parallel to start nothing more, the second
            # to end what it has started.
            process.terminate()
            time.sleep(0.5)
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise


# ---- other machines

def ssh(host, command, **more):
    words = ["sh", "-c"] if host == ":" else \
        shlex.split(os.environ.get("PARALLEL_SSH") or "ssh") + [host]
    return subprocess.run([*words, command], check=False, capture_output=True,
                          timeout=600, **more)


def luggage(group, idents):
    """All that another machine needs, as the bytes of a tar."""
    packed = bundle.grading(group.lab, bundle.CLASS)
    for ident in idents:
        for name, data in group.files[group.keys[ident]].items():
            packed[f"{work_folder(group.lab)}/jobs/{ident}/{name}"] = (
                data, False)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, (data, executable) in packed.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), bundle.mode(executable)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def reachable(group, idents, folder):
    """The hosts that have everything; why not is said."""
    data, ready = luggage(group, idents), []
    command = (f"mkdir -p {folder} && cd {folder} && tar -xzf - && "
               f"python3 labs/grade_all.py prepare {group.lab.name} "
               f"{shlex.quote(group.args.seed)} {group.args.sandbox or 'any'}")
    for host in group.args.hosts:
        try:
            done = ssh(host, command, input=data)
            reason = done.stderr.decode(errors="replace").strip()
        except (OSError, subprocess.TimeoutExpired) as err:
            done, reason = None, str(err)
        if done is not None and done.returncode == 0:
            ready.append(host)
        else:
            reason = reason or grade.ending(done.returncode)
            say(f"{host} is left out: {results.shorten(reason, 4)}")
    return ready


def on_hosts(group, idents):
    folder = f".ioladder-grade-{secrets.token_hex(6)}"
    try:
        ready = reachable(group, idents, folder)
        if not ready:
            raise sandbox.SandboxError("none of the hosts can grade")
        yield from in_parallel(group, idents, ready, folder)
    finally:
        for host in group.args.hosts:
            try:
                ssh(host, f"rm -rf {folder}")
            except (OSError, subprocess.TimeoutExpired) as err:
                say(f"{host}: {folder} may be left there: {err}")


# ---- Slurm

SLURM = """#!/bin/bash
#SBATCH --job-name=lab{number}
#SBATCH --array=1-{count}%{jobs}
#SBATCH --cpus-per-task=2
#SBATCH --mem=3G
#SBATCH --time={minutes}
#SBATCH --output={work}/slurm-%a.log
# Written by labs/grade_all.py; the same command without --slurm collects.
cd {root} || exit 1
ident=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {work}/idents)
mkdir -p {work}/lines
env TIME_SCALE={scale} python3 labs/grade_all.py job {lab} "$ident" {words} \\
    >"{work}/lines/$ident.part" 2>&1
mv "{work}/lines/$ident.part" "{work}/lines/$ident"
"""


def write_slurm(group, idents):
    group.lay_out(idents)
    with open(os.path.join(group.work, "idents"), "w", encoding="ascii") as f:
        f.write("".join(i + "\n" for i in idents))
    seconds = seconds_for_one(group.lab, group.args.scale)
    results.write_text(SLURM.format(
        number=group.lab.name.split("-")[0], count=len(idents),
        jobs=group.args.jobs, minutes=seconds // 60 + 1,
        work=work_folder(group.lab), root=shlex.quote(labs.ROOT),
        scale=group.args.scale, lab=group.lab.name,
        words=shlex.join(grade_words(group.args))), group.args.slurm)
    say(f"{group.args.slurm}: an array of {len(idents)} jobs; sbatch it, then "
        "run the same command without --slurm")


def from_slurm(group):
    """What such jobs have left."""
    for ident in group.left():
        path = group.path("lines", ident)
        if os.path.exists(path) and not group.args.again:
            with open(path, encoding="ascii", errors="replace") as f:
                for line in f:
                    group.take(ident, line)


# ---- all of it

def say(text):
    print(text, file=sys.stderr, flush=True)


def run(group):
    """Grades what is left, and says how far it is."""
    idents = group.left()
    known = len(group.all) - len(idents)
    say(f"lab {group.lab.name}: {len(group.all)} submissions"
        + (f", {known} of them need no grading again" if known else ""))
    if not idents:
        return
    group.lay_out(idents)
    if group.args.hosts:
        lines = on_hosts(group, idents)
    elif shutil.which("parallel"):
        lines = in_parallel(group, idents)
    else:
        say("GNU parallel is not installed: one after the other")
        lines = one_by_one(group, idents)
    with contextlib.closing(lines):
        follow(group, idents, lines)


def follow(group, idents, lines):
    """Takes the results as they come, and says how long it will last."""
    known = len(group.all) - len(idents)
    began, done = time.monotonic(), 0
    for ident, line in lines:
        key = group.take(ident, line)
        if not key:
            continue
        done += 1
        left = (time.monotonic() - began) / done * (len(idents) - done)
        got = group.results.get(key)
        points = f"{got['score_scaled']:g} of {got['max_scaled']}" if got \
            else "not graded"
        say(f"{known + done:>4} of {len(group.all)}  {points:<12}"
            f"{group.shown(key)}"
            + (f"   (about {left:.0f} s left)" if left >= 1 else ""))


def alike(group):
    """{key: text} of the hint."""
    starter = bundle.starter(group.lab, group.args.seed)
    pairs = similar.pairs(group.files, starter)
    if pairs is None:
        say("similar submissions are not looked for: sim_c is not installed "
            "(Debian: similarity-tester)")
        return {}
    hints = {}
    for percent, a, b in pairs:
        for key, other in ((a, b), (b, a)):
            hints.setdefault(key, []).append(
                f"{percent} % {group.shown(other)}")
    return {k: ", ".join(v[:3]) + (f" and {len(v) - 3} more" if len(v) > 3
                                   else "") for k, v in hints.items()}


def write_tables(group):
    hints = alike(group)
    rows = []
    for one in group.all:
        got = group.results.get(one.key)
        reason = "" if got else group.reason(one.key)
        rows.append((one, got, reason, hints.get(one.key, "")))
    rows.sort(key=lambda row: row[0].name)
    base = group.args.csv[:-4] if group.args.csv.endswith(".csv") \
        else group.args.csv
    for path, text in (
            (group.args.csv, tables.people(rows)),
            (base + "-canvas.csv", tables.canvas(rows, group.lab.title,
                                                 group.lab.points)),
            (base + "-moodle.csv", tables.moodle(rows, group.lab.points))):
        results.write_text(text, path)
    missing = [row for row in rows if row[1] is None]
    for one, _, reason, _ in missing:
        reason = results.shorten(reason, 1 + LAST_LINES)
        say(f"not graded: {one.shown}: {reason}")
    say(f"{group.args.csv}: {len(rows) - len(missing)} of {len(rows)} graded")
    return 1 if missing else 0


def grade_class(lab, args):
    group = Class(lab, args)
    group.read()
    from_slurm(group)
    if args.slurm:
        write_slurm(group, group.left())
        return 0
    try:
        if group.left() and not args.hosts:
            prepare([lab.name, args.seed])
            sandbox.choose(args.sandbox, False)
        run(group)
    except KeyboardInterrupt:
        say(f"stopped; {len(group.results)} of {len(group.all)} are graded, "
            "and the same command goes on from there")
        return 130
    finally:
        for ident in group.keys:        # another class may be graded beside it
            shutil.rmtree(group.path("jobs", ident), ignore_errors=True)
    return write_tables(group)


def main(argv):
    if argv[:1] == ["job"]:
        return job(argv[1:])
    try:
        if argv[:1] == ["prepare"]:
            return prepare(argv[1:])
        args = parse(argv)
        return grade_class(labs.load(labs.find(args.lab)), args)
    except (labs.LabError, build.StaffError, sandbox.SandboxError,
            OSError) as err:
        say(f"grade-all: {err}")
        return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
