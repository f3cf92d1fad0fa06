/* Sockets: who may listen, how accept and close behave, signals.
 *
 * accept4() and recv() are defined here and so take the place of the C
 * library's in this test program: a script of errors can be put before the
 * real calls. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "signals.h"
#include "timer_wheel.h"

enum { SOON_MS = 10000 }; /* what has not happened by then does not happen */

static struct {
    const int *accept_errors; /* 0 ends them */
    const int *recv_errors;
    bool endless; /* every recv is full */
    size_t received;
} script;

int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len,
            int flags)
{
    if (script.accept_errors && *script.accept_errors) {
        errno = *script.accept_errors++;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, addr, len, flags);
}

ssize_t recv(int fd, void *dst, size_t len, int flags)
{
    ssize_t n = (ssize_t)len;

    if (script.recv_errors && *script.recv_errors) {
        errno = *script.recv_errors++;
        return -1;
    }
    if (!script.endless)
        n = syscall(SYS_recvfrom, fd, dst, len, flags, NULL, NULL);
    script.received += n > 0 ? (size_t)n : 0;
    return n;
}

static bool readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};

    return poll(&p, 1, SOON_MS) == 1;
}

static int try_dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_geq(fd, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -errno;
}

static int dial(int port)
{
    int fd = try_dial(port);

    cr_assert_geq(fd, 0, "connect: %s", strerror(-fd));
    return fd;
}

static int listener(int *port)
{
    int fd;

    *port = 0;
    net_listen("127.0.0.1", port, 1, &fd);
    return fd;
}

/* An accepted connection and its peer. */
static int pair(int *peer)
{
    int port, l = listener(&port), fd;

    *peer = dial(port);
    cr_assert(readable(l));
    fd = net_accept(l, false);
    cr_assert_geq(fd, 0);
    close(l);
    return fd;
}

/* Runs f(arg) in a child with stdout and stderr in *said; its exit status, or
 * minus the signal that ended it. */
static struct {
    char text[1024];
} said;

static void quit(int status, void *arg)
{
    (void)arg;
    fflush(NULL);
    _exit(status);
}

static int in_child(void (*f)(void *), void *arg)
{
    FILE *out = tmpfile();
    int status;
    pid_t pid;

    cr_assert_not_null(out);
    fflush(NULL);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        on_exit(quit, NULL); /* Criterion's work at exit is the parent's */
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(out), STDERR_FILENO);
        f(arg);
        exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    memset(&said, 0, sizeof said);
    rewind(out);
    cr_assert(fread(said.text, 1, sizeof said.text - 1, out) <
              sizeof said.text);
    fclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Listening. */

Test(net, a_listener_is_what_the_header_says)
{
    int port, l = listener(&port), one = 0, peer, fd;
    socklen_t len = sizeof one;

    cr_assert(port > 0 && port < 65536);
    cr_assert(fcntl(l, F_GETFD) & FD_CLOEXEC);
    cr_assert(fcntl(l, F_GETFL) & O_NONBLOCK);
    cr_assert_eq(net_accept(l, true), -EAGAIN);
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        peer = dial(port);
        cr_assert(readable(l));
        fd = net_accept(l, nonblocking);
        cr_assert_geq(fd, 0);
        cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        cr_assert_eq(!!(fcntl(fd, F_GETFL) & O_NONBLOCK), nonblocking);
        one = 0;
        getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, &len);
        cr_assert_neq(one, 0, "TCP_NODELAY was not inherited");
        close(fd);
        close(peer);
    }
}

/* Two servers in a row must not wait for TIME_WAIT. */
Test(net, a_port_can_be_taken_again_at_once)
{
    int port, l = listener(&port), peer, fd;

    peer = dial(port);
    cr_assert(readable(l));
    fd = net_accept(l, false);
    close(fd); /* first: this end keeps the port in TIME_WAIT */
    close(peer);
    close(l);
    net_listen("127.0.0.1", &port, 1, &l);
}

Test(net, several_listeners_share_one_port)
{
    enum { N = 4, DIALS = 200 };
    int fds[N], peers[DIALS], port = 0, total = 0;

    net_listen("127.0.0.1", &port, N, fds);
    for (int i = 0; i < DIALS; i++)
        peers[i] = dial(port);
    for (int i = 0; i < N; i++) {
        struct sockaddr_in a;
        socklen_t len = sizeof a;
        int got = 0;

        getsockname(fds[i], (struct sockaddr *)&a, &len);
        cr_assert_eq(ntohs(a.sin_port), port);
        while (net_accept(fds[i], true) >= 0)
            got++;
        cr_assert_gt(got, 0, "listener %d got nothing", i);
        total += got;
    }
    cr_assert_eq(total, DIALS);
    for (int i = 0; i < DIALS; i++)
        close(peers[i]);
}

struct want {
    const char *host;
    int port, n;
};

static void do_listen(void *arg)
{
    struct want *want = arg;
    int fds[8];

    net_listen(want->host, &want->port, want->n, fds);
    printf("got it");
}

static void refused(const char *host, int port, int n, const char *message)
{
    struct want want = {host, port, n};
    int status = in_child(do_listen, &want);

    cr_assert_eq(status, 1, "%s:%d left with %d", host, port, status);
    cr_assert_str_eq(said.text, message);
}

Test(net, a_port_in_use_is_refused_however_it_is_held)
{
    char message[128];

    /* Held by one socket, and by a server of the same kind that shares. */
    for (int held = 1; held <= 3; held += 2)
        for (int n = 1; n <= 3; n++) {
            int fds[3], port = 0;

            net_listen("127.0.0.1", &port, held, fds);
            snprintf(message, sizeof message,
                     "cannot listen on 127.0.0.1:%d: Address already in use\n",
                     port);
            refused("127.0.0.1", port, n, message);
            for (int i = 0; i < held; i++)
                close(fds[i]);
        }
}

Test(net, a_foreign_server_on_all_addresses_holds_the_port_too)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t len = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char message[128];

    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    cr_assert_eq(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    cr_assert_eq(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&any, &len);
    snprintf(message, sizeof message,
             "cannot listen on 127.0.0.1:%d: Address already in use\n",
             ntohs(any.sin_port));
    refused("127.0.0.1", ntohs(any.sin_port), 2, message);
}

/* Of servers that start at the same moment, one gets the port. */

static void race_child(int go, int port, int done)
{
    struct want want = {"127.0.0.1", port, 2};
    int null = open("/dev/null", O_WRONLY), fds[2];
    char c;

    on_exit(quit, NULL);
    dup2(null, STDERR_FILENO);
    if (read(go, &c, 1) < 0)
        exit(3);
    net_listen(want.host, &want.port, want.n, fds);
    /* Keep it until all have tried. */
    if (write(done, "w", 1) != 1)
        exit(3);
    sleep(30);
    exit(4);
}

static int race_winners(int port)
{
    enum { RACERS = 3 };
    int go[2], done[2], losers = 0, status;
    pid_t pid[RACERS];
    char c;

    cr_assert(pipe(go) == 0 && pipe(done) == 0);
    fflush(NULL);
    for (int i = 0; i < RACERS; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            close(go[1]);
            race_child(go[0], port, done[1]);
        }
    }
    close(go[0]);
    close(go[1]); /* the starting shot: end of file */
    cr_assert(readable(done[0]));
    cr_assert_eq(read(done[0], &c, 1), 1);
    /* Losers leave with 1 by themselves; the winner has to be ended. */
    for (int i = 0; i < 200 && losers < RACERS - 1; i++) {
        for (int k = 0; k < RACERS; k++)
            if (pid[k] > 0 && waitpid(pid[k], &status, WNOHANG) == pid[k]) {
                cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
                pid[k] = 0;
                losers++;
            }
        usleep(5000);
    }
    for (int k = 0; k < RACERS; k++)
        if (pid[k] > 0) {
            kill(pid[k], SIGKILL);
            waitpid(pid[k], &status, 0);
        }
    close(done[0]);
    close(done[1]);
    return RACERS - losers;
}

Test(net, of_several_that_start_at_once_one_wins)
{
    for (int round = 0; round < 12; round++) {
        int port, l = listener(&port);

        close(l); /* a port that is free now */
        cr_assert_eq(race_winners(port), 1);
    }
}

Test(net, other_reasons_name_host_port_and_cause)
{
    char unusable[128];

    snprintf(unusable, sizeof unusable, "cannot listen on 192.0.2.1:8080: %s\n",
             strerror(EADDRNOTAVAIL));
    refused("192.0.2.1", 8080, 1, unusable);
    refused("192.0.2.1", 8080, 2, unusable);
    in_child(do_listen, &(struct want){"300.1.2.3.4", 8080, 1});
    cr_assert_eq(strncmp(said.text, "cannot listen on 300.1.2.3.4", 28), 0);
    cr_assert_gt(strlen(said.text), 32);
    cr_assert_eq(in_child(do_listen, &(struct want){"", 0, 1}), 1);
}

Test(net, names_and_ipv6)
{
    int port = 0, fd, probe = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6,
                             .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool have6 = probe >= 0 && bind(probe, (void *)&a, sizeof a) == 0;
    struct addrinfo *known = NULL;

    /* A bare chroot has no /etc/hosts: then nobody knows localhost. */
    if (getaddrinfo("localhost", NULL, NULL, &known) == 0) {
        freeaddrinfo(known);
        net_listen("localhost", &port, 1, &fd);
        cr_assert_gt(port, 0);
        close(fd);
    }
    if (have6) {
        socklen_t len = sizeof a;
        int two[2];

        port = 0;
        net_listen("::1", &port, 2, two);
        cr_assert_eq(getsockname(two[1], (void *)&a, &len), 0);
        cr_assert_eq(a.sin6_family, AF_INET6);
        cr_assert_eq(ntohs(a.sin6_port), port);
    } else {
        cr_assert_eq(in_child(do_listen, &(struct want){"::1", 0, 1}), 1);
    }
}

static void ready(void *arg)
{
    net_ready("stage9", arg, 43121);
    _exit(0); /* unflushed output would be lost */
}

Test(net, the_ready_line)
{
    cr_assert_eq(in_child(ready, (void *)"127.0.0.1"), 0);
    cr_assert_str_eq(said.text, "stage9: listening on 127.0.0.1:43121\n");
    cr_assert_eq(in_child(ready, (void *)"::1"), 0);
    cr_assert_str_eq(said.text, "stage9: listening on [::1]:43121\n");
}

Test(net, the_line_is_counted_and_accept_waits_no_longer)
{
    int port, l = listener(&port), peers[3], fd;

    fcntl(l, F_SETFL, 0);
    for (int i = 0; i < 3; i++)
        peers[i] = dial(port);
    cr_assert_eq(net_last(l), 3);
    for (int i = 0; i < 3; i++) {
        fd = net_accept(l, false);
        cr_assert_geq(fd, 0);
        close(fd);
        close(peers[i]);
    }
    cr_assert_eq(net_last(l), 0);
    cr_assert_eq(net_accept(l, false), -EAGAIN);
    close(l);
    cr_assert_eq(net_last(-1), 0);
}

Test(net, a_listener_that_is_closed_takes_nobody)
{
    int port, l = listener(&port);

    net_unlisten(&l);
    cr_assert_eq(l, -1);
    net_unlisten(&l);
    cr_assert_eq(l, -1);
    cr_assert_eq(try_dial(port), -ECONNREFUSED);
}

/* Accepting. */

Test(net, peers_that_left_are_passed_over)
{
    static const int gone[] = {
        EINTR,     ECONNABORTED, EPROTO, ENETDOWN,    ENETUNREACH,
        EHOSTDOWN, EHOSTUNREACH, ENONET, ENOPROTOOPT, 0};
    int port, l = listener(&port), peer, fd;

    script.accept_errors = gone;
    cr_assert_eq(net_accept(l, true), -EAGAIN);
    cr_assert_eq(*script.accept_errors, 0, "some were not tried again");
    script.accept_errors = gone;
    peer = dial(port);
    cr_assert(readable(l));
    fd = net_accept(l, true);
    cr_assert_geq(fd, 0);
    close(peer);
}

/* A broken listener is no reason to spin either. */
Test(net, running_out_means_later_and_a_peer_that_left_does_not)
{
    static const int later[] = {EMFILE, ENFILE, ENOBUFS,    ENOMEM, EPERM,
                                EBADF,  EINVAL, EOPNOTSUPP, 0};
    static const int left[] = {EINTR, ECONNABORTED, EPROTO, ENETDOWN, 0};
    int port, l = listener(&port);

    for (const int *e = later; *e; e++) {
        int once[] = {*e, 0};

        script.accept_errors = once;
        cr_assert_eq(net_accept(l, true), -*e);
        cr_assert(net_accept_later(-*e), "%s", strerror(*e));
    }
    for (const int *e = left; *e; e++)
        cr_assert_not(net_accept_later(-*e), "%s", strerror(*e));
}

Test(net, without_descriptors_accept_says_so_and_recovers)
{
    int port, l = listener(&port), peer = dial(port), fd;
    struct rlimit old, none;

    cr_assert(readable(l));
    getrlimit(RLIMIT_NOFILE, &old);
    none = (struct rlimit){(rlim_t)peer + 1, old.rlim_max};
    for (fd = 0; fd <= peer; fd++) /* no gap below the limit */
        if (fcntl(fd, F_GETFD) < 0)
            cr_assert_eq(dup2(l, fd), fd);
    setrlimit(RLIMIT_NOFILE, &none);
    fd = net_accept(l, true);
    setrlimit(RLIMIT_NOFILE, &old);
    cr_assert_eq(fd, -EMFILE);
    cr_assert(net_accept_later(fd));
    cr_assert_geq(net_accept(l, true), 0);
}

/* Closing. */

/* The answer must arrive though the request was never read. */
Test(net, closing_with_unread_input_does_not_destroy_the_answer)
{
    static char request[100 * 1024], answer[16];
    int peer, fd = pair(&peer), held = 0;

    cr_assert_eq(send(peer, request, sizeof request, 0), sizeof request);
    for (int i = 0; i < SOON_MS && held < (int)sizeof request; i++) {
        ioctl(fd, FIONREAD, &held);
        usleep(1000);
    }
    cr_assert_eq(held, sizeof request);
    cr_assert_eq(send(fd, "answer", 6, 0), 6);
    net_close(fd);
    cr_assert_eq(fcntl(fd, F_GETFD), -1);
    cr_assert(readable(peer));
    for (ssize_t n, len = 0;; len += n) {
        n = read(peer, answer + len, sizeof answer - 1 - (size_t)len);
        cr_assert_geq(n, 0, "after %zd bytes: %s", len, strerror(errno));
        if (n == 0)
            break;
    }
    cr_assert_str_eq(answer, "answer");
}

Test(net, closing_does_not_wait_for_an_idle_peer)
{
    struct timespec a, b;
    int peer, fd = pair(&peer);
    char c;

    clock_gettime(CLOCK_MONOTONIC, &a);
    net_close(fd); /* the socket is a blocking one */
    clock_gettime(CLOCK_MONOTONIC, &b);
    cr_assert_lt(b.tv_sec - a.tv_sec, SOON_MS / 1000);
    cr_assert_eq(read(peer, &c, 1), 0);
}

Test(net, closing_discards_no_more_than_256_kib)
{
    int peer, fd = pair(&peer);

    script.endless = true;
    net_close(fd);
    cr_assert_gt(script.received, 0);
    cr_assert_leq(script.received, 256 * 1024);
}

Test(net, an_interrupted_discard_goes_on)
{
    static const int twice[] = {EINTR, EINTR, 0};
    int peer, fd = pair(&peer);

    cr_assert_eq(send(peer, "1234567", 7, 0), 7);
    cr_assert(readable(fd));
    script.recv_errors = twice;
    net_close(fd);
    cr_assert_eq(*script.recv_errors, 0);
    cr_assert_eq(script.received, 7);
}

/* Signals: each case is the life of a child. */

static void expect(bool ok, const char *what)
{
    if (ok)
        return;
    printf("not so: %s", what);
    exit(9);
}

static void drains(void *arg)
{
    struct cancel stop;
    uint64_t n;
    int fd;

    cancel_init(&stop, NULL);
    fd = signals_open(&stop, 1000);
    expect(fcntl(fd, F_GETFD) & FD_CLOEXEC, "close-on-exec");
    expect(cancel_level(&stop) == CANCEL_NONE, "nothing at first");
    raise(SIGPIPE); /* ignored */
    raise(*(int *)arg);
    expect(readable(fd), "the event is readable");
    expect(cancel_level(&stop) == CANCEL_DRAIN, "drain");
    expect(readable(fd), "for good");
    poll(NULL, 0, 1050);
    expect(cancel_level(&stop) == CANCEL_NOW, "the deadline");
    expect(read(fd, &n, sizeof n) == sizeof n && n == 1, "one event");
    expect(read(fd, &n, sizeof n) < 0 && errno == EAGAIN, "non-blocking");
}

static void leaves(void *arg)
{
    struct cancel stop;
    int *signos = arg;

    cancel_init(&stop, NULL);
    signals_open(&stop, 60 * 1000);
    raise(signos[0]);
    raise(signos[1]); /* at once: still the first */
    printf("between");
    fflush(stdout);
    usleep(250 * 1000);
    raise(signos[1]);
    printf("after");
}

Test(net, the_first_signal_drains)
{
    for (int i = 0; i < 2; i++) {
        int signo = i ? SIGINT : SIGTERM;

        cr_assert_eq(in_child(drains, &signo), 0, "%s", said.text);
    }
}

Test(net, a_later_signal_leaves_at_once)
{
    static int pairs[][2] = {
        {SIGTERM, SIGTERM}, {SIGINT, SIGTERM}, {SIGTERM, SIGINT}};

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        cr_assert_eq(in_child(leaves, pairs[i]), 128 + pairs[i][1]);
        cr_assert_str_eq(said.text, "between");
    }
}

/* A parent may have blocked or ignored what is to be heard here. */
static void inherits(void *arg)
{
    struct cancel stop;
    sigset_t all;
    int fd;

    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    cancel_init(&stop, NULL);
    fd = signals_open(&stop, 1000);
    raise(*(int *)arg);
    expect(readable(fd), "the event is readable");
    expect(cancel_level(&stop) == CANCEL_DRAIN, "drain");
}

Test(net, signals_are_heard_whatever_the_parent_left)
{
    for (int i = 0; i < 2; i++) {
        int signo = i ? SIGINT : SIGTERM;

        cr_assert_eq(in_child(inherits, &signo), 0, "%s", said.text);
    }
}

static void blocked_read(void *arg)
{
    struct cancel stop;
    int pipe_fds[2];
    pid_t me = getpid(), killer;
    char c;

    (void)arg;
    cancel_init(&stop, NULL);
    signals_open(&stop, 60 * 1000);
    expect(pipe(pipe_fds) == 0, "pipe");
    killer = fork();
    if (killer == 0) {
        usleep(50 * 1000);
        kill(me, SIGTERM);
        usleep(50 * 1000);
        _exit(write(pipe_fds[1], "x", 1) != 1);
    }
    expect(read(pipe_fds[0], &c, 1) == 1, "a blocking call goes on");
    expect(cancel_level(&stop) == CANCEL_DRAIN, "and the token is raised");
    expect(waitpid(killer, NULL, 0) == killer, "waitpid");
}

Test(net, a_signal_does_not_break_blocking_calls)
{
    cr_assert_eq(in_child(blocked_read, NULL), 0, "%s", said.text);
}

/* Deadlines. */

static void fill(int fd)
{
    static const char piece[16 * 1024];

    while (send(fd, piece, sizeof piece, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
}

Test(net, a_deadline_asks_what_has_arrived)
{
    int peer, fd = pair(&peer);
    uint64_t acked = 0;

    cr_assert_eq(net_grace_ms(fd, true, 1000, &acked), 0, "silence");
    cr_assert_gt(net_grace_ms(fd, false, 1000, &acked), 0, "it waits for us");
    cr_assert_eq(send(peer, "x", 1, 0), 1);
    cr_assert(readable(fd));
    cr_assert_gt(net_grace_ms(fd, true, 1000, &acked), 0, "a byte is there");
    close(peer);
    close(fd);
}

Test(net, a_deadline_asks_what_the_peer_has_taken)
{
    enum { IDLE_MS = 300 };
    int peer, fd = pair(&peer), n = 0;
    char piece[64 * 1024];
    uint64_t acked = 0;
    int64_t more;

    fill(fd);
    usleep(20 * 1000);
    fill(fd);
    more = net_grace_ms(fd, false, IDLE_MS, &acked);
    cr_assert(acked > 0, "the peer's kernel has taken some");
    cr_assert(more >= 0 && more <= IDLE_MS);
    usleep(2 * IDLE_MS * 1000);
    cr_assert_eq(net_grace_ms(fd, false, IDLE_MS, &acked), 0);
    cr_assert_eq(net_grace_ms(fd, true, IDLE_MS, &acked), 0);
    for (more = 0; n < 100 && more == 0; n++, usleep(1000)) {
        cr_assert_gt(recv(peer, piece, sizeof piece, MSG_DONTWAIT), 0);
        more = net_grace_ms(fd, true, IDLE_MS, &acked);
    }
    cr_assert_gt(more, 0, "it takes some again");
    close(peer);
    close(fd);
}

/* What an accepted socket has from its listener. */
Test(net, the_kernel_holds_little_that_it_cannot_send)
{
    int peer, fd = pair(&peer), value = 0;
    socklen_t len = sizeof value;

    cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &len),
                 0);
    cr_assert_eq(value, 128 * 1024);
    close(peer);
    close(fd);
}

/* A receive sleeps as long as it may, the socket is told of a new time, and not
 * of one that hardly differs. */
Test(net, a_blocking_call_is_limited)
{
    int64_t known_ms = 0, since_ms;
    int fds[2];
    char byte;

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    net_limit(fds[0], SO_RCVTIMEO, 30, &known_ms);
    since_ms = clock_ms();
    cr_assert(recv(fds[0], &byte, 1, 0) < 0 && errno == EAGAIN);
    cr_assert_geq(clock_ms() - since_ms, 20);
    cr_assert_eq(known_ms, 30);
    net_limit(fds[0], SO_RCVTIMEO, 35, &known_ms);
    cr_assert_eq(known_ms, 30, "told for nothing");
    net_limit(fds[0], SO_RCVTIMEO, -7, &known_ms);
    cr_assert_eq(known_ms, 1);
    cr_assert(recv(fds[0], &byte, 1, 0) < 0 && errno == EAGAIN);
    net_limit(fds[0], SO_RCVTIMEO, 61000, &known_ms);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    cr_assert_eq(recv(fds[0], &byte, 1, 0), 1);
    close(fds[0]);
    close(fds[1]);
}
