"""Builds what a student handed in, with the staff's files and in the sandbox.

The staff's own objects are built once for a lab and a seed, outside of it.
The student's file is compiled and linked inside: a compiler can be made to run
for ever, to print without end, or to read any file by #include.

A linked lab runs the student's object in the test program, so that object must
not be able to end the program or to write to a file by itself: it may call
only the functions on the lab's list, has no code that runs before main(), and
makes no system call of its own, neither in an instruction nor in data that is
run.  Its other names are made local, so that it cannot replace a function of
the tests.  A lab whose operations are calls into the tests
(labs/support/atoms.h) also names the text that would get round them.  A server
lab that has a list of allowed functions keeps its counts out of the student's
reach in the same way.
"""

import concurrent.futures
import glob
import os
import re
import subprocess

from .lab import HIDDEN, ROOT
from .params import header
from .sandbox import Limits

FLAGS = ["-std=gnu17", "-O2", "-g", "-Wall", "-Wextra", "-D_GNU_SOURCE",
         "-fno-lto", "-pthread"]
SANITIZERS = {"": [], "asan": ["-fsanitize=address,undefined", "-O1",
                               "-fno-sanitize-recover=undefined"],
              "tsan": ["-fsanitize=thread", "-O1"]}
# What compilers put in by themselves.
IMPLICIT = {"memcpy", "memmove", "memset", "memcmp", "__stack_chk_fail",
            "_GLOBAL_OFFSET_TABLE_", "__stack_chk_guard"}
BEFORE_MAIN = re.compile(r"\.(?:preinit_array|init_array|fini_array|ctors|"
                         r"dtors|init|fini|text\.startup)\b")
INCLUDE = re.compile(r"(?:#|%:)(?:[ \t]|/\*(?:.|\n)*?\*/)*include\b[ \t]*"
                     r"(.*)")
SECTION = re.compile(r"^ *\d+ (.+?) +([0-9a-f]{8}) +[0-9a-f]+ +[0-9a-f]+ "
                     r"+[0-9a-f]+ +2\*\*\d+ +(.*)$", re.M)
SYMBOL = re.compile(r"^[0-9a-f]+ (.{7}) (.+?)\t[0-9a-f]+ +(.*)$", re.M)
OWN_CALL = re.compile(r"\b(?:syscall|sysenter|svc)\b|\bint\s+\$0x80")
# Starts servers, talks to them: what the stages' own tests use.
SUPPORT = ("stages/tests/server.c", "stages/tests/client.c",
           "stages/tests/talk.c", "labs/support/lab_main.c",
           "labs/support/lab_counts.c", "labs/support/one_loop.c")
# Criterion does not start under ThreadSanitizer: the tests of a linked lab are
# built against a header that takes its place, and run by a small runner.
NO_CRITERION = "common/tests/tsan"
COMPILE = Limits(seconds=60, processes=32, memory=2 << 30)


class StaffError(Exception):
    """The staff's part does not build: nothing can be graded."""


class BuildError(Exception):
    """The student's part does not build, or breaks a rule of the lab."""


def cc():
    return os.environ.get("CC") or "gcc"


def without_criterion(lab, flavour):
    return lab.kind == "linked" and flavour == "tsan"


def includes(lab, work, flavour):
    first = (NO_CRITERION,) if without_criterion(lab, flavour) else ()
    return [f"-I{os.path.join(ROOT, p)}" for p in first +
            ("common", "stages/parts", f"labs/{lab.name}/tests",
             "stages/tests", "stages/tests/verify", "labs/support")] \
        + [f"-I{work}"]


def _staff(argv):
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT,
                          stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise StaffError((done.stderr or done.stdout).strip()
                         or f"{argv[0]} failed")


def _newer(target, sources):
    if not os.path.exists(target):
        return False
    age = os.path.getmtime(target)
    return all(os.path.getmtime(s) <= age for s in sources)


def parameters(lab, seed, flavour=""):
    """The folder of what is built for a lab and a seed, and params.h in it."""
    tag = re.sub(r"\W", "_", f"{lab.name}-{seed}") + (flavour and f"-{flavour}")
    work = os.path.join(ROOT, "build", "labs", tag)
    os.makedirs(work, exist_ok=True)
    path, text = os.path.join(work, "params.h"), header(seed)
    if os.path.exists(path):
        with open(path, encoding="ascii") as f:
            if f.read() == text:
                return work, path
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    return work, path


def _make(flavour, targets):
    """Everything of ours that the Makefile knows how to build."""
    _staff(["make", "-s", f"-j{len(os.sched_getaffinity(0))}", f"V={flavour}",
            *targets])


def _compile_all(lab, work, sources, headers, flavour):
    """[objects] of staff sources, those built again that are not up to date."""
    # What talks to a server is no part of it: a student waits for its build,
    # and nobody for its speed.
    quick = ["-O0"] if lab.kind == "server" else []

    def compiled(source):
        target = os.path.join(work, os.path.basename(source)[:-2] + ".o")
        if not _newer(target, [source] + headers):
            _staff([cc(), *FLAGS, *quick, *SANITIZERS[flavour],
                    *includes(lab, work, flavour), "-c", "-o", target, source])
        return target

    with concurrent.futures.ThreadPoolExecutor(
            len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(compiled, sources))


def staff(lab, seed, tests, flavour=""):
    """([objects] of a lab's tests, the library included, their folder)."""
    work, params = parameters(lab, seed, flavour)
    library = os.path.join("build", flavour, "common", "libcommon.a")
    _make(flavour, [library])
    sources = sorted(glob.glob(os.path.join(tests, "*.c"))
                     + glob.glob(os.path.join(tests, HIDDEN, "*.c")))
    sources += [os.path.join(ROOT, name) for name in
                (SUPPORT if lab.kind == "server" else lab.staff)]
    sources += [os.path.join(ROOT, "stages", "tests", f"{name}.c")
                for name in lab.suites]
    if without_criterion(lab, flavour):
        sources.append(os.path.join(ROOT, NO_CRITERION, "run.c"))
    headers = [params] + [
        h for folder in (tests, f"labs/{lab.name}/tests", "common",
                         "stages/parts", "stages/tests", "stages/tests/verify",
                         "labs/support")
        for h in glob.glob(os.path.join(ROOT, folder, "*.h"))]
    objects = _compile_all(lab, work, sources, headers, flavour)
    return objects + [os.path.join(ROOT, library)], work


def staff_runner(lab, objects, work, flavour=""):
    """The test program of a server lab: all of it is the staff's."""
    program = os.path.join(work, "runner")
    if not _newer(program, objects):
        _staff([cc(), *FLAGS, *SANITIZERS[flavour], "-o", program,
                *[o for o in objects if o.endswith(".o")], "-lcriterion",
                *[o for o in objects if o.endswith(".a")], "-lm"])
    return program


def prepare(lab, seed, tests, flavour=""):
    """Builds the staff's part, so that grading side by side only uses it."""
    objects, work = staff(lab, seed, tests, flavour)
    if lab.kind == "server":
        staff_runner(lab, objects, work, flavour)
        staff_parts(lab, flavour)


def staff_parts(lab, flavour=""):
    """[objects] of the parts that the student's server may use."""
    paths = [os.path.join("build", flavour, "stages", "parts", f"{name}.o")
             for name in lab.parts]
    if paths:
        _make(flavour, paths)
    return [os.path.join(ROOT, path) for path in paths]


def probe(name):
    """The program labs/support/NAME.c, which ends with 0 where the machine has
    what tests need, and otherwise says why not."""
    program = os.path.join(ROOT, "build", "labs", name)
    source = os.path.join(ROOT, "labs", "support", f"{name}.c")
    os.makedirs(os.path.dirname(program), exist_ok=True)
    if not _newer(program, [source]):
        _staff([cc(), *FLAGS, "-o", program, source, "-luring"])
    return program


def inside(box, argv, out, ro):
    done = box.run(argv, COMPILE, ro=ro, rw=(out,), cwd=out)
    if done.killed:
        raise BuildError(f"the compiler {done.killed}\n{done.output}")
    if done.status != 0 and done.output.startswith("bwrap: "):
        raise StaffError(done.output.strip())   # the student never ran
    if done.status != 0:
        raise BuildError(done.output.strip() or f"{argv[0]} failed")
    return done.output


def check_source(lab, name, text):
    """A linked lab's file keeps to the words of the lab, or BuildError."""
    def line(at):
        return f"{name}:{text.count(chr(10), 0, at) + 1}"

    # A line that goes on in the next one could hide a word.
    if lab.forbidden and re.search(r"\\[ \t]*\n", text):
        raise BuildError(f"{name}: a line ends in a backslash, which this lab "
                         "does not allow")
    for word in lab.forbidden:
        if word in text:
            raise BuildError(f"{line(text.index(word))}: `{word}` is not "
                             "allowed in this lab")
    for found in INCLUDE.finditer(text):
        if lab.includes and found.group(1).strip(' "<>') not in lab.includes:
            raise BuildError(f"{line(found.start())}: this lab's file may "
                             f"include {', '.join(lab.includes)}")


def check_object(lab, path, flavour=""):
    """A linked object keeps to the rules, or BuildError."""
    def output(argv):
        done = subprocess.run(argv, capture_output=True, text=True,
                              errors="replace", check=False)
        if done.returncode != 0:
            raise BuildError(f"the object cannot be read: {done.stderr}")
        return done.stdout

    called = set(output(["nm", "-u", "--format=posix", path]).split("\n"))
    called = {line.split()[0] for line in called if line.split()}
    wrong = sorted(called - IMPLICIT - set(lab.allowed))
    if flavour:
        wrong = [n for n in wrong if not n.startswith(
            ("__asan_", "__ubsan_", "__tsan_"))]
    if wrong:
        raise BuildError(f"calls {', '.join(wrong)}; this lab allows "
                         f"{', '.join(sorted(lab.allowed)) or 'nothing'}")
    defined = {line.split()[0] for line in output(
        ["nm", "-g", "--defined-only", "--format=posix", path]).split("\n")
        if line.split()}
    missing = sorted(set(lab.provides) - defined)
    if missing:
        raise BuildError(f"does not define {', '.join(missing)}")
    table = output(["objdump", "-h", "-w", path])
    sections = {name: flags for name, size, flags in SECTION.findall(table)
                if int(size, 16)}
    early = BEFORE_MAIN.search(table)
    if early and not flavour:       # a sanitizer's own code runs there
        raise BuildError(f"has code outside of functions ({early.group()})")
    kept = [name for name, flags in sections.items()
            if "ALLOC" in flags and "READONLY" not in flags
            and not name.startswith(".data.rel.ro")]
    if kept and "stateless" in lab.rules and not flavour:
        raise BuildError(f"keeps variables of its own ({', '.join(kept)})")
    check_code(table, sections, output(["objdump", "-t", path]))
    if OWN_CALL.search(output(["objdump", "-d", "--no-show-raw-insn", path])):
        raise BuildError("makes a system call of its own")


def check_code(table, sections, symbols):
    """What runs is what the compiler made of functions, and what objdump
    shows of it; or BuildError."""
    if re.search(r"\.note\.GNU-stack\b.*\bCODE\b", table):
        raise BuildError("needs a stack that holds code: the address of a "
                         "function inside a function is taken")
    for flags, section, name in SYMBOL.findall(symbols):
        if flags[4] == "i":
            raise BuildError(f"{name} is chosen by code that runs before "
                             "main()")
        if flags[6] == "O" and "CODE" in sections.get(section, ""):
            raise BuildError(f"{name} is data among the code")


def lab_headers(lab, work):
    """What the student's compiler sees of a lab's tests: their headers.  Their
    sources, of which some are hidden, and what is built of them stay away: a
    compiler quotes what it cannot read."""
    return [*sorted(glob.glob(os.path.join(lab.folder, "tests", "*.h"))),
            os.path.join(work, "params.h")]


def linked(box, lab, source_dir, out, objects, work, flavour=""):
    """The test program of a linked lab, with the student's object in it."""
    student = os.path.join(out, "student.o")
    program = os.path.join(out, "tests")
    public = [os.path.join(ROOT, p) for p in
              ("common", "stages/parts", "stages/tests/verify",
               "labs/support")]
    folders = [*public, os.path.join(lab.folder, "tests"), work]
    for name in lab.student:
        with open(os.path.join(source_dir, name), encoding="utf-8",
                  errors="replace") as f:
            check_source(lab, name, f.read())
    name = next(n for n in lab.student if n.endswith(".c"))
    text = inside(box, [cc(), *FLAGS, *SANITIZERS[flavour],
                        *[f"-I{f}" for f in folders], "-c", "-o", student,
                        os.path.join(source_dir, name)], out,
                  (*public, *lab_headers(lab, work), source_dir))
    check_object(lab, student, flavour)
    keep = [f"--keep-global-symbol={n}" for n in lab.provides]
    inside(box, ["objcopy", *keep, student], out, ())
    inside(box, [cc(), *FLAGS, *SANITIZERS[flavour], "-o", program, student,
                 *[o for o in objects if o.endswith(".o")],
                 *([] if flavour == "tsan" else ["-lcriterion"]),
                 *[o for o in objects if o.endswith(".a")],
                 *[f"-Wl,--wrap={n}" for n in lab.wrap],
                 *[f"-l{n}" for n in lab.libraries], "-lm"], out,
           (work, os.path.join(ROOT, "build", flavour, "common")))
    return program, text


def server(box, lab, source_dir, out, work, flavour=""):
    """The student's server."""
    program = os.path.join(out, f"server{lab.name[0]}")
    parts = staff_parts(lab, flavour)
    library = os.path.join(ROOT, "build", flavour, "common", "libcommon.a")
    if flavour == "tsan":       # whose signals come late without this
        parts.append(os.path.join(ROOT, "build/tsan/common/tests/tsan",
                                  "signals.o"))
        _make("tsan", [os.path.relpath(p, ROOT)
                       for p in (library, parts[-1])])
    public = [os.path.join(ROOT, p) for p in
              ("common", "stages/parts", "stages/tests", "labs/support")]
    folders = [*public, os.path.join(lab.folder, "tests"), work]
    seen = (*public, *lab_headers(lab, work))
    compiler = [cc(), *FLAGS, *SANITIZERS[flavour],
                *[f"-I{f}" for f in folders]]
    student = [n for n in lab.student if n.endswith(".c")]
    objects = [os.path.join(out, n[:-2] + ".o") for n in student]
    text = "".join(inside(box, [*compiler, "-c", "-o", target,
                                os.path.join(source_dir, name)], out,
                          (*seen, source_dir))
                   for name, target in zip(student, objects))
    for path in objects if lab.allowed else ():
        check_object(lab, path, flavour)
        if lab.provides:
            keep = [f"--keep-global-symbol={n}" for n in lab.provides]
            inside(box, ["objcopy", *keep, path], out, ())
    ours = [os.path.join(ROOT, name) for name in lab.staff]
    text += inside(box, [*compiler, "-o", program, *objects, *ours,
                         *[f"-Wl,--wrap={n}" for n in lab.wrap], *parts,
                         library, *[f"-l{n}" for n in lab.libraries],
                         "-lm"], out,
                   (*seen, *parts, library,
                    *[s for s in ours if os.path.dirname(s) not in public]))
    return program, text
