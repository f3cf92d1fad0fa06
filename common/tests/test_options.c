/* The command line: what is accepted, and with which message and status the
 * rest is refused.  Each case runs in a child of its own, because it leaves. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"

static struct {
    int status; /* of the child: -1 when it did not exit */
    char out[8192], err[8192];
} ran;

/* The switches of a made-up stage. */
struct own {
    int depth, mode;
};

static const char *const modes[] = {"ring", "fixed", "plain", NULL};

static error_t parse_own(int key, char *arg, struct argp_state *state)
{
    struct own *own = state->input;

    if (key == 'd')
        own->depth = (int)option_int(state, "--depth", arg, -5, 64);
    else if (key == 'm')
        own->mode = option_choice(state, "--mode", arg, modes);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static const struct argp_option own_options[] = {
    {"depth", 'd', "N", 0, "Depth of the made-up ring", 0},
    {"mode", 'm', "MODE", 0, "Its mode", 0},
    {0}};
static const struct argp own_argp = {own_options, parse_own, NULL, NULL,
                                     NULL,        NULL,      NULL};

static rlim_t soft_limit, hard_limit; /* 0: as they are */
static bool alone;                    /* a stage without switches */

/* Criterion's own work at exit is the parent's. */
static void leave(int status, void *arg)
{
    (void)arg;
    fflush(NULL);
    _exit(status);
}

static void child(int argc, char **argv)
{
    struct options o;
    struct own own = {16, 0};
    struct rlimit limit;

    on_exit(leave, NULL);
    limit = (struct rlimit){soft_limit, hard_limit};
    if (hard_limit && setrlimit(RLIMIT_NOFILE, &limit) != 0)
        exit(99);
    memset(&o, 0xa5, sizeof o);
    options_parse(&o, argc, argv, "What it is.", alone ? NULL : &own_argp,
                  &own);
    getrlimit(RLIMIT_NOFILE, &limit);
    printf("app=%s host=%s port=%d workers=%d root=%s body=%" PRIu32
           " conns=%d idle=%" PRId64 " drain=%" PRId64 " stats=%" PRId64
           " depth=%d mode=%d files=%llu\n",
           o.echo ? "echo" : "http", o.host, o.port, o.workers,
           o.root ? o.root : "-", o.max_body, o.max_conns, o.idle_ms,
           o.drain_ms, o.stats_ms, own.depth, own.mode,
           (unsigned long long)limit.rlim_cur);
    options_report(&o, "stage9", "ring of 64");
    exit(0);
}

static void slurp(FILE *f, char *dst, size_t cap)
{
    size_t n;

    rewind(f);
    n = fread(dst, 1, cap - 1, f);
    dst[n] = '\0';
    fclose(f);
}

/* Words are split at blanks; '_' stands for an empty argument, '~' for a blank
 * inside one. */
static void run(const char *line)
{
    static char words[1024];
    char *argv[64] = {(char *)"stage9"};
    FILE *out = tmpfile(), *err = tmpfile();
    int argc = 1, status;
    pid_t pid;

    cr_assert(out && err);
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) {
        for (char *p = w; (p = strchr(p, '~')) != NULL;)
            *p = ' ';
        argv[argc++] = strcmp(w, "_") == 0 ? (char *)"" : w;
    }
    fflush(NULL);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        child(argc, argv);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    slurp(out, ran.out, sizeof ran.out);
    slurp(err, ran.err, sizeof ran.err);
}

/* The line is accepted and `part` is in what it led to. */
static void good(const char *line, const char *part)
{
    run(line);
    cr_assert_eq(ran.status, 0, "'%s' left with %d: %s", line, ran.status,
                 ran.err);
    cr_assert_not_null(strstr(ran.out, part), "'%s' led to %s, not %s", line,
                       ran.out, part);
}

/* The line is refused with 64 and exactly that message. */
static void bad(const char *line, const char *message)
{
    char whole[512];

    snprintf(whole, sizeof whole, "stage9: %s\n", message);
    run(line);
    cr_assert_eq(ran.status, 64, "'%s' left with %d", line, ran.status);
    cr_assert_str_empty(ran.out);
    cr_assert_eq(strncmp(ran.err, whole, strlen(whole)), 0,
                 "'%s' said '%s', not '%s'", line, ran.err, whole);
}

Test(options, defaults)
{
    good("", "app=http host=127.0.0.1 port=8080 workers=0 root=- body=1048576");
    good("", " idle=60000 drain=5000 stats=0 depth=16 mode=0 ");
    alone = true;
    good("", "app=http ");
}

Test(options, each_switch_is_taken)
{
    good("--app echo", "app=echo ");
    good("--app http --app=echo", "app=echo ");
    good("--app echo --app http", "app=http ");
    good("--host ::1", "host=::1 ");
    good("--port 0", "port=0 ");
    good("--port=65535", "port=65535 ");
    good("--port 0080", "port=80 ");
    good("--workers 1", "workers=1 ");
    good("--workers 65535", "workers=65535 ");
    good("--root /some/dir", "root=/some/dir ");
    good("--max-conns 1", "conns=1 ");
    good("--max-conns 1048576", "conns=1048576 ");
    good("--depth -5", "depth=-5 ");
    good("-d 64", "depth=64 ");
    good("--mode fixed", "mode=1 ");
    good("--mode plain --port 9 --depth 3 --app echo",
         "app=echo host=127.0.0.1 port=9 ");
}

Test(options, sizes)
{
    good("--max-body 0", "body=0 ");
    good("--max-body 1000", "body=1000 ");
    good("--max-body 64k", "body=65536 ");
    good("--max-body 3m", "body=3145728 ");
    good("--max-body 1024m", "body=1073741824 ");
    good("--max-body 1048576k", "body=1073741824 ");
    good("--max-body 1073741824", "body=1073741824 ");
}

Test(options, seconds)
{
    good("--idle-timeout 0.3", "idle=300 ");
    good("--idle-timeout 0.001", "idle=1 ");
    good("--idle-timeout 2.05", "idle=2050 ");
    good("--idle-timeout 2.050", "idle=2050 ");
    good("--idle-timeout 86400", "idle=86400000 ");
    good("--drain-timeout 0", "drain=0 ");
    good("--drain-timeout 0.25", "drain=250 ");
    good("--drain-timeout 1.999", "drain=1999 ");
    good("--stats 0.0", "stats=0 ");
    good("--stats 10", "stats=10000 ");
}

#define NUMBER(name, arg, range)                                               \
    bad("--" name " " arg, "--" name ": " arg " is not a number" range)

Test(options, numbers_are_strict)
{
    static const char *const spellings[] = {
        "-1",  "65536", "70000",
        "+1",  "1x",    "0x10",
        "1e3", "1.0",   "9999999999999999999999",
        "abc", "1k",    "--",
        "-",   "inf"};
    char line[128], message[256];

    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        snprintf(line, sizeof line, "--port=%s", spellings[i]);
        snprintf(message, sizeof message,
                 "--port: %s is not a number from 0 to 65535", spellings[i]);
        bad(line, message);
    }
    bad("--port _", "--port:  is not a number from 0 to 65535");
    bad("--port ~1", "--port:  1 is not a number from 0 to 65535");
    bad("--port 1~", "--port: 1  is not a number from 0 to 65535");
    NUMBER("workers", "0", " from 1 to 65535");
    NUMBER("workers", "65536", " from 1 to 65535");
    NUMBER("max-conns", "0", " from 1 to 1048576");
    NUMBER("max-conns", "1048577", " from 1 to 1048576");
    NUMBER("depth", "65", " from -5 to 64");
    NUMBER("depth", "-6", " from -5 to 64");
}

Test(options, sizes_are_strict)
{
    static const char *const spellings[] = {"-1",
                                            "1g",
                                            "k",
                                            "1kk",
                                            "1.5m",
                                            "1025m",
                                            "1073741825",
                                            "17592186044416m",
                                            "9223372036854775807k"};
    char line[128], message[256];

    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        snprintf(line, sizeof line, "--max-body=%s", spellings[i]);
        snprintf(message, sizeof message,
                 "--max-body: %s is not a number of bytes (or 64k, 1m) "
                 "from 0 to 1073741824",
                 spellings[i]);
        bad(line, message);
    }
}

#define SECONDS(name, arg, min)                                                \
    NUMBER(name, arg, " of seconds from " min " to 86400")

Test(options, seconds_are_strict)
{
    SECONDS("idle-timeout", "0", "0.001");
    SECONDS("idle-timeout", "0.000", "0.001");
    SECONDS("idle-timeout", "-0.3", "0.001");
    SECONDS("idle-timeout", "86400.001", "0.001");
    SECONDS("idle-timeout", "1s", "0.001");
    SECONDS("idle-timeout", "nan", "0.001");
    SECONDS("idle-timeout", "1.", "0.001");
    SECONDS("idle-timeout", ".5", "0.001");
    SECONDS("idle-timeout", "1..5", "0.001");
    SECONDS("idle-timeout", "1,5", "0.001");
    SECONDS("drain-timeout", "-1", "0");
    SECONDS("drain-timeout", "9223372036854775807", "0");
    SECONDS("stats", "0.0005", "0"); /* it would become "off" */
    SECONDS("stats", "1e3", "0");
}

Test(options, words_are_strict)
{
    bad("--app HTTP", "--app: HTTP is not http or echo");
    bad("--app _", "--app:  is not http or echo");
    bad("--mode zc", "--mode: 'zc' is not one of: ring, fixed, plain");
    bad("8080", "unexpected argument: 8080");
    bad("--port 1 -- --port", "unexpected argument: --port");
}

/* argp's own messages differ between its versions; the status must not. */
Test(options, what_argp_itself_refuses)
{
    static const char *const lines[] = {"--nonsense", "--port", "-z", "--d=1",
                                        "--app"};

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        run(lines[i]);
        cr_assert_eq(ran.status, 64, "'%s' left with %d", lines[i], ran.status);
        cr_assert_str_empty(ran.out);
        cr_assert_neq(ran.err[0], '\0');
    }
}

Test(options, help_and_version)
{
    static const char *const names[] = {
        "--app",           "--host",     "--port",      "--workers",
        "--root",          "--max-body", "--max-conns", "--idle-timeout",
        "--drain-timeout", "--stats"};
    const char *own;

    run("--help");
    cr_assert_eq(ran.status, 0);
    cr_assert_not_null(strstr(ran.out, "What it is."));
    own = strstr(ran.out, "--depth");
    cr_assert_not_null(own);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *at = strstr(ran.out, names[i]);

        cr_assert_not_null(at, "%s is not in --help", names[i]);
        cr_assert_lt(at, own, "%s comes after the stage's own", names[i]);
    }
    run("--version");
    cr_assert_eq(ran.status, 0);
    cr_assert_eq(strncmp(ran.out, "ioladder ", 9), 0);
    alone = true;
    run("--help");
    cr_assert_eq(ran.status, 0);
    cr_assert_null(strstr(ran.out, "Switches of this stage"));
}

/* Soft limits are raised to the hard one, and that decides the connections. */
static void limits(rlim_t soft, rlim_t hard, const char *expect)
{
    soft_limit = soft;
    hard_limit = hard;
    good("", expect);
}

Test(options, the_descriptor_limit_decides_the_connections)
{
    limits(64, 1000, "conns=936 ");
    limits(64, 1000, "files=1000\n");
    limits(20, 128, "conns=64 ");
    limits(20, 127, "conns=63 ");
    limits(20, 64, "conns=32 ");
    limits(20, 64, "files=64\n");
    good("--max-conns 5", "conns=5 ");
}

Test(options, the_report_is_one_line_with_what_was_found)
{
    static const char *const parts[] = {
        "stage9: Linux ", " cpus, ", " 300 descriptors, ", "memlock ",
        "app echo",       "236",     "; ring of 64\n"};

    soft_limit = 100;
    hard_limit = 300;
    run("--app echo");
    cr_assert_eq(ran.status, 0);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cr_assert_not_null(strstr(ran.err, parts[i]), "no '%s' in '%s'",
                           parts[i], ran.err);
    cr_assert_eq(strchr(ran.err, '\n'), ran.err + strlen(ran.err) - 1);
}
