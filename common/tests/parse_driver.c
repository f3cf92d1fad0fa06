/* parse_driver.c - the parser as a filter, for runs against other parsers.
 *
 * parse_driver --cases   prints the test table, a request in hex per line
 * parse_driver           reads requests (head and body) in hex, a line each,
 *                        and answers each with a line:
 *      more | reject STATUS
 *      accept METHOD TARGET MINOR KEEP LENGTH CHUNKED EXPECT TYPE STATE BODY
 * TARGET, TYPE and BODY in hex, "-" when empty; STATE of the body is done, more
 * or reject.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "http_cases.h"

static void print_hex(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < len; i++)
        printf("%02x", p[i]);
    if (len == 0)
        putchar('-');
}

/* In place: two digits become one byte. */
static size_t from_hex(char *line)
{
    size_t n = strcspn(line, "\n") / 2;

    for (size_t i = 0; i < n; i++) {
        char digits[3] = {line[2 * i], line[2 * i + 1], '\0'};

        line[i] = (char)strtoul(digits, NULL, 16);
    }
    return n;
}

struct body {
    const char *state;
    size_t len; /* bytes of it, moved to the front of where it came from */
};

static struct body chunked_body(char *p, size_t len)
{
    struct body b = {"more", 0};
    char *q = p, *end = p + len, *to = p;

    for (;;) {
        uint64_t size;
        int n = http_parse_chunk(q, (size_t)(end - q), &size);

        if (n > 0 && size == 0)
            n = http_parse_trailers(q + n, (size_t)(end - q - n));
        else if (n > 0) {
            size_t have = (size_t)(end - q - n);
            size_t take = size < have ? size : have;

            memmove(to, q + n, take);
            to += take;
            b.len = (size_t)(to - p);
            q += (size_t)n + take;
            if (take < size || q == end)
                return b;
            if (*q != '\r' || (q + 1 < end && q[1] != '\n')) {
                b.state = "reject";
                return b;
            }
            if (q + 1 == end)
                return b;
            q += 2;
            continue;
        }
        b.state = n > 0 ? "done" : n == 0 ? "more" : "reject";
        return b;
    }
}

static struct body read_body(char *p, size_t len, const struct http_req *r)
{
    size_t want = r->content_length > 0 ? (size_t)r->content_length : 0;

    if (r->chunked)
        return chunked_body(p, len);
    return (struct body){len < want ? "more" : "done", len < want ? len : want};
}

static void answer(char *p, size_t len)
{
    static const char *const methods[] = {"GET", "HEAD", "POST"};
    struct http_req r;
    struct body b;
    int n = http_parse_head(p, len, &r);

    if (n <= 0) {
        printf(n == 0 ? "more\n" : "reject %d\n", -n);
        return;
    }
    printf("accept %s ", r.method != HTTP_OTHER ? methods[r.method]
                         : r.known              ? "known"
                                                : "unknown");
    print_hex(r.target.p, r.target.len);
    printf(" %d %d %lld %d %d ", r.minor, r.keep_alive,
           (long long)r.content_length, r.chunked, r.expect_continue);
    print_hex(r.content_type.p, r.content_type.len);
    b = read_body(p + n, len - (size_t)n, &r);
    printf(" %s ", b.state);
    print_hex(p + n, b.len);
    putchar('\n');
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t cap = 0;

    if (argc > 1) {
        if (strcmp(argv[1], "--cases") != 0)
            die_status(64, "usage: parse_driver [--cases]");
        for (int i = 0; i < HTTP_CASES; i++) {
            print_hex(http_cases[i].bytes, http_cases[i].len);
            putchar('\n');
        }
        return 0;
    }
    while (getline(&line, &cap, stdin) > 0) {
        size_t len = from_hex(line);
        char *copy = malloc(len + 1); /* of its size: sanitizers see more */

        CHECK(copy);
        memcpy(copy, line, len);
        answer(copy, len);
        free(copy);
    }
    free(line);
    return 0;
}
