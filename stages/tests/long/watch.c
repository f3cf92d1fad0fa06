/* watch.c - the server seen from outside: /proc, /metrics, its end. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "long.h"

double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ==== its life ============================================================ */

_Noreturn static void become(pid_t owner, char **argv, int out, int err)
{
    int null = open("/dev/null", O_RDONLY);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != owner)
        _exit(126);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    close_range(3, ~0U, 0);
    execv(argv[0], argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(126);
}

static bool read_ready(struct run *run)
{
    char line[512], *colon;
    size_t n = 0;
    double since = now();

    while (n + 1 < sizeof line && now() - since < 60) {
        struct pollfd p = {.fd = run->out, .events = POLLIN};

        if (poll(&p, 1, 100) <= 0)
            continue;
        if (read(run->out, line + n, 1) <= 0)
            return false;
        if (line[n++] == '\n')
            break;
    }
    line[n] = '\0';
    colon = strrchr(line, ':');
    run->port = strstr(line, "listening on ") && colon ? atoi(colon + 1) : 0;
    return run->port > 0;
}

int server_start(struct run *run, char **argv)
{
    pid_t owner = getpid();
    int pipe_fds[2], status;

    run->err = memfd_create("stderr", MFD_CLOEXEC);
    if (run->err < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
        return 1;
    run->server = fork();
    if (run->server == 0)
        become(owner, argv, pipe_fds[1], run->err);
    close(pipe_fds[1]);
    run->out = pipe_fds[0];
    if (run->server < 0)
        return 1;
    if (read_ready(run))
        return 0;
    for (double since = now(); now() - since < 5;) {
        status = server_status(run);
        if (status >= 0)
            return status ? status : 1;
        usleep(10000);
    }
    kill(run->server, SIGKILL);
    return 1;
}

int server_status(struct run *run)
{
    static int last = -1;
    int status;

    if (run->server > 0 && waitpid(run->server, &status, WNOHANG) > 0) {
        run->server = 0;
        last = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return run->server > 0 ? -1 : last;
}

const char *server_stderr(const struct run *run)
{
    static char text[256 * 1024];
    ssize_t n = pread(run->err, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* ==== /proc =============================================================== */

static long entries(const struct run *run, const char *folder)
{
    char path[64];
    DIR *dir;
    long n = 0;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)run->server, folder);
    dir = opendir(path);
    if (!dir)
        return -1;
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

long server_fds(const struct run *run)
{
    return entries(run, "fd");
}

long server_threads(const struct run *run)
{
    return entries(run, "task");
}

/* What no other process shares: what files back comes and goes as the kernel
 * likes. */
long server_private_kib(const struct run *run)
{
    char path[64], line[256];
    long sum = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)run->server);
    f = fopen(path, "r");
    if (!f)
        return -1;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "RssAnon:", 8) == 0 ||
            strncmp(line, "RssShmem:", 9) == 0)
            sum += strtol(strchr(line, ':') + 1, NULL, 10);
    fclose(f);
    return sum;
}

double server_cpu(const struct run *run)
{
    struct timespec t;
    clockid_t clock;

    if (clock_getcpuclockid(run->server, &clock) != 0 ||
        clock_gettime(clock, &t) != 0)
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Connections that this machine dropped because a backlog was full: the peer
 * thinks it is connected, and the server has never heard of it. */
uint64_t listen_drops(void)
{
    char names[8192], values[8192];
    uint64_t sum = 0;
    FILE *f = fopen("/proc/net/netstat", "r");

    while (f && fgets(names, sizeof names, f) &&
           fgets(values, sizeof values, f)) {
        char *save_name = NULL, *save_value = NULL;
        char *name = strtok_r(names, " \n", &save_name);
        char *value = strtok_r(values, " \n", &save_value);

        while (name && value) {
            if (strcmp(name, "ListenDrops") == 0)
                sum = strtoull(value, NULL, 10);
            name = strtok_r(NULL, " \n", &save_name);
            value = strtok_r(NULL, " \n", &save_value);
        }
    }
    if (f)
        fclose(f);
    return sum;
}

/* ==== questions =========================================================== */

static int open_probe(const struct run *run)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)run->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = (time_t)run->patience_s + 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

/* HTTP/1.0, so that the body is whatever comes before the end. */
const char *probe(const struct run *run, struct tally *t, const char *target)
{
    static char text[256 * 1024];
    size_t len = 0;
    ssize_t n;
    bool handler = !run->echo && (strncmp(target, "/work/", 6) == 0 ||
                                  strncmp(target, "/sleep/", 7) == 0);
    char *body;
    int fd = open_probe(run);

    if (fd < 0)
        return NULL;
    COUNT(t, connects, 1);
    COUNT(t, asked, !run->echo);
    COUNT(t, works_asked, handler);
    n = snprintf(text, sizeof text,
                 run->echo ? "\r\n\r\n%s" : "GET %s HTTP/1.0\r\n\r\n", target);
    n = send(fd, text, (size_t)n, MSG_NOSIGNAL);
    COUNT(t, said, (uint64_t)(n > 0 ? n : 0));
    COUNT(t, said_whole, (uint64_t)(n > 0 ? n : 0));
    shutdown(fd, SHUT_WR);
    while ((n = recv(fd, text + len, sizeof text - 1 - len, 0)) > 0)
        len += (size_t)n;
    close(fd);
    text[len] = '\0';
    COUNT(t, heard, len);
    body = strstr(text, "\r\n\r\n");
    if (n < 0 || !body || (!run->echo && strncmp(text + 9, "200", 3) != 0))
        return NULL;
    COUNT(t, answered, !run->echo);
    COUNT(t, works_done, handler);
    return body + 4;
}

/* The sum over all workers. */
uint64_t metric(const char *text, const char *name)
{
    char want[80];
    uint64_t sum = 0;

    snprintf(want, sizeof want, "\nioladder_%s_total{", name);
    for (const char *at = text; (at = strstr(at, want)) != NULL;) {
        at = strchr(at, ' ');
        if (!at)
            break;
        sum += strtoull(at, NULL, 10);
    }
    return sum;
}
