/* service.c - see service.h. */
#include "service.h"

#include <limits.h>
#include <stdarg.h>
#include <sysexits.h>
#include <unistd.h>

#include "files.h"
#include "inherit.h"
#include "net.h"
#include "signals.h"
#include "timer_wheel.h"

static void print_stats(const struct service *v, const char *what)
{
    char line[1024];

    stats_line(line, sizeof line);
    fprintf(stderr, "%s: %s%s\n", v->name, what, line);
}

void service_open(struct service *v, const char *name, const char *doc,
                  int argc, char **argv, const struct argp *own,
                  void *own_input)
{
    inherit_clean();
    v->name = name;
    options_parse(&v->opt, argc, argv, doc, own, own_input);
    v->app = (struct app){
        .proto = v->opt.echo ? &proto_echo : &proto_http,
        .cancel = &v->stop,
        .root_fd = v->opt.root ? files_root(v->opt.root) : -1,
        .max_body = v->opt.max_body,
    };
    cancel_init(&v->stop, NULL);
    v->signal = signals_open(&v->stop, v->opt.drain_ms);
    v->stats_ms = clock_ms() + v->opt.stats_ms;
}

void service_one_loop(const struct service *v)
{
    if (v->opt.workers > 1)
        die_status(EX_USAGE, "%s: --workers %d: this stage is one loop",
                   v->name, v->opt.workers);
}

void service_ready(struct service *v, const char *chosen, ...)
{
    char text[256];
    va_list ap;

    if (v->opt.workers_min > 0)
        die_status(EX_USAGE, "%s: --workers %d:%d: this stage needs one number",
                   v->name, v->opt.workers_min, v->opt.workers);
    va_start(ap, chosen);
    vsnprintf(text, sizeof text, chosen, ap);
    va_end(ap);
    options_report(&v->opt, v->name, text);
    net_ready(v->name, v->opt.host, v->opt.port);
}

/* By the real clock: a loop's own clock stands still during handlers. */
static int64_t stats_in_ms(const struct service *v)
{
    return v->stats_ms - clock_ms();
}

int service_wait_ms(const struct service *v, int64_t now_ms, int timers_ms,
                    int64_t retry_ms)
{
    int64_t at = timers_ms < 0 ? INT64_MAX : now_ms + timers_ms;

    if (retry_ms > now_ms && retry_ms < at)
        at = retry_ms;
    if (v->opt.stats_ms && now_ms + stats_in_ms(v) < at)
        at = now_ms + stats_in_ms(v);
    if (service_draining(v) && now_ms + DRAIN_TICK_MS < at)
        at = now_ms + DRAIN_TICK_MS;
    if (at == INT64_MAX)
        return -1;
    if (at <= now_ms)
        return 0;
    return at - now_ms < INT_MAX ? (int)(at - now_ms) : INT_MAX;
}

int64_t service_work(struct session *s, struct stats *st)
{
    int64_t begin_ms = clock_ms();

    STAT_ADD(st, works, 1);
    session_work(s);
    return clock_ms() - begin_ms;
}

void service_tick(struct service *v)
{
    if (!v->opt.stats_ms || stats_in_ms(v) > 0)
        return;
    print_stats(v, "");
    v->stats_ms = clock_ms() + v->opt.stats_ms;
}

void service_close(struct service *v)
{
    print_stats(v, "done: ");
    if (v->app.root_fd >= 0)
        close(v->app.root_fd);
    close(v->signal);
}
