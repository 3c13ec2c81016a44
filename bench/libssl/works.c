/*
 * The libssl half of the benchmarks: for each row of the table in works.go a
 * function of the row's name. It does what the Go function of that name does,
 * the same number of times, on the same sessions.
 *
 *     works version
 *     works NAME OPS SIZE DER      (DER in hexadecimal)
 *
 * prints libssl's version, or one line "NAME OPS VALUE...": what was done, how
 * often, and how many nanoseconds one took, or what else the work measures. The
 * status is 4 where the system does not tell that. The list of works comes from
 * the compiler's command line: -DWORKS='W(upRefFree) W(dupFree) ...'.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* the long versions of the time functions */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/lhash.h>
#include <openssl/ssl.h>

static long ops, size;
static unsigned char *der;
static long der_len;

static double elapsed; /* nanoseconds */
static int64_t started;

static double measured[4]; /* what is not the time of an op */
static int n_measured;

static void fail(const char *what)
{
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

#define CHECK(call) do { if (!(call)) fail(#call); } while (0)

static int64_t read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t now(void) { return read_clock(CLOCK_MONOTONIC); }

/* Works by several threads set this to CLOCK_MONOTONIC. */
static clockid_t of_ops = CLOCK_PROCESS_CPUTIME_ID;

static void start(void) { started = read_clock(of_ops); }
static void stop(void) { elapsed += read_clock(of_ops) - started; }

static void measure(double value) { measured[n_measured++] = value; }

static SSL_SESSION *parse(void)
{
    const unsigned char *p = der;
    SSL_SESSION *s = d2i_SSL_SESSION(NULL, &p, der_len);
    CHECK(s != NULL);
    return s;
}

/* Sessions. */

static void newSessionFree(void)
{
    start();
    for (long i = 0; i < ops; i++)
        SSL_SESSION_free(SSL_SESSION_new());
    stop();
}

static void *up_ref_free(void *s)
{
    for (long i = 0; i < ops; i++) {
        CHECK(SSL_SESSION_up_ref(s));
        SSL_SESSION_free(s);
    }
    return NULL;
}

static void upRefFree(void)
{
    SSL_SESSION *s = parse();
    start();
    up_ref_free(s);
    stop();
}

static void upRefFree2Threads(void)
{
    SSL_SESSION *s = parse();
    pthread_t threads[2];
    of_ops = CLOCK_MONOTONIC;
    start();
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, up_ref_free, s) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    stop();
}

static void dupFree(void)
{
    SSL_SESSION *s = parse();
    start();
    for (long i = 0; i < ops; i++) {
        SSL_SESSION *d = SSL_SESSION_dup(s);
        CHECK(d != NULL);
        SSL_SESSION_free(d);
    }
    stop();
}

static void marshalBinary(void)
{
    SSL_SESSION *s = parse();
    start();
    for (long i = 0; i < ops; i++) {
        unsigned char *out = NULL;
        CHECK(i2d_SSL_SESSION(s, &out) > 0);
        OPENSSL_free(out);
    }
    stop();
}

static void parseSession(void)
{
    start();
    for (long i = 0; i < ops; i++)
        SSL_SESSION_free(parse());
    stop();
}

static void parseSessionWithCertificate(void) { parseSession(); }

/* The cache. Session i has an id and an expiry of its own, both the same as on the Go side. */

enum { ID_LENGTH = 32, BATCH = 1000, RANDOM_BATCH = 100, RANDOM_SIZE = 30000, GAP = 100 };
static const int64_t base_time = 1700000000, timeout = 7200;

static uint64_t mix(uint64_t n)
{
    n += 0x9e3779b97f4a7c15;
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
    n = (n ^ n >> 27) * 0x94d049bb133111eb;
    return n ^ n >> 31;
}

static void session_id(unsigned char id[ID_LENGTH], uint64_t i)
{
    for (int word = 0; word < ID_LENGTH / 8; word++) {
        i = mix(i);
        for (int byte = 0; byte < 8; byte++)
            id[8 * word + byte] = i >> 8 * byte;
    }
}

static void set_id(SSL_SESSION *s, uint64_t i)
{
    unsigned char id[ID_LENGTH];
    session_id(id, i);
    CHECK(SSL_SESSION_set1_id(s, id, sizeof id));
}

static int64_t ascending(uint64_t i) { return base_time + i; }
static int64_t random_time(uint64_t i) { return base_time + mix(i) % ((uint64_t)size * GAP); }
static uint64_t scattered(uint64_t i) { return i * 7368787 % size; }

typedef int64_t order(uint64_t i);

static SSL_SESSION *make(uint64_t i, order *time)
{
    SSL_SESSION *s = parse();
    set_id(s, i);
    SSL_SESSION_set_time(s, time(i));
    CHECK(SSL_SESSION_set_timeout(s, timeout));
    return s;
}

static void add(SSL_CTX *ctx, uint64_t i)
{
    SSL_SESSION *s = make(i, ascending);
    CHECK(SSL_CTX_add_session(ctx, s));
    SSL_SESSION_free(s);
}

static SSL_CTX *new_ctx(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    CHECK(ctx != NULL);
    SSL_CTX_sess_set_cache_size(ctx, 0);
    return ctx;
}

static SSL_CTX *filled(void)
{
    SSL_CTX *ctx = new_ctx();
    for (long i = 0; i < size; i++)
        add(ctx, i);
    return ctx;
}

/*
 * filled_shuffled is a cache whose order of expiry has nothing to do with that
 * in which its sessions were made. To add them in the order of expiry saves
 * libssl a walk through its list for each.
 */
static SSL_CTX *filled_shuffled(void)
{
    SSL_CTX *ctx = new_ctx();
    SSL_SESSION **made = OPENSSL_malloc(size * sizeof *made);
    CHECK(made != NULL);
    for (long i = 0; i < size; i++)
        made[i] = make(i, ascending);
    for (long i = 0; i < size; i++) {
        SSL_SESSION *s = made[scattered(i)];
        SSL_SESSION_set_time(s, base_time + GAP * i);
        CHECK(SSL_CTX_add_session(ctx, s));
        SSL_SESSION_free(s);
    }
    OPENSSL_free(made);
    return ctx;
}

static SSL_SESSION *key; /* what lookups compare with */
static CRYPTO_RWLOCK *lock;

static void start_lookups(void)
{
    key = SSL_SESSION_new();
    lock = CRYPTO_THREAD_lock_new();
    CHECK(key != NULL && lock != NULL);
    SSL_SESSION_set_protocol_version(key, TLS1_3_VERSION);
}

/*
 * find is what libssl's own lookup_sess_in_cache does, which is not exported.
 * The lock is ours, of the kind that guards the cache, which is not either.
 */
static SSL_SESSION *find(SSL_CTX *ctx, uint64_t i)
{
    set_id(key, i);
    CHECK(CRYPTO_THREAD_read_lock(lock));
    SSL_SESSION *s = OPENSSL_LH_retrieve((OPENSSL_LHASH *)SSL_CTX_sessions(ctx), key);
    if (s != NULL)
        SSL_SESSION_up_ref(s);
    CRYPTO_THREAD_unlock(lock);
    CHECK(s != NULL);
    return s;
}

/* add_batch adds the sessions from first on; only the adding is timed. */
static void add_batch(SSL_CTX *ctx, SSL_SESSION **batch, int n, uint64_t first, order *time)
{
    for (int i = 0; i < n; i++)
        batch[i] = make(first + i, time);
    start();
    for (int i = 0; i < n; i++)
        CHECK(SSL_CTX_add_session(ctx, batch[i]));
    stop();
}

static void addAscending(void)
{
    SSL_CTX *ctx = filled();
    SSL_SESSION *batch[BATCH];
    for (long done = 0; done < ops; done += BATCH) {
        add_batch(ctx, batch, BATCH, size + done, ascending);
        for (int i = 0; i < BATCH; i++)
            SSL_SESSION_free(batch[i]);
        SSL_CTX_flush_sessions(ctx, ascending(done + BATCH) + timeout);
        CHECK(SSL_CTX_sess_number(ctx) == size);
    }
}

static void add_random(int n)
{
    SSL_CTX *ctx = filled_shuffled();
    SSL_SESSION *batch[RANDOM_BATCH];
    for (long done = 0; done < n; done += RANDOM_BATCH) {
        int some = n - done < RANDOM_BATCH ? n - done : RANDOM_BATCH;
        add_batch(ctx, batch, some, size + done, random_time);
        for (int i = 0; i < some; i++) {
            CHECK(SSL_CTX_remove_session(ctx, batch[i]));
            SSL_SESSION_free(batch[i]);
        }
    }
    SSL_CTX_free(ctx);
}

static void addRandom(void)
{
    size = RANDOM_SIZE;
    add_random(ops);
}

/* addRandomGrowth adds a thousandth of the sessions: to add one takes that much longer than on the Go side. */
static void addRandomGrowth(void)
{
    long sizes[] = {size, RANDOM_SIZE};
    for (int i = 0; i < 2; i++) {
        size = sizes[i];
        elapsed = 0;
        add_random(ops / 1000);
        measure(elapsed / (ops / 1000));
    }
}

static void lookup(void)
{
    SSL_CTX *ctx = filled();
    start_lookups();
    start();
    for (long i = 0; i < ops; i++)
        SSL_SESSION_free(find(ctx, scattered(i)));
    stop();
}

typedef struct {
    SSL_CTX *ctx;
    uint64_t first;
} asker;

/* A thread needs an SSL of its own to ask. A new one is of the version of the sessions. */
static void *has_all(void *arg)
{
    asker *a = arg;
    SSL *ssl = SSL_new(a->ctx);
    CHECK(ssl != NULL);
    for (long i = 0; i < ops; i++) {
        unsigned char id[ID_LENGTH];
        session_id(id, scattered(a->first + i));
        CHECK(SSL_has_matching_session_id(ssl, id, sizeof id));
    }
    SSL_free(ssl);
    return NULL;
}

static void has(void)
{
    asker a = {filled(), 0};
    start();
    has_all(&a);
    stop();
}

static void has2Threads(void)
{
    SSL_CTX *ctx = filled();
    asker a[2] = {{ctx, 0}, {ctx, size / 2}};
    pthread_t threads[2];
    of_ops = CLOCK_MONOTONIC;
    start();
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, has_all, &a[i]) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    stop();
}

static void removeSession(void)
{
    SSL_CTX *ctx = filled();
    SSL_SESSION *batch[BATCH];
    start_lookups();
    for (long done = 0; done < ops; done += BATCH) {
        for (int i = 0; i < BATCH; i++)
            batch[i] = find(ctx, scattered(done + i));
        start();
        for (int i = 0; i < BATCH; i++)
            CHECK(SSL_CTX_remove_session(ctx, batch[i]));
        stop();
        for (int i = 0; i < BATCH; i++) {
            SSL_SESSION_free(batch[i]);
            add(ctx, size + done + i);
        }
    }
}

static long removed;

static void count(SSL_CTX *ctx, SSL_SESSION *s)
{
    (void)ctx;
    (void)s;
    removed++;
}

/* flush lets a part of the cache expire, the same part again once others took its place. */
static void flush(int percent, int callback)
{
    SSL_CTX *ctx = filled();
    if (callback)
        SSL_CTX_sess_set_remove_cb(ctx, count);
    long batch = size * percent / 100;
    for (long done = 0; done < ops; done += batch) {
        start();
        SSL_CTX_flush_sessions(ctx, ascending(done + batch) + timeout);
        stop();
        CHECK(SSL_CTX_sess_number(ctx) == size - batch);
        for (long i = 0; i < batch; i++)
            add(ctx, size + done + i);
    }
    CHECK(removed == (callback ? ops : 0));
}

static void flush1Percent(void) { flush(1, 0); }
static void flush10Percent(void) { flush(10, 0); }
static void flush100Percent(void) { flush(100, 0); }
static void flush10PercentOnRemove(void) { flush(10, 1); }

/* Lookups while the cache is flushed. */

enum { STEP = 100, STEPS = 100000 }; /* of latencies: nanoseconds, and how many */

typedef struct {
    long steps[STEPS];
    long n;
    int64_t most;
} latencies;

static void latency(latencies *l, int64_t ns)
{
    l->n++;
    if (ns > l->most)
        l->most = ns;
    if (ns / STEP < STEPS)
        l->steps[ns / STEP]++;
}

/* p9999 is the nanoseconds that all but one of 10000 do not exceed. */
static double p9999(const latencies *l)
{
    long left = l->n - l->n / 10000;
    for (int i = 0; i < STEPS; i++) {
        left -= l->steps[i];
        if (left <= 0)
            return (i + 1) * STEP < l->most ? (i + 1) * STEP : l->most;
    }
    return l->most;
}

enum { PAUSED, REHEARSING, FLUSHING, BUSY, PHASES }; /* what the other thread does */

static atomic_int phase;
static atomic_long first; /* the oldest session in the cache */
static atomic_int stopped;
static pthread_mutex_t paused = PTHREAD_MUTEX_INITIALIZER; /* held in phase PAUSED */
static latencies took[PHASES];
static atomic_long seen[PHASES]; /* lookups */

/*
 * watch looks sessions up and takes the time of each lookup. Of the lookups that
 * libssl exports only this one takes the lock that a flush takes, for reading,
 * as that of a handshake does.
 */
static void *watch(void *ctx)
{
    SSL *ssl = SSL_new(ctx);
    long found = 0;
    CHECK(ssl != NULL);
    for (uint64_t i = 0;; i++) {
        unsigned char id[ID_LENGTH];
        if (phase == PAUSED) {
            pthread_mutex_lock(&paused);
            pthread_mutex_unlock(&paused);
            if (stopped)
                break;
        }
        session_id(id, first + scattered(i));
        int before = phase;
        int64_t begin = now();
        found += SSL_has_matching_session_id(ssl, id, sizeof id);
        int64_t ns = now() - begin;
        int after = phase;
        if (before == FLUSHING) /* the lookup may have waited all the flush long */
            after = FLUSHING;
        if (before == after || after == FLUSHING) {
            latency(&took[after], ns);
            seen[after]++;
        }
    }
    CHECK(found > 0);
    SSL_free(ssl);
    return NULL;
}

static long seen_before;

static void enter(int p)
{
    seen_before = seen[p];
    phase = p;
    pthread_mutex_unlock(&paused);
}

/* leave ends the phase once there was a lookup in it. */
static void leave(void)
{
    while (seen[phase] == seen_before)
        sched_yield();
    phase = PAUSED;
    pthread_mutex_lock(&paused);
}

static void lookup_during_flush(int percent)
{
    SSL_CTX *ctx = filled();
    long part = size * percent / 100;
    int64_t begin, last = 0;
    pthread_t watcher;
    pthread_mutex_lock(&paused);
    CHECK(pthread_create(&watcher, NULL, watch, ctx) == 0);
    for (long done = 0; done <= ops; done += part) {
        if (done > 0) {
            enter(BUSY);
            for (begin = now(); now() - begin < last;)
                ;
            leave();
        }
        enter(done > 0 ? FLUSHING : REHEARSING);
        begin = now();
        SSL_CTX_flush_sessions(ctx, ascending(done + part) + timeout);
        last = now() - begin;
        leave();
        CHECK(SSL_CTX_sess_number(ctx) == size - part);
        for (long i = 0; i < part && done < ops; i++)
            add(ctx, size + done + i);
        first += part;
    }
    stopped = 1;
    pthread_mutex_unlock(&paused);
    pthread_join(watcher, NULL);
    measure(p9999(&took[FLUSHING]) / 1000);
    measure(p9999(&took[BUSY]) / 1000);
    measure(took[FLUSHING].most / 1000.0);
    measure(took[BUSY].most / 1000.0);
}

static void lookupDuringFlush1Percent(void) { lookup_during_flush(1); }
static void lookupDuringFlush10Percent(void) { lookup_during_flush(10); }
static void lookupDuringFlush100Percent(void) { lookup_during_flush(100); }

/* Memory. */

static long resident(void)
{
    long total, pages;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) {
        fprintf(stderr, "no /proc/self/statm\n");
        exit(4);
    }
    CHECK(fscanf(f, "%ld %ld", &total, &pages) == 2);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static void memory(void)
{
    SSL_CTX *ctx = new_ctx();
    long before = resident();
    for (long i = 0; i < size; i++)
        add(ctx, i);
    measure((double)(resident() - before) / size);
}

#define W(name) {#name, name},
static const struct {
    const char *name;
    void (*run)(void);
} works[] = {WORKS};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "version") == 0) {
        printf("%s\n", OpenSSL_version(OPENSSL_VERSION));
        return 0;
    }
    if (argc != 5) {
        fprintf(stderr, "usage: works version | works NAME OPS SIZE DER\n");
        return 2;
    }
    ops = atol(argv[2]);
    size = atol(argv[3]);
    CHECK(ops > 0 && size > 0);
    der = OPENSSL_hexstr2buf(argv[4], &der_len);
    CHECK(der != NULL);
    for (size_t i = 0; i < sizeof works / sizeof works[0]; i++) {
        if (strcmp(works[i].name, argv[1]) == 0) {
            works[i].run();
            if (n_measured == 0)
                measure(elapsed / ops);
            printf("%s %ld", argv[1], ops);
            for (int v = 0; v < n_measured; v++)
                printf(" %.3f", measured[v]);
            printf("\n");
            return 0;
        }
    }
    fprintf(stderr, "no work named %s\n", argv[1]);
    return 2;
}
