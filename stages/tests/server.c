/* server.c - the server under test: start it, watch it, stop it. */
#include "server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "deny_uring.h"

extern char **environ;

/* ==== the world of this run =============================================== */

const char *server_path(void)
{
    const char *path = getenv("SERVER");

    cr_assert(path && *path, "set SERVER to the binary under test");
    return path;
}

const char *fault_path(void)
{
    static char path[1024];
    const char *given = getenv("FAULT"), *slash = strrchr(server_path(), '/');
    int dir = slash ? (int)(slash - server_path()) : 1;

    snprintf(path, sizeof(path), "%.*s/fault/%s", dir,
             slash ? server_path() : ".", slash ? slash + 1 : server_path());
    if (given && *given)
        cr_assert(access(given, X_OK) == 0, "FAULT=%s is missing", given);
    else if (access(path, X_OK) != 0)
        cr_skip("%s was not built", path);
    return given && *given ? given : path;
}

static const char *server_name(void)
{
    const char *path = server_path(), *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int server_stage(void)
{
    const char *name = server_name();
    int first = name[0] - '0',
        last = name[0] ? name[strlen(name) - 1] - '0' : 0;

    if (first >= 1 && first <= 9)
        return first;
    return last >= 1 && last <= 9 ? last : 0;
}

bool server_is(const char *variant)
{
    return strcmp(server_name(), variant) == 0;
}

bool server_places(const char *how)
{
    const char *name = server_name();

    if (server_stage() == 6 || server_is("stage5"))
        return true;
    return strcmp(how, "hash") == 0 ||
           (strncmp(name, "5-place-", 8) == 0 && strcmp(name + 8, how) == 0);
}

bool app_is_http(void)
{
    const char *app = getenv("APP");

    return !app || strcmp(app, "echo") != 0;
}

double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int sanitizer_threads(void)
{
    return strstr(server_path(), "tsan/") != NULL;
}

long memory_bound(long kib)
{
    return server_is_sanitized() ? 8 * kib : kib;
}

bool server_is_sanitized(void)
{
    return strstr(server_path(), "asan/") || strstr(server_path(), "tsan/");
}

static double time_scale(void)
{
    const char *scale = getenv("TIME_SCALE");
    double factor = scale ? strtod(scale, NULL) : 0;

    return (factor > 0 ? factor : 1) * (server_is_sanitized() ? 5 : 1);
}

double scaled(double seconds)
{
    return seconds * time_scale();
}

void pause_s(double seconds)
{
    struct timespec t = {
        .tv_sec = (time_t)seconds,
        .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9),
    };

    nanosleep(&t, NULL);
}

bool in_time(double since, double seconds)
{
    return now() - since < scaled(seconds);
}

uint64_t seed_of_run(void)
{
    const char *seed = getenv("SEED");

    return seed ? strtoull(seed, NULL, 0) : 20240229;
}

struct rng rng_start(uint64_t salt)
{
    return (struct rng){seed_of_run() * 1000003 + salt};
}

uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

size_t rng_between(struct rng *r, size_t low, size_t high)
{
    return low + rng_next(r) % (high - low + 1);
}

void rng_fill(struct rng *r, void *p, size_t n)
{
    uint8_t *byte = p;

    for (size_t i = 0; i < n; i++)
        byte[i] = (uint8_t)(rng_next(r) >> 32);
}

/* ==== the child's half ==================================================== */

static void launch_fail(const char *what)
{
    fprintf(stderr, "@launch: %s: %s\n", what, strerror(errno));
    _exit(126);
}

static void launch_limit(int which, long value)
{
    struct rlimit limit = {(rlim_t)value, (rlim_t)value};

    if (setrlimit(which, &limit) < 0)
        launch_fail("setrlimit");
}

static void launch_option(const char *option, int *uid, int *deny, pid_t *owner)
{
    long value = strtol(strchr(option, '=') + 1, NULL, 10);

    switch (option[0]) {
    case 'n':
        launch_limit(RLIMIT_NOFILE, value);
        break;
    case 'm':
        launch_limit(RLIMIT_MEMLOCK, value);
        break;
    case 'u':
        *uid = (int)value;
        break;
    case 'd':
        *deny = (int)value;
        break;
    default:
        *owner = (pid_t)value;
    }
}

void launch_main(int argc, char **argv)
{
    int uid = 0, deny = 0, binary;
    pid_t owner = 0;

    for (; argc > 0 && strcmp(*argv, "--") != 0; argc--, argv++)
        launch_option(*argv, &uid, &deny, &owner);
    argv++; /* the "--" */
    close_range(3, ~0U, 0);
    /* Opened before the change of user, which may be unable to walk to it. */
    binary = open(argv[0], O_PATH | O_CLOEXEC);
    if (binary < 0)
        launch_fail(argv[0]);
    if (uid && (setgroups(0, NULL) < 0 || setgid((gid_t)uid) < 0 ||
                setuid((uid_t)uid) < 0))
        launch_fail("setuid");
    /* After setuid, which forgets it.  The owner may be gone already. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (owner && getppid() != owner)
        _exit(126);
    if (deny && deny_uring(deny) < 0)
        launch_fail("seccomp");
    if (uid)
        fexecve(binary, argv, environ);
    else
        execv(argv[0], argv);
    launch_fail(argv[0]);
    abort();
}

/* ==== the parent's half =================================================== */

enum { MAX_ARGS = 40 };

/* kernel.io_uring_disabled is one for the whole machine, and a test sets it: so
 * a server of another user is started while no test has it set.  The file of
 * the setting itself is what is locked: it is there for every user, and a
 * kernel that has no such file needs no lock.  Returns what rings_unlock()
 * takes. */
int rings_lock(bool to_forbid)
{
    static bool mine;
    int fd = -1;

    if (!mine)
        fd = open(RINGS_SYSCTL, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, to_forbid ? LOCK_EX : LOCK_SH) == 0)
        mine = to_forbid; /* the servers that it starts need no lock */
    return fd;
}

void rings_unlock(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* Appends the words of STAGE_ARGS; returns the new count. */
static int stage_args(const char *argv[], int n)
{
    static char text[1024];
    const char *given = getenv("STAGE_ARGS");
    char *save = NULL;

    snprintf(text, sizeof(text), "%s", given ? given : "");
    for (char *word = strtok_r(text, " ", &save); word;
         word = strtok_r(NULL, " ", &save)) {
        cr_assert(n < MAX_ARGS);
        argv[n++] = word;
    }
    return n;
}

/* The marker, the launch options and the server's path; returns their count.
 * The strings live in *text. */
static int launch_args(const char *argv[], char text[6][64],
                       const struct launch *how)
{
    int n = 0;

    argv[n++] = "test_servers";
    argv[n++] = "@launch";
    snprintf(text[0], 64, "owner=%d", (int)getpid());
    argv[n++] = text[0];
    if (how->nofile) {
        snprintf(text[1], 64, "nofile=%d", how->nofile);
        argv[n++] = text[1];
    }
    if (how->memlock) {
        snprintf(text[2], 64, "memlock=%ld",
                 how->memlock < 0 ? 0 : how->memlock);
        argv[n++] = text[2];
    }
    if (how->uid) {
        snprintf(text[3], 64, "uid=%d", how->uid);
        argv[n++] = text[3];
    }
    if (how->deny) {
        snprintf(text[4], 64, "deny=%d", how->deny);
        argv[n++] = text[4];
    }
    argv[n++] = "--";
    for (int i = 0; how->under && how->under[i]; i++)
        argv[n++] = how->under[i];
    argv[n++] = how->binary ? how->binary : server_path();
    return n;
}

/* The environment without Criterion's own (the child must not take itself for
 * one of its test processes), with the fault schedule. */
static char **launch_env(const struct launch *how)
{
    static char *env[1024], fault[1024];
    size_t n = 0;

    for (char **e = environ; *e && n < 1000; e++)
        if (strncmp(*e, "BXF", 3) != 0 && strncmp(*e, "FAULT_PLAN=", 11) != 0)
            env[n++] = *e;
    if (how->fault) {
        snprintf(fault, sizeof(fault), "FAULT_PLAN=%s", how->fault);
        env[n++] = fault;
    }
    env[n] = NULL;
    return env;
}

/* The binary of stage 5 that places connections like that. */
static const char *placed_path(const char *how)
{
    static char path[1024];
    const char *name = server_name();
    int dir = (int)(name - server_path());

    cr_assert(server_places(how), "%s has no --place %s", name, how);
    if (strcmp(how, "hash") == 0 || !server_is("stage5"))
        return server_path();
    snprintf(path, sizeof(path), "%.*svariants/5-place-%s", dir, server_path(),
             how);
    cr_assert(access(path, X_OK) == 0, "%s is missing", path);
    return path;
}

static void spawn(struct server *s, const struct launch *how,
                  const char *const common[], const char *const args[])
{
    const char *argv[MAX_ARGS + 1];
    char text[6][64];
    posix_spawn_file_actions_t act;
    int pipe_fds[2], n, first, err;

    n = first = launch_args(argv, text, how);
    for (; *common; common++)
        argv[n++] = *common;
    if (n > first)
        n = stage_args(argv, n);
    for (; *args; args++) {
        if (n > first && server_stage() == 5 && strcmp(*args, "--place") == 0) {
            argv[first - 1] = placed_path(*++args);
            continue;
        }
        cr_assert(n < MAX_ARGS);
        argv[n++] = *args;
    }
    argv[n] = NULL;
    cr_assert(pipe2(pipe_fds, O_CLOEXEC) == 0);
    s->out = pipe_fds[0];
    s->err = memfd_create("stderr", MFD_CLOEXEC);
    cr_assert(s->err >= 0);
    posix_spawn_file_actions_init(&act);
    posix_spawn_file_actions_addopen(&act, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&act, pipe_fds[1], 1);
    posix_spawn_file_actions_adddup2(&act, s->err, 2);
    err = posix_spawn(&s->pid, "/proc/self/exe", &act, NULL, (char **)argv,
                      launch_env(how));
    posix_spawn_file_actions_destroy(&act);
    close(pipe_fds[1]);
    cr_assert(err == 0, "posix_spawn: %s", strerror(err));
}

/* Reads stdout up to the first newline; false at its end or after 20 s. */
static bool read_ready(struct server *s)
{
    double since = now();
    size_t n = 0;

    while (n + 1 < sizeof(s->ready)) {
        struct pollfd p = {.fd = s->out, .events = POLLIN};

        if (!in_time(since, 20))
            break;
        if (poll(&p, 1, 100) <= 0)
            continue;
        if (read(s->out, s->ready + n, 1) <= 0)
            break;
        if (s->ready[n++] == '\n') {
            s->ready[n] = '\0';
            return true;
        }
    }
    s->ready[n] = '\0';
    return false;
}

static void server_forget(struct server *s)
{
    close(s->out);
    close(s->err);
}

/* What may be locked is counted by user.  Where the tests are not root, the
 * servers of other tests may hold all of it, for a while. */
static bool crowded_out(struct server *s, const struct launch *how)
{
    return getuid() != 0 && how->memlock == 0 && server_wait(s, 0) == 77 &&
           strstr(server_stderr(s), "no memory for the ring");
}

int server_try_argv(struct server *s, const struct launch *how,
                    const char *const args[])
{
    const char *app = app_is_http() ? "http" : "echo", *colon;
    const char *const common[] = {"--port", "0", "--app", app, NULL};
    int lock = how->uid ? rings_lock(false) : -1;
    double since = now();
    bool ready;

    *s = (struct server){0};
    spawn(s, how, common, args);
    while (!(ready = read_ready(s))) {
        server_wait(s, scaled(5));
        if (!crowded_out(s, how) || !in_time(since, 10))
            break;
        server_forget(s);
        pause_s(0.1);
        spawn(s, how, common, args);
    }
    rings_unlock(lock);
    if (!ready)
        return server_wait(s, scaled(5));
    colon = strrchr(s->ready, ':');
    cr_assert(strstr(s->ready, "listening on ") && colon, "ready line: %s",
              s->ready);
    s->port = atoi(colon + 1);
    cr_assert(s->port > 0, "no port in the ready line: %s", s->ready);
    return 0;
}

void server_launch(struct server *s, const struct launch *how,
                   const char *const args[])
{
    int status = server_try_argv(s, how, args);

    if (status == 77)
        cr_skip("%s: %s", server_path(), server_stderr(s));
    cr_assert(s->port > 0, "no ready line, status %d (-1: it still runs): %s",
              status, server_stderr(s));
}

int server_run_argv(struct server *s, const struct launch *how,
                    const char *const args[])
{
    static const char *const none[] = {NULL};
    int status, lock = how->uid ? rings_lock(false) : -1;

    *s = (struct server){0};
    spawn(s, how, none, args);
    status = server_wait(s, scaled(20));
    rings_unlock(lock);
    if (status < 0) {
        server_signal(s, SIGKILL);
        server_wait(s, scaled(20));
    }
    return status;
}

/* ThreadSanitizer holds a signal back until the next call that it intercepts,
 * and io_uring_enter is none: a ring that sleeps for good would not hear of it.
 * A peer that comes and goes makes it look up. */
static void nudge(const struct server *s)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)s->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    pause_s(0.02);
    connect(fd, (struct sockaddr *)&a, sizeof(a));
    close(fd);
}

void server_signal(const struct server *s, int sig)
{
    cr_assert(s->pid > 0 && kill(s->pid, sig) == 0);
    if (sig == SIGSTOP || sig == SIGCONT) /* no handler is to run */
        return;
    if (sanitizer_threads() && server_stage() >= 3 && s->port)
        nudge(s);
}

int server_wait(struct server *s, double seconds)
{
    double since = now();
    int status;

    if (s->pid == 0)
        return s->status;
    while (waitpid(s->pid, &status, WNOHANG) == 0) {
        if (now() - since >= seconds)
            return -1;
        pause_s(0.002);
    }
    s->pid = 0;
    s->status =
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return s->status;
}

bool server_alive(struct server *s)
{
    return server_wait(s, 0) < 0;
}

/* SIGTERM, exit status 0, and nothing more on stdout. */
static void server_end(struct server *s)
{
    int status;

    cr_assert(server_alive(s), "the server ended with status %d: %s", s->status,
              server_stderr(s));
    server_signal(s, SIGTERM);
    status = server_wait(s, scaled(15));
    cr_assert(status == 0, "status %d after SIGTERM (-1: still running): %s",
              status, server_stderr(s));
    cr_assert(*server_stdout(s) == '\0', "more on stdout: %s",
              server_stdout(s));
}

void server_stop(struct server *s)
{
    server_end(s);
    server_forget(s);
}

unsigned long server_stop_counted(struct server *s, const char *name)
{
    char key[64];
    const char *done, *at;

    server_signal(s, SIGTERM);
    cr_assert(server_wait(s, scaled(15)) == 0, "status %d: %s", s->status,
              server_stderr(s));
    done = strstr(server_stderr(s), ": done: ");
    cr_assert(done, "no summary: %s", server_stderr(s));
    snprintf(key, sizeof(key), " %s ", name);
    at = strstr(done, key);
    close(s->out);
    close(s->err);
    return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

void server_stop_faulty(struct server *s, unsigned *hit, unsigned *seen)
{
    unsigned h, n;

    server_end(s);
    *hit = *seen = 0;
    for (const char *p = server_stderr(s); (p = strstr(p, "fault: ")); p++) {
        if (sscanf(p, "fault: %*s %*[^:]: %u of %u", &h, &n) == 2) {
            *hit += h;
            *seen += n;
        }
    }
    server_forget(s);
}

const char *server_stderr(const struct server *s)
{
    static char text[64 * 1024];
    ssize_t n = pread(s->err, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

const char *server_stdout(const struct server *s)
{
    static char text[16 * 1024];
    static size_t len;
    ssize_t n = read(s->out, text + len, sizeof(text) - 1 - len);

    len += n > 0 ? (size_t)n : 0;
    text[len] = '\0';
    return text;
}

/* ==== /proc =============================================================== */

static long status_line(const struct server *s, const char *key)
{
    char path[64], line[256];
    long value = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)s->pid);
    f = fopen(path, "r");
    cr_assert(f, "%s: %s", path, server_stderr(s));
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtol(line + strlen(key), NULL, 10);
    fclose(f);
    return value;
}

/* The kernel's own helpers of a ring (iou-wrk, iou-sqp) are listed among the
 * threads; they come and go as the kernel likes, and are not the server's. */
static bool is_kernel_helper(const struct server *s, const char *tid)
{
    char path[320], name[32] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)s->pid, tid);
    f = fopen(path, "r");
    if (!f)
        return true; /* it has ended */
    if (!fgets(name, sizeof(name), f))
        name[0] = '\0';
    fclose(f);
    return strncmp(name, "iou-", 4) == 0;
}

int server_threads(const struct server *s)
{
    char path[64];
    DIR *dir;
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)s->pid);
    dir = opendir(path);
    cr_assert(dir, "%s: %s", path, server_stderr(s));
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.' && !is_kernel_helper(s, e->d_name);
    closedir(dir);
    return n;
}

long server_rss_kib(const struct server *s)
{
    return status_line(s, "VmRSS:");
}

/* Those that are `what`, such as "socket:"; "" means all. */
static int count_fds(const struct server *s, const char *what)
{
    char path[320], to[32];
    DIR *dir;
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)s->pid);
    dir = opendir(path);
    cr_assert(dir, "%s: %s", path, server_stderr(s));
    for (struct dirent *e; (e = readdir(dir));) {
        ssize_t len;

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)s->pid, e->d_name);
        len = *what ? readlink(path, to, sizeof(to)) : 0;
        n +=
            len >= (ssize_t)strlen(what) && memcmp(to, what, strlen(what)) == 0;
    }
    closedir(dir);
    return n;
}

int server_fds(const struct server *s)
{
    return count_fds(s, "");
}

int server_sockets(const struct server *s)
{
    return count_fds(s, "socket:");
}

double server_cpu(const struct server *s)
{
    struct timespec t;
    clockid_t clock;

    cr_assert(clock_getcpuclockid(s->pid, &clock) == 0);
    cr_assert(clock_gettime(clock, &t) == 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

bool server_sleeps(const struct server *s)
{
    char path[320], line[512];
    bool asleep = true;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)s->pid);
    dir = opendir(path);
    cr_assert(dir, "%s: %s", path, server_stderr(s));
    for (struct dirent *e; (e = readdir(dir));) {
        const char *state;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)s->pid,
                 e->d_name);
        f = e->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        state = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
        asleep &= state && state[1] == ' ' && state[2] == 'S';
        fclose(f);
    }
    closedir(dir);
    return asleep;
}

bool server_rests(const struct server *s, double share, double seconds)
{
    for (int i = 0; i < 10; i++) {
        double cpu = server_cpu(s), since = now();

        pause_s(seconds);
        if (server_cpu(s) - cpu < share * (now() - since))
            return true;
    }
    return false;
}
