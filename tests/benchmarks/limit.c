/* What a Redis server alone sustains for the smallest lifecycle of a job on streams.
 *
 *   limit PORT JOBS commands|scripts
 *
 * A job: HSET of 5 fields and XADD; its share of an XREADGROUP; HSET running; HSET done, EXPIRE; its
 * share of an XACK and an XDEL. 100 jobs a batch, two client processes, so that the server never waits.
 * `commands`: pipelined. `scripts`: the same by redis.call, one EVALSHA a batch and phase.
 * Prints a line of JSON: jobs, and the seconds of each phase by the clock. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 100, CLIENTS = 2 };

static int sock;
static char out[1 << 20], in[1 << 20];
static size_t out_len, in_len, in_at;
static char entry[BATCH][32], job[BATCH][40];
static int found;

static const char *SCRIPTS[] = {
    "for _, id in ipairs(ARGV) do local k = '{l}:' .. id redis.call('HSET', k, 'type', 'noop', 'status', 'pending', "
    "'payload', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'created', 1700000000000, 'attempt', 0) "
    "redis.call('XADD', KEYS[1], '*', 'job', id) end",
    "local r = redis.call('XREADGROUP', 'GROUP', 'g', ARGV[1], 'COUNT', 100, 'STREAMS', KEYS[1], '>') if not r then return {} end "
    "for _, e in ipairs(r[1][2]) do redis.call('HSET', '{l}:' .. e[2][2], 'status', 'running') end return r",
    "local n, ids = #ARGV / 2, {} for i = 1, n do local k = '{l}:' .. ARGV[n + i] redis.call('HSET', k, 'status', 'done') "
    "redis.call('EXPIRE', k, 86400) ids[i] = ARGV[i] end redis.call('XACK', KEYS[1], 'g', unpack(ids)) "
    "redis.call('XDEL', KEYS[1], unpack(ids))"};
static char sha[3][41];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void dial(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    sock = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(sock, (void *)&to, sizeof to)) fail("connect");
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    out_len = in_len = in_at = 0;
}

static void flush(void) {
    for (size_t sent = 0; sent < out_len;) {
        ssize_t n = write(sock, out + sent, out_len - sent);
        if (n <= 0) fail("write");
        sent += n;
    }
    out_len = 0;
}

static void args(int n) { out_len += sprintf(out + out_len, "*%d\r\n", n); }
static void arg(const char *text) { out_len += sprintf(out + out_len, "$%zu\r\n%s\r\n", strlen(text), text); }

static void fill(void) {
    memmove(in, in + in_at, in_len -= in_at);
    in_at = 0;
    ssize_t n = read(sock, in + in_len, sizeof in - in_len);
    if (n <= 0) fail("read");
    in_len += n;
}

static char *line(void) {
    for (;;) {
        char *end = memchr(in + in_at, '\n', in_len - in_at);
        if (end) {
            char *start = in + in_at;
            end[-1] = 0;
            in_at = end + 1 - in;
            return start;
        }
        fill();
    }
}

/* Reads one reply; with `keep`, notes entries and jobs of an XREADGROUP as they pass. */
static void reply(int keep, char *text) {
    char *head = line();
    long n = atol(head + 1);
    if (*head == '-') {
        fprintf(stderr, "%s\n", head);
        exit(1);
    }
    if (*head == '$' && n >= 0) {
        while (in_len - in_at < (size_t)n + 2) fill();
        char *data = in + in_at;
        in_at += n + 2;
        if (text) memcpy(text, data, n), text[n] = 0;
        if (keep && n == 36) memcpy(job[found], data, n), job[found++][n] = 0;
        else if (keep && memchr(data, '-', n)) memcpy(entry[found], data, n), entry[found][n] = 0;
    } else if (*head == '*')
        for (long i = 0; i < n; i++) reply(keep, NULL);
}

static void script(int which, int n) {
    args(4 + n);
    arg("EVALSHA"), arg(sha[which]), arg("1"), arg("{l}s");
}

static void enqueue(int scripts, unsigned from, unsigned to) {
    char id[40], key[64];
    for (; from < to; from += BATCH) {
        if (scripts) script(0, BATCH);
        for (unsigned i = from; i < from + BATCH; i++) {
            sprintf(id, "%08x-0000-7000-8000-%012x", i * 2654435761u, i);
            if (scripts) {
                arg(id);
                continue;
            }
            sprintf(key, "{l}:%s", id);
            args(12), arg("HSET"), arg(key), arg("type"), arg("noop"), arg("status"), arg("pending"), arg("payload");
            arg("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            arg("created"), arg("1700000000000"), arg("attempt"), arg("0");
            args(5), arg("XADD"), arg("{l}s"), arg("*"), arg("job"), arg(id);
        }
        flush();
        for (int i = 0; i < (scripts ? 1 : 2 * BATCH); i++) reply(0, NULL);
    }
}

static void end_batch(int scripts) {
    char key[64];
    if (scripts) {
        script(2, 2 * found);
        for (int i = 0; i < found; i++) arg(entry[i]);
        for (int i = 0; i < found; i++) arg(job[i]);
        return;
    }
    for (int i = 0; i < found; i++) {
        sprintf(key, "{l}:%s", job[i]);
        args(4), arg("HSET"), arg(key), arg("status"), arg("running");
        args(4), arg("HSET"), arg(key), arg("status"), arg("done");
        args(3), arg("EXPIRE"), arg(key), arg("86400");
    }
    args(3 + found), arg("XACK"), arg("{l}s"), arg("g");
    for (int i = 0; i < found; i++) arg(entry[i]);
    args(2 + found), arg("XDEL"), arg("{l}s");
    for (int i = 0; i < found; i++) arg(entry[i]);
}

static void work(int scripts, const char *me) {
    do {
        int replies = !found ? 0 : scripts ? 1 : 3 * found + 2;
        if (found) end_batch(scripts);
        if (scripts) {
            script(1, 1), arg(me);
        } else {
            args(9), arg("XREADGROUP"), arg("GROUP"), arg("g"), arg(me), arg("COUNT"), arg("100");
            arg("STREAMS"), arg("{l}s"), arg(">");
        }
        flush();
        while (replies--) reply(0, NULL);
        found = 0;
        reply(1, NULL);
    } while (found);
}

int main(int count, char **given) {
    if (count != 4) return fprintf(stderr, "limit PORT JOBS commands|scripts\n"), 2;
    int port = atoi(given[1]), scripts = !strcmp(given[3], "scripts");
    unsigned jobs = atoi(given[2]) / (BATCH * CLIENTS) * (BATCH * CLIENTS);
    double took[2];
    dial(port);
    args(6), arg("XGROUP"), arg("CREATE"), arg("{l}s"), arg("g"), arg("0"), arg("MKSTREAM");
    flush(), reply(0, NULL);
    for (int i = 0; i < 3; i++) args(3), arg("SCRIPT"), arg("LOAD"), arg(SCRIPTS[i]), flush(), reply(0, sha[i]);
    for (int phase = 0; phase < 2; phase++) {
        double begun = now();
        for (unsigned c = 0; c < CLIENTS; c++)
            if (!fork()) {
                char me[8];
                sprintf(me, "c%u", c);
                dial(port);
                if (phase) work(scripts, me);
                else enqueue(scripts, jobs / CLIENTS * c, jobs / CLIENTS * (c + 1));
                exit(0);
            }
        for (int c = 0, status; c < CLIENTS; c++)
            if (wait(&status) < 0 || status) return fprintf(stderr, "a client failed\n"), 1;
        took[phase] = now() - begun;
    }
    printf("{\"jobs\": %u, \"enqueue_wall\": %.4f, \"work_wall\": %.4f}\n", jobs, took[0], took[1]);
}
