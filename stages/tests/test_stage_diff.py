"""stage_diff.py finds what is planted, and only that.  No server is needed."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import stage_diff  # noqa: E402 (the path comes first)

SERVER = """\
/* Stage: what it teaches. */

/* -------------------------------------------------------------- includes */

#include <stdio.h>

enum { LIMIT = 3 };

/* ------------------------------------------------------------ connection */

/* One peer. */
struct conn {
    int fd; /* its socket */
};

/* ---------------------------------------------------------------- engine */

/* Adds, because two come in. */
static int add(int a, int b)
{
    return a + b;
}

/* ---------------------------------------------------------------- worker */

static int twice(int a,
                 int b)
{
    return add(a, b) * 2;
}

/* ------------------------------------------------------------------ main */

int main(void)
{
    return twice(1, 2);
}
"""

SIZES = "".join(f"{place}-{n} 100\n" for n in (1, 2, 3)
                for place in ("server", "folder", "closure"))
BUDGET = """\
1-2 10   # a remark
2-3 10
comment-percent-max 80
""" + SIZES


class Tree(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.root = Path(self.dir.name) / "stages"
        self.root.mkdir()
        for name in ("1-one", "2-two", "3-three"):
            (self.root / name).mkdir()
            self.put(name, SERVER)
        self.budget(BUDGET)

    def put(self, stage, text):
        (self.root / stage / "server.c").write_text(text)

    def beside(self, path, text):
        (self.root / path).parent.mkdir(exist_ok=True)
        (self.root / path).write_text(text)

    def budget(self, text):
        (self.root / "BUDGET").write_text(text)

    def edit(self, stage, old, new):
        self.assertIn(old, SERVER)
        self.put(stage, SERVER.replace(old, new))

    def problems(self):
        return stage_diff.check(self.root)

    def only(self, *words):
        """Exactly one problem, and it names all of the words."""
        found = self.problems()
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])


class Budget(Tree):
    def test_clean_tree_has_no_problem(self):
        self.assertEqual(self.problems(), [])

    def test_diff_over_budget(self):
        self.edit("3-three", "#include <stdio.h>\n",
                  "".join(f"#include <h{i}.h>\n" for i in range(10)))
        self.only("3-three", "11 changed lines", "allows 10")

    def test_diff_at_budget_passes(self):
        self.edit("3-three", "#include <stdio.h>\n",
                  "".join(f"#include <h{i}.h>\n" for i in range(9)))
        self.assertEqual(self.problems(), [])

    def test_blank_lines_are_free(self):
        self.edit("3-three", "#include <stdio.h>\n",
                  "#include <stdio.h>\n" + "\n" * 11)
        self.assertEqual(self.problems(), [])

    def test_marks_are_free(self):
        for a, b in (("/* Adds. */\nint add(void)",
                      "/* Adds.  (same as 1-one) */\nint add(void)"),
                     ("/* Adds. */\nint add(void)",
                      "/* Adds.\n * (same as 1-one) */\nint add(void)"),
                     ("int add(void)", "/* (same as 1-one) */\nint add(void)")):
            self.assertEqual(stage_diff.changed_lines(
                a.split("\n"), b.split("\n")), (0, 0))
        self.assertEqual(stage_diff.changed_lines(
            ["/* Adds. */"], ["/* Adds two.  (same as 1-one) */"]), (1, 1))

    def test_pair_without_budget(self):
        self.budget(BUDGET.replace("2-3 10\n", ""))
        self.only("no line for 2-3")

    def test_unknown_word_in_budget(self):
        self.budget(BUDGET + "colums 80\n")
        self.only("BUDGET:13", "colums")

    def test_malformed_budget(self):
        self.budget("1-2 ten\n")
        self.only("BUDGET:1", "expected")

    def test_missing_budget(self):
        (self.root / "BUDGET").unlink()
        self.only("BUDGET")

    def test_minimal_count(self):
        self.assertEqual(stage_diff.changed_lines(list("abcabba"),
                                                  list("cbabac")), (3, 2))
        self.assertEqual(stage_diff.changed_lines([], ["x"]), (0, 1))
        self.assertEqual(stage_diff.changed_lines(["x", ""], ["x"]), (0, 0))


class Copies(Tree):
    MARKED = "/* same as 2-two */\nstatic int add(int a, int b)"
    PLAIN = ("/* Adds, because two come in. */\n"
             "static int add(int a, int b)")

    def test_equal_copy_passes(self):
        self.edit("3-three", self.PLAIN, self.MARKED)
        self.assertEqual(self.problems(), [])

    def test_copy_that_differs(self):
        self.put("3-three", SERVER.replace(self.PLAIN, self.MARKED)
                 .replace("return a + b;", "return b + a;"))
        self.only("3-three", "add", "differs", "2-two")

    def test_space_counts(self):
        self.put("3-three", SERVER.replace(self.PLAIN, self.MARKED)
                 .replace("return a + b;", "return a  + b;"))
        self.only("add", "differs")

    def test_original_is_gone(self):
        self.put("3-three", SERVER.replace(self.PLAIN, self.MARKED))
        self.put("2-two", SERVER.replace("add(", "sum("))
        self.only("2-two has no add")

    def test_unknown_stage(self):
        self.put("3-three", SERVER.replace(
            self.PLAIN, self.MARKED.replace("2-two", "9-nine")))
        self.only("9-nine has no add")

    def test_copy_of_itself(self):
        self.put("3-three", SERVER.replace(
            self.PLAIN, self.MARKED.replace("2-two", "3-three")))
        self.only("copy of itself")

    def test_mark_above_nothing(self):
        self.edit("3-three", "#include <stdio.h>",
                  "/* same as 2-two */\n\n#include <stdio.h>")
        self.only("not right above")

    def test_struct_can_be_a_copy(self):
        marked = SERVER.replace("/* One peer. */", "/* same as 2-two */")
        self.put("3-three", marked)
        self.assertEqual(self.problems(), [])
        self.put("3-three", marked.replace("int fd;", "long fd;"))
        self.only("conn", "differs")


class Folders(Tree):
    def test_a_file_of_one_side_counts_whole(self):
        self.beside("3-three/more.h", "int x;\n\n" * 11)
        self.only("3-three", "11 changed lines", "allows 10")
        self.beside("2-two/more.h", "int x;\n" * 10)
        self.budget(BUDGET.replace("2-3 10", "2-3 1"))
        self.assertEqual(self.problems(), [])

    def test_copies_in_any_file(self):
        self.put("3-three", SERVER.replace(
            "static int add", "static int sum").replace("add(", "sum("))
        text = "/* same as 2-two */\nstatic int add(int a, int b)\n{\n" \
            "    return a + b;\n}\n"
        self.beside("3-three/more.h", text)
        self.assertEqual(self.problems(), [])
        self.beside("3-three/more.h", text.replace("a + b", "b + a"))
        self.only("3-three/more.h:2: add differs")

    def test_no_file_of_another_stage(self):
        for name in ("../2-two/more.h", "2-two/more.h", "../tests/x.h"):
            self.edit("3-three", "#include <stdio.h>", f'#include "{name}"')
            self.only("3-three/server.c", name, "not of this stage")
        self.edit("3-three", "#include <stdio.h>", '#include "parts/more.h"')
        self.assertEqual(self.problems(), [])

    def test_common_knows_no_engine(self):
        for line in ("#include <pthread.h>", "#include <liburing.h>",
                     "int fd = epoll_create1(0);", "struct io_uring ring;",
                     "void f(struct thread_pool *p);"):
            self.beside("../common/net.c", f"/* epoll, a ring */\n{line}\n")
            self.only("common/net.c:2:", "belongs to a stage or a part")
        for line in ("/* an epoll\n * set */", '"io_uring"', "int during;"):
            self.beside("../common/net.c", f"{line}\n")
            self.assertEqual(self.problems(), [])
        self.beside("../common/door.c", "#include <sys/epoll.h>\n")
        self.assertEqual(self.problems(), [])
        self.beside("../common/door.c", "#include <pthread.h>\n")
        self.only("common/door.c:1: pthread")

    def test_equal_functions_are_listed(self):
        self.put("2-two", SERVER.replace("return a + b;", "return b + a;")
                 .replace("static int twice(int a,\n                 int b)",
                          "/* same as 1-one */\nstatic int twice(int a,\n"
                          "                 int b)"))
        self.assertEqual(self.problems(), [])
        self.assertEqual(stage_diff.equal(stage_diff.load(self.root)),
                         [("main", "1-one", "2-two"),
                          ("add", "1-one", "3-three"),
                          ("twice", "2-two", "3-three"),
                          ("main", "2-two", "3-three")])


class Sections(Tree):
    def test_missing_banner(self):
        self.edit("2-two", "/* ----------------------------------------------"
                  "------------------ engine */\n", "")
        self.only("2-two", "includes, connection, worker, main")

    def test_wrong_order(self):
        text = SERVER.replace(" engine */", " X */")
        text = text.replace(" worker */", " engine */")
        self.put("2-two", text.replace(" X */", " worker */"))
        self.only("2-two", "connection, worker, engine, main")

    def test_no_lesson_header(self):
        self.edit("1-one", "/* Stage: what it teaches. */\n", "\n")
        self.only("1-one", "lesson header")


class Sizes(Tree):
    def test_long_file(self):
        self.budget(BUDGET.replace("server-2 100", "server-2 30"))
        self.only("2-two", "server has 37 lines", "at most 30")

    def test_stage_without_limits(self):
        self.budget(BUDGET.replace("folder-2 100\n", ""))
        self.only("BUDGET: no line for folder-2 (37 lines now)")

    def test_folder_and_parts_count(self):
        self.beside("2-two/more.h", "int x;\n" * 5)
        self.budget(BUDGET.replace("1-2 10", "1-2 15")
                    .replace("2-3 10", "2-3 15"))
        self.assertEqual(self.problems(), [])
        self.beside("2-two/more.h", '#include "parts/a.h"\n' * 5)
        self.beside("parts/a.h", "int a;\n" * 10)
        self.beside("parts/a.c", '#include "parts/b.h"\n' * 20)
        self.beside("parts/b.h", '#include "parts/a.h"\n' * 4)
        self.beside("parts/c.h", "int c;\n" * 1000)
        stage = stage_diff.load(self.root)[1]
        self.assertEqual([stage.size(p) for p in stage_diff.PLACES],
                         [37, 42, 76])
        self.budget(BUDGET.replace("1-2 10", "1-2 15")
                    .replace("2-3 10", "2-3 15")
                    .replace("closure-2 100", "closure-2 75"))
        self.only("2-two", "closure has 76 lines", "at most 75")

    def test_parts_keep_the_limits_of_functions(self):
        self.edit("2-two", "#include <stdio.h>", '#include "parts/a.h"')
        self.beside("parts/a.h", "int a;" + " " * 80 + "\n")
        self.only("parts/a.h:1: over 80 columns")

    def test_long_function(self):
        body = "    return twice(1, 2);\n"
        self.budget("1-2 99\n2-3 99\n" + SIZES.replace("100", "999") +
                    "comment-percent-min 0\ncomment-percent-max 80\n")
        self.edit("2-two", body, body * 57)  # with head and braces: 60
        self.assertEqual(self.problems(), [])
        self.edit("2-two", body, body * 58)
        self.only("2-two", "main has 61 lines")

    def test_wide_line(self):
        self.edit("1-one", "#include <stdio.h>",
                  "#include <stdio.h> /* " + "x" * 56 + " */")
        self.only("1-one/server.c:5", "over 80 columns")

    def test_eighty_columns_pass(self):
        self.edit("1-one", "#include <stdio.h>",
                  "#include <stdio.h> /* " + "x" * 55 + " */")
        self.assertEqual(self.problems(), [])

    def test_too_few_comments(self):
        self.budget(BUDGET + "comment-percent-min 70\n")
        found = self.problems()
        self.assertEqual(len(found), 3)
        self.assertIn("wanted 70 to 80", found[0])

    def test_too_many_comments(self):
        self.budget(BUDGET.replace("max 80", "max 22"))
        self.assertEqual(len(self.problems()), 3)


class Reading(unittest.TestCase):
    def test_comment_lines(self):
        lines = ["int a; /* b */", "/* c", "", " * d */ int e;", "// f",
                 'char *s = "/* no */";', "", "/* g */ /* h */", "int i;"]
        self.assertEqual(stage_diff.comment_lines(lines),
                         [1, 2, 0, 1, 2, 0, 0, 2, 0])

    def items(self, text):
        lines = text.split("\n")
        return stage_diff.find_items(lines, stage_diff.comment_lines(lines))

    def test_items(self):
        found = self.items(SERVER)
        self.assertEqual([(i.kind, i.name) for i in found],
                         [("type", "conn"), ("function", "add"),
                          ("function", "twice"), ("function", "main")])
        self.assertEqual(len(found[2].lines), 5)
        self.assertEqual(found[1].above, ["/* Adds, because two come in. */"])

    def test_what_is_not_a_function(self):
        self.assertEqual(self.items(
            "static int f(int a);\n"
            "static int g(int a,\n"
            "             int b);\n"
            "static const int t[] = {\n    1,\n};\n"
            "static int (*const ops[])(int) = {\n    f,\n};\n"), [])

    def test_one_line_and_attribute(self):
        found = self.items(
            "static inline int f(int a) { return a; }\n"
            "__attribute__((noreturn)) static void g(void)\n{\n}\n")
        self.assertEqual([i.name for i in found], ["f", "g"])


class CommandLine(Tree):
    def run_main(self, *argv):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = stage_diff.main(["--root", str(self.root), *argv])
        return status, out.getvalue(), err.getvalue()

    def test_check_status(self):
        self.assertEqual(self.run_main("check")[0], 0)
        self.put("1-one", SERVER.replace(" engine */", " motor */"))
        status, _, err = self.run_main("check")
        self.assertEqual(status, 1)
        self.assertIn("motor", err)

    def test_no_stage_is_an_error(self):
        with tempfile.TemporaryDirectory() as empty:
            self.assertEqual(len(stage_diff.check(empty)), 1)

    def test_show_refuses_what_is_no_pair(self):
        for pair in ("2-7", "2", "two-three"):
            status, _, err = self.run_main("show", pair)
            self.assertEqual(status, 64)
            self.assertIn("1, 2, 3", err)

    def test_matrix(self):
        self.put("2-two", SERVER.replace("return a + b;", "return b + a;"))
        self.put("3-three", SERVER.replace("return a + b;", "return b + a;")
                 .replace("twice(", "double_of("))
        _, out, _ = self.run_main("matrix")
        self.assertIn("| `add` | new | changed | same |", out)
        self.assertIn("| `twice` | new | same |  |", out)
        self.assertIn("| `double_of` |  |  | new |", out)

    def test_table(self):
        self.edit("2-two", "return a + b;", "return b + a;")
        _, out, _ = self.run_main("table")
        self.assertIn("| 1-one to 2-two | 1 | 1 | 2 | 2 | 2 | 10 |", out)
        self.assertIn("| 1-one | 37 of 100 | 37 of 100 | 37 of 100 | 3 | 5 |",
                      out)

    def test_show_has_all_files(self):
        import subprocess
        self.edit("2-two", "return a + b;", "return b + a;")
        self.beside("2-two/more.h", "int more;\n")
        done = subprocess.run(
            [sys.executable, stage_diff.__file__, "--root", str(self.root),
             "show", "1-2"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 lines go, 2 come", done.stdout)
        self.assertIn("+    return b + a;", done.stdout)
        self.assertIn("+int more;", done.stdout)

    def test_equal(self):
        self.assertIn("3-three: add is as in 2-two",
                      self.run_main("equal")[1])


if __name__ == "__main__":
    unittest.main()
