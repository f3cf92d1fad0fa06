/* report.c - see report.h. */
#include "report.h"

#include <math.h>
#include <string.h>

static const char *const error_names[] = {
#define X(name, help) #name,
    ERROR_LIST(X)
#undef X
};

static const char *const error_help[] = {
#define X(name, help) help,
    ERROR_LIST(X)
#undef X
};

/* ---- judging ---- */

enum { BEYOND = 10 }; /* requests that must lie beyond a percentile */

double report_blame(const struct marks *m, double p)
{
    double own = 0, all = 0;
    unsigned from = hist_cell(hist_percentile(&m->latency, p));

    for (unsigned i = from; i < HIST_CELLS; i++) {
        own += (double)m->blame[i];
        all += (double)m->latency.cell[i] * (double)hist_cell_top(i);
    }
    return all > 0 ? own / all : 0;
}

static double per(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* The highest percentile, up to p99, that BEYOND requests lie beyond. */
static double judged_at(uint64_t requests)
{
    double p = 100 - 100.0 * BEYOND / (double)requests;

    return p > 99 ? 99 : p > 50 ? p : 50;
}

static bool generator_late(const struct result *r)
{
    const struct marks *m = r->marks;
    double p;

    if (m->latency.count == 0)
        return false;
    p = judged_at(m->latency.count);
    return (double)hist_percentile(&m->lateness, p) >
               0.1 * (double)hist_percentile(&m->latency, p) ||
           (p >= 99 && report_blame(m, p) > 0.5);
}

/* How long a quota stopped a side in the window, and how often. */
static struct quota throttled(const struct result *r, int side)
{
    const struct quota *a = &r->quota[0][side], *b = &r->quota[1][side];

    return (struct quota){.cpus = b->cpus,
                          .throttled = b->throttled - a->throttled,
                          .throttled_s = b->throttled_s - a->throttled_s};
}

void report_judge(struct result *r)
{
    double server = per(r->server_s, r->duration_s * r->server_cpus);
    bool open = r->cf->rate > 0;

    r->limited_by = "none";
    if (throttled(r, 0).throttled_s > 0.01 * r->duration_s ||
        throttled(r, 1).throttled_s > 0.01 * r->duration_s)
        r->limited_by = "quota";
    else if (open && generator_late(r))
        r->limited_by = "generator";
    else if (!open && r->busy_max > 0.9)
        r->limited_by = "generator";
    else if (r->have_server && server >= 0.9)
        r->limited_by = "server";
    else if (open && (double)r->sum.requests < 0.99 * (double)r->arrivals)
        r->limited_by = "server";
}

/* ---- JSON ---- */

/* The bytes of the UTF-8 character at s, 0 when there is none. */
static int utf8_length(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    int n = u[0] < 0x80   ? 1
            : u[0] < 0xc2 ? 0
            : u[0] < 0xe0 ? 2
            : u[0] < 0xf0 ? 3
            : u[0] < 0xf5 ? 4
                          : 0;

    for (int i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
        return 0; /* too long a form, a surrogate, or beyond the last one */
    return n;
}

/* JSON is UTF-8.  A byte that is not goes out as %XX, which means the same in a
 * path. */
static void json_text(FILE *f, const char *s)
{
    fputc('"', f);
    while (*s) {
        int n = utf8_length(s);

        if (n == 0)
            fprintf(f, "%%%02X", (unsigned)(unsigned char)*s);
        else if ((unsigned char)*s < ' ')
            fprintf(f, "\\u%04x", (unsigned)*s);
        else
            fprintf(f, "%s%.*s", *s == '"' || *s == '\\' ? "\\" : "", n, s);
        s += n > 0 ? n : 1;
    }
    fputc('"', f);
}

static void json_hist(FILE *f, const struct hist *h)
{
    static const struct {
        const char *name;
        double p;
    } points[] = {{"p50", 50}, {"p75", 75},     {"p90", 90},      {"p95", 95},
                  {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}};

    fprintf(f, "{\"count\": %llu, \"mean\": %.3f, \"min\": %.3f",
            (unsigned long long)h->count, hist_mean(h) / 1e3,
            h->count ? (double)h->min / 1e3 : 0.0);
    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++)
        fprintf(f, ", \"%s\": %.3f", points[i].name,
                (double)hist_percentile(h, points[i].p) / 1e3);
    fprintf(f, ", \"max\": %.3f}", (double)h->max / 1e3);
}

static void json_errors(const struct result *r, FILE *f)
{
    fprintf(f, "  \"errors\": {\"total\": %llu", (unsigned long long)r->errors);
    for (int i = 0; i < ERROR_KINDS; i++)
        fprintf(f, ", \"%s\": %llu", error_names[i],
                (unsigned long long)r->sum.errors[i]);
    fprintf(f,
            "},\n  \"warmup_errors\": %llu, \"abandoned\": %llu, "
            "\"retried\": %llu, \"unfinished\": %llu,\n",
            (unsigned long long)r->warm_errors,
            (unsigned long long)r->sum.abandoned,
            (unsigned long long)r->sum.retried,
            (unsigned long long)r->unfinished);
}

static const char *blamed(double share)
{
    return share > 0.5 ? "generator" : "server";
}

static void json_open(const struct result *r, FILE *f)
{
    static const struct {
        const char *name;
        double p;
    } points[] = {{"p99", 99}, {"p99.9", 99.9}, {"max", 100}};

    fprintf(f, "  \"uncorrected_latency_us\": ");
    json_hist(f, &r->marks->uncorrected);
    fprintf(f, ",\n  \"lateness_us\": ");
    json_hist(f, &r->marks->lateness);
    fprintf(f, ",\n  \"tail\": {");
    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
        double share = report_blame(r->marks, points[i].p);

        fprintf(f, "%s\"%s\": {\"generator_share\": %.4f, \"blame\": \"%s\"}",
                i ? ", " : "", points[i].name, share, blamed(share));
    }
    fprintf(f, "},\n");
}

static void json_classes(const struct result *r, FILE *f)
{
    static const char *const names[CLASSES] = {"fast", "slow"};

    fprintf(f, "  \"classes\": [");
    for (int i = 0; i < CLASSES; i++) {
        if (r->cf->service.kind != SERVICE_BIMODAL)
            break;
        fprintf(f, "%s{\"name\": \"%s\", \"latency_us\": ", i ? ", " : "",
                names[i]);
        json_hist(f, &r->marks->class[i]);
        fprintf(f, "}");
    }
    fprintf(f, "],\n");
}

static void json_cpu(const struct result *r, FILE *f)
{
    double own = r->user_s + r->sys_s - r->spin_s;
    double n = (double)r->sum.requests;

    fprintf(f,
            "  \"client_cpu\": {\"user_s\": %.6f, \"sys_s\": %.6f, "
            "\"spin_s\": %.6f, \"per_request_us\": %.4f, \"busy\": %.4f, "
            "\"spins\": %s, \"sleeps\": %lld},\n",
            r->user_s, r->sys_s, r->spin_s, per(own, n) * 1e6, r->busy_max,
            r->spins ? "true" : "false", (long long)r->sleeps);
    if (!r->have_server)
        return;
    fprintf(f,
            "  \"server_cpu\": {\"total_s\": %.6f, \"per_request_us\": %.4f, "
            "\"busy\": %.4f, \"cpus\": %g},\n",
            r->server_s, per(r->server_s, n) * 1e6,
            per(r->server_s, r->duration_s), r->server_cpus);
    fprintf(f,
            "  \"server\": {\"rss_kib\": %lld, \"anon_kib\": %lld, "
            "\"rss_before_kib\": %lld, \"anon_before_kib\": %lld, "
            "\"vol_ctx\": %lld, \"invol_ctx\": %lld, \"minor_faults\": %lld, "
            "\"threads\": %d},\n",
            (long long)r->after.rss_kib, (long long)r->after.anon_kib,
            (long long)r->before.rss_kib, (long long)r->before.anon_kib,
            (long long)(r->after.vol_ctx - r->base.vol_ctx),
            (long long)(r->after.invol_ctx - r->base.invol_ctx),
            (long long)(r->after.minor_faults - r->base.minor_faults),
            r->after.threads);
}

static void json_idle(const struct result *r, FILE *f)
{
    const struct crowd_counts *c = &r->idle;

    fprintf(f,
            "  \"idle\": {\"wanted\": %d, \"open\": %d, \"lost\": %d, "
            "\"failed\": %d, \"opening_s\": %.4f, \"heartbeats\": %llu, "
            "\"heartbeat_errors\": %llu",
            r->cf->idle, c->open, c->lost, c->failed,
            (double)c->opening_ns / 1e9, (unsigned long long)c->heartbeats,
            (unsigned long long)c->heartbeat_errors);
    if (c->heartbeats > 0) {
        fprintf(f, ", \"heartbeat_us\": ");
        json_hist(f, &c->latency);
    }
    fprintf(f, "},\n");
}

static void json_quota(const struct result *r, FILE *f)
{
    static const char *const names[] = {"client", "server"};

    fprintf(f, "  \"quota\": {");
    for (int i = 0; i < (r->have_server ? 2 : 1); i++) {
        struct quota q = throttled(r, i);

        fprintf(f,
                "%s\"%s\": {\"cpus\": %g, \"throttled\": %llu, "
                "\"throttled_s\": %.4f}",
                i ? ", " : "", names[i], q.cpus,
                (unsigned long long)q.throttled, q.throttled_s);
    }
    fprintf(f, "},\n");
}

/* Every cell that holds something, as number and count, in nanoseconds. */
static void json_cells(const struct hist *h, const char *name, FILE *f)
{
    const char *comma = "";

    fprintf(f,
            "\"%s\": {\"count\": %llu, \"min\": %llu, \"max\": %llu, "
            "\"sum\": %llu, \"cells\": [",
            name, (unsigned long long)h->count, (unsigned long long)h->min,
            (unsigned long long)h->max, (unsigned long long)h->sum);
    for (unsigned i = 0; i < HIST_CELLS; i++) {
        if (h->cell[i] == 0)
            continue;
        fprintf(f, "%s%u,%llu", comma, i, (unsigned long long)h->cell[i]);
        comma = ",";
    }
    fprintf(f, "]}");
}

static void json_histograms(const struct result *r, FILE *f)
{
    const struct marks *m = r->marks;

    fprintf(f, "  \"histograms\": {");
    json_cells(&m->latency, "latency", f);
    fprintf(f, ",\n    ");
    json_cells(&m->uncorrected, "uncorrected", f);
    fprintf(f, ",\n    ");
    json_cells(&m->lateness, "lateness", f);
    fprintf(f, ",\n    ");
    json_cells(&m->class[0], "fast", f);
    fprintf(f, ",\n    ");
    json_cells(&m->class[1], "slow", f);
    fprintf(f, "},\n");
}

static void json_setup(const struct result *r, FILE *f)
{
    const struct config *cf = r->cf;

    fprintf(f, "  \"app\": \"%s\", \"path\": ", cf->echo ? "echo" : "http");
    json_text(f, cf->echo ? "" : cf->path);
    fprintf(f,
            ", \"connections\": %d, \"threads\": %d, \"pipeline\": %d, "
            "\"close\": %s, \"engine\": \"%s\", \"seed\": %llu,\n",
            cf->connections, cf->threads, cf->depth,
            cf->close ? "true" : "false",
            cf->engine == ENGINE_URING ? "uring" : "epoll",
            (unsigned long long)cf->seed);
}

void report_json(const struct result *r, FILE *f)
{
    bool open = r->cf->rate > 0;
    const struct tally *t = &r->sum;

    fprintf(f, "{\n  \"schema\": \"ioladder-loadgen/1\", \"mode\": \"%s\",\n",
            open ? "open" : "closed");
    json_setup(r, f);
    fprintf(f,
            "  \"duration_s\": %.6f, \"ended_s\": %.6f, "
            "\"requests\": %llu, \"qps\": %.2f, "
            "\"bytes_in\": %llu, \"bytes_out\": %llu, "
            "\"header_bytes_mean\": %.1f, \"connects\": %llu,\n",
            r->duration_s, (double)r->end_ns / 1e9,
            (unsigned long long)t->requests, r->qps,
            (unsigned long long)t->bytes_in, (unsigned long long)t->bytes_out,
            per((double)t->header_bytes, (double)t->headers),
            (unsigned long long)t->connects);
    json_errors(r, f);
    fprintf(f, "  \"latency_us\": ");
    json_hist(f, &r->marks->latency);
    fprintf(f, ",\n");
    json_classes(r, f);
    if (open)
        json_open(r, f);
    if (r->cf->cells)
        json_histograms(r, f);
    fprintf(f,
            "  \"achieved_rate\": %.2f, \"intended_rate\": %.2f, "
            "\"arrivals\": %llu,\n",
            r->achieved_rate, r->cf->rate, (unsigned long long)r->arrivals);
    json_cpu(r, f);
    json_idle(r, f);
    json_quota(r, f);
    fprintf(f,
            "  \"interrupted\": %s, \"limited_by\": \"%s\", "
            "\"host\": {\"steal_pct\": %.3f}\n}\n",
            r->stopped_by ? "true" : "false", r->limited_by, r->steal_pct);
}

/* ---- for people ---- */

static void text_hist(FILE *f, const char *name, const struct hist *h)
{
    fprintf(f, "%-11s", name);
    fprintf(f,
            " mean %.0f  p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f"
            " us\n",
            hist_mean(h) / 1e3, (double)hist_percentile(h, 50) / 1e3,
            (double)hist_percentile(h, 90) / 1e3,
            (double)hist_percentile(h, 99) / 1e3,
            (double)hist_percentile(h, 99.9) / 1e3, (double)h->max / 1e3);
}

static void text_errors(const struct result *r, FILE *f)
{
    for (int i = 0; i < ERROR_KINDS; i++)
        if (r->sum.errors[i] > 0)
            fprintf(f, "error       %llu %s: %s\n",
                    (unsigned long long)r->sum.errors[i], error_names[i],
                    error_help[i]);
    if (r->warm_errors > 0)
        fprintf(f, "error       %llu during warm-up\n",
                (unsigned long long)r->warm_errors);
    if (r->unfinished > 0)
        fprintf(f, "unfinished  %llu requests, counted by their age\n",
                (unsigned long long)r->unfinished);
}

static void text_quota(const struct result *r, FILE *f)
{
    static const char *const names[] = {"client", "server"};

    for (int i = 0; i < 2; i++) {
        struct quota q = throttled(r, i);

        if (q.throttled > 0)
            fprintf(f,
                    "quota       %s, %g cpus: stopped %llu times, %.3f s in "
                    "all\n",
                    names[i], q.cpus, (unsigned long long)q.throttled,
                    q.throttled_s);
    }
}

void report_text(const struct result *r, FILE *f)
{
    double own = r->user_s + r->sys_s - r->spin_s, n = (double)r->sum.requests;

    if (r->stopped_by)
        fprintf(f, "interrupted after %.2f s of %.2f\n", r->duration_s,
                (double)r->cf->duration_ns / 1e9);
    fprintf(f, "%-11s %.0f a second (%llu in %.2f s)\n", "requests", r->qps,
            (unsigned long long)r->sum.requests, r->duration_s);
    text_hist(f, "latency", &r->marks->latency);
    if (r->cf->service.kind == SERVICE_BIMODAL) {
        text_hist(f, "  fast", &r->marks->class[0]);
        text_hist(f, "  slow", &r->marks->class[1]);
    }
    if (r->cf->rate > 0) {
        text_hist(f, "uncorrected", &r->marks->uncorrected);
        text_hist(f, "lateness", &r->marks->lateness);
        fprintf(f, "tail        p99: %s, p99.9: %s\n",
                blamed(report_blame(r->marks, 99)),
                blamed(report_blame(r->marks, 99.9)));
    }
    fprintf(f, "client cpu  %.2f us a request, %.0f %% busy, %.3f sleeps\n",
            per(own, n) * 1e6, r->busy_max * 100, per((double)r->sleeps, n));
    if (r->have_server)
        fprintf(f, "server cpu  %.2f us a request, %.0f %% busy\n",
                per(r->server_s, n) * 1e6,
                per(r->server_s, r->duration_s) * 100);
    if (r->cf->idle > 0)
        fprintf(f, "idle        %d of %d open, %d lost\n", r->idle.open,
                r->cf->idle, r->idle.lost);
    text_errors(r, f);
    text_quota(r, f);
    fprintf(f, "limited by  %s\n", r->limited_by);
}
