/*
 * Puts questions from a Go test to the real libssl.
 *
 * Standard input carries requests, standard output one answer to each, in
 * order. Both are frames: a big-endian 32-bit length, then that many bytes. A
 * request begins with one byte that names the operation. Inside a frame numbers
 * are big-endian 64-bit two's complement, and a string is its length as such a
 * number followed by its bytes. An unknown operation ends the program.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/lhash.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

static void die(const char *why)
{
    fprintf(stderr, "oracle: %s\n", why);
    exit(1);
}

static void *must(void *p)
{
    if (p == NULL)
        die("out of memory");
    return p;
}

/* Frames */

struct buffer {
    unsigned char *data;
    size_t len, cap;
};

static void reserve(struct buffer *b, size_t more)
{
    if (b->len + more <= b->cap)
        return;
    b->cap = 2 * (b->len + more);
    b->data = must(realloc(b->data, b->cap));
}

static void put(struct buffer *b, const void *p, size_t n)
{
    reserve(b, n);
    if (n > 0)
        memcpy(b->data + b->len, p, n);
    b->len += n;
}

static struct buffer answer;

static void put_number(int64_t v)
{
    unsigned char be[8];

    for (int i = 0; i < 8; i++)
        be[i] = (unsigned char)((uint64_t)v >> (56 - 8 * i));
    put(&answer, be, 8);
}

static void put_string(const void *p, size_t n)
{
    put_number((int64_t)n);
    put(&answer, p, n);
}

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void send_answer(void)
{
    unsigned char be[4] = {
        (unsigned char)(answer.len >> 24), (unsigned char)(answer.len >> 16),
        (unsigned char)(answer.len >> 8), (unsigned char)answer.len
    };

    fwrite(be, 1, 4, stdout);
    fwrite(answer.data, 1, answer.len, stdout);
    answer.len = 0;
}

struct request {
    const unsigned char *p, *end;
};

static int64_t take_number(struct request *r)
{
    uint64_t v = 0;

    if (r->end - r->p < 8)
        die("short request");
    for (int i = 0; i < 8; i++)
        v = v << 8 | *r->p++;
    return (int64_t)v;
}

static const unsigned char *take_string(struct request *r, size_t *n)
{
    int64_t len = take_number(r);
    const unsigned char *p = r->p;

    if (len < 0 || len > r->end - r->p)
        die("short request");
    *n = (size_t)len;
    r->p += len;
    return p;
}

/* Tables: sessions and contexts go by their index. */

struct table {
    void **at;
    size_t len, cap;
};

static struct table sessions, contexts;

static int64_t enter(struct table *t, void *p)
{
    if (t->len == t->cap) {
        t->cap = 2 * t->cap + 64;
        t->at = must(realloc(t->at, t->cap * sizeof(*t->at)));
    }
    t->at[t->len] = p;
    return (int64_t)t->len++;
}

static void *entry(struct table *t, int64_t i)
{
    if (i < 0 || (size_t)i >= t->len || t->at[i] == NULL)
        die("no such handle");
    return t->at[i];
}

/*
 * The newest handle wins: an older one with the same address is of a session
 * that was freed since.
 */
static int64_t handle_of(const SSL_SESSION *s)
{
    for (size_t i = sessions.len; i-- > 0;)
        if (sessions.at[i] == s)
            return (int64_t)i;
    return -1;
}

static SSL_SESSION *take_session(struct request *r)
{
    return entry(&sessions, take_number(r));
}

struct context {
    SSL_CTX *ctx;
    struct buffer events; /* per event: kind byte, then the session as int64_t */
};

static struct context *take_context(struct request *r)
{
    return entry(&contexts, take_number(r));
}

/* Sessions */

static void put_bio(BIO *bio)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);

    put_string(p, n > 0 ? (size_t)n : 0);
}

static void put_text(const SSL_SESSION *s)
{
    BIO *bio = must(BIO_new(BIO_s_mem()));

    put_number(SSL_SESSION_print(bio, s));
    put_bio(bio);
    (void)BIO_reset(bio);
    put_number(SSL_SESSION_print_keylog(bio, s));
    put_bio(bio);
    BIO_free(bio);
}

static void put_peer(SSL_SESSION *s)
{
    unsigned char *der = NULL;
    X509 *peer = SSL_SESSION_get0_peer(s);
    int n = peer == NULL ? 0 : i2d_X509(peer, &der);

    put_number(peer != NULL);
    put_string(der, n > 0 ? (size_t)n : 0);
    OPENSSL_free(der);
}

static void put_accessors(SSL_SESSION *s)
{
    unsigned char key[1024];
    const unsigned char *p;
    unsigned int n;
    size_t size;
    const char *host = SSL_SESSION_get0_hostname(s);
    const SSL_CIPHER *cipher = SSL_SESSION_get0_cipher(s);
    void *appdata = NULL;

    put_number(SSL_SESSION_get_protocol_version(s));
    put_number(cipher == NULL ? -1 : SSL_CIPHER_get_protocol_id(cipher));
    p = SSL_SESSION_get_id(s, &n);
    put_string(p, n);
    p = SSL_SESSION_get0_id_context(s, &n);
    put_string(p, n);
    size = SSL_SESSION_get_master_key(s, key, sizeof(key));
    put_string(key, size);
    put_number(SSL_SESSION_get_time(s));
    put_number(SSL_SESSION_get_timeout(s));
    put_number(host != NULL);
    put_string(host, host == NULL ? 0 : strlen(host));
    SSL_SESSION_get0_alpn_selected(s, &p, &size);
    put_string(p, size);
    put_number(SSL_SESSION_get_max_early_data(s));
    put_number(SSL_SESSION_get_max_fragment_length(s));
    put_number(SSL_SESSION_has_ticket(s));
    put_number((int64_t)SSL_SESSION_get_ticket_lifetime_hint(s));
    SSL_SESSION_get0_ticket(s, &p, &size);
    put_string(p, p == NULL ? 0 : size); /* without a ticket the length is not set */
    SSL_SESSION_get0_ticket_appdata(s, &appdata, &size);
    put_string(appdata, appdata == NULL ? 0 : size);
    put_number(SSL_SESSION_get_compress_id(s));
    put_number(SSL_SESSION_is_resumable(s));
    put_peer(s);
}

static void put_encoding(SSL_SESSION *s)
{
    unsigned char *der = NULL;
    int n = i2d_SSL_SESSION(s, &der);

    put_string(der, n > 0 ? (size_t)n : 0);
    OPENSSL_free(der);
}

static void parse(struct request *r)
{
    int64_t want_text = take_number(r);
    size_t n;
    const unsigned char *der = take_string(r, &n), *p = der;
    SSL_SESSION *s = d2i_SSL_SESSION(NULL, &p, (long)n);

    put_number(s != NULL);
    if (s != NULL) {
        put_number(p - der);
        put_encoding(s);
        put_accessors(s);
        if (want_text)
            put_text(s);
    }
    SSL_SESSION_free(s);
    ERR_clear_error();
}

static int no_password(char *buf, int size, int writing, void *data)
{
    (void)buf, (void)size, (void)writing, (void)data;
    return -1;
}

static void parse_pem(struct request *r)
{
    size_t n;
    const unsigned char *pem = take_string(r, &n);
    BIO *b = must(BIO_new_mem_buf(pem, (int)n));
    SSL_SESSION *s = PEM_read_bio_SSL_SESSION(b, NULL, no_password, NULL);

    put_number(s != NULL);
    if (s != NULL) {
        put_number((int64_t)(n - BIO_pending(b)));
        put_encoding(s);
    }
    SSL_SESSION_free(s);
    BIO_free(b);
    ERR_clear_error();
}

static void session_new(struct request *r)
{
    size_t n;
    const unsigned char *der = take_string(r, &n);
    SSL_SESSION *s = d2i_SSL_SESSION(NULL, &der, (long)n);

    put_number(s == NULL ? -1 : enter(&sessions, s));
    ERR_clear_error();
}

static void session_set_id(struct request *r)
{
    SSL_SESSION *s = take_session(r);
    int64_t version = take_number(r);
    size_t n;
    const unsigned char *id = take_string(r, &n);

    SSL_SESSION_set_protocol_version(s, (int)version);
    put_number(SSL_SESSION_set1_id(s, id, (unsigned int)n));
}

static void session_set_hostname(struct request *r)
{
    SSL_SESSION *s = take_session(r);
    size_t n;
    const unsigned char *name = take_string(r, &n);
    char *copy = must(OPENSSL_strndup((const char *)name, n));

    put_number(SSL_SESSION_set1_hostname(s, copy));
    OPENSSL_free(copy);
}

static void session_state(struct request *r)
{
    SSL_SESSION *s = take_session(r);

    put_number(SSL_SESSION_get_time(s));
    put_number(SSL_SESSION_get_timeout(s));
    put_number(SSL_SESSION_is_resumable(s));
}

/* Contexts */

static int context_index;

static void record(SSL_CTX *ctx, unsigned char kind, SSL_SESSION *s)
{
    struct context *c = SSL_CTX_get_ex_data(ctx, context_index);
    int64_t handle = handle_of(s);

    put(&c->events, &kind, 1);
    put(&c->events, &handle, sizeof(handle));
}

static int on_new(SSL *ssl, SSL_SESSION *s)
{
    record(SSL_get_SSL_CTX(ssl), 'n', s);
    return 0;
}

static void on_remove(SSL_CTX *ctx, SSL_SESSION *s)
{
    record(ctx, 'r', s);
}

static void context_new(struct request *r)
{
    struct context *c = must(calloc(1, sizeof(*c)));

    c->ctx = must(SSL_CTX_new(TLS_method()));
    SSL_CTX_set_ex_data(c->ctx, context_index, c);
    SSL_CTX_sess_set_cache_size(c->ctx, take_number(r));
    SSL_CTX_set_session_cache_mode(c->ctx, take_number(r));
    SSL_CTX_set_timeout(c->ctx, take_number(r));
    SSL_CTX_sess_set_new_cb(c->ctx, on_new);
    SSL_CTX_sess_set_remove_cb(c->ctx, on_remove);
    put_number(enter(&contexts, c));
}

/* The handle stays good for its events: those of the end are the interesting ones. */
static void context_free(struct request *r)
{
    struct context *c = take_context(r);

    SSL_CTX_free(c->ctx);
    c->ctx = NULL;
}

static void context_lookup(struct request *r)
{
    struct context *c = take_context(r);
    int64_t version = take_number(r);
    size_t n;
    const unsigned char *id = take_string(r, &n);
    SSL_SESSION *key = must(SSL_SESSION_new());
    const SSL_SESSION *found;

    SSL_SESSION_set_protocol_version(key, (int)version);
    if (!SSL_SESSION_set1_id(key, id, (unsigned int)n))
        die("id too long");
    found = OPENSSL_LH_retrieve((OPENSSL_LHASH *)SSL_CTX_sessions(c->ctx), key);
    put_number(found == NULL ? -1 : handle_of(found));
    SSL_SESSION_free(key);
}

static void put_handle(void *s)
{
    put_number(handle_of(s));
}

static void context_list(struct request *r)
{
    OPENSSL_LHASH *hash = (OPENSSL_LHASH *)SSL_CTX_sessions(take_context(r)->ctx);

    put_number((int64_t)OPENSSL_LH_num_items(hash));
    OPENSSL_LH_doall(hash, put_handle);
}

static void context_events(struct request *r)
{
    struct buffer *e = &take_context(r)->events;
    const size_t each = 1 + sizeof(int64_t);

    put_number((int64_t)(e->len / each));
    for (size_t i = 0; i < e->len; i += each) {
        int64_t handle;

        memcpy(&handle, e->data + i + 1, sizeof(handle));
        put_number(e->data[i]);
        put_number(handle);
    }
    e->len = 0;
}

static void context_counts(struct request *r)
{
    SSL_CTX *ctx = take_context(r)->ctx;

    put_number(SSL_CTX_sess_number(ctx));
    put_number(SSL_CTX_sess_cache_full(ctx));
}

/* Constants of the library */

static void suites(void)
{
    SSL_CTX *ctx = must(SSL_CTX_new(TLS_method()));
    SSL *ssl = must(SSL_new(ctx));

    for (int id = 0; id < 0x10000; id++) {
        unsigned char be[2] = { (unsigned char)(id >> 8), (unsigned char)id };
        const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, be);

        if (cipher != NULL) {
            const char *name = SSL_CIPHER_get_name(cipher);

            put_number(id);
            put_string(name, strlen(name));
        }
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static void verify_text(struct request *r)
{
    const char *text = X509_verify_cert_error_string((long)take_number(r));

    put_string(text, strlen(text));
}

static void version(void)
{
    const char *text = OpenSSL_version(OPENSSL_VERSION);

    put_number((int64_t)OpenSSL_version_num());
    put_string(text, strlen(text));
}

static void handle_session(unsigned char op, struct request *r)
{
    SSL_SESSION *s = take_session(r);

    switch (op) {
    case 'd':
        put_number(enter(&sessions, must(SSL_SESSION_dup(s))));
        break;
    case 'f':
        SSL_SESSION_free(s); /* its handle stays, for the events of a cache that holds it */
        break;
    case 't':
        put_number(SSL_SESSION_set_time(s, take_number(r)));
        break;
    case 'o':
        put_number(SSL_SESSION_set_timeout(s, take_number(r)));
        break;
    case 'e':
        put_encoding(s);
        break;
    default:
        die("unknown operation");
    }
}

static void handle_cache(unsigned char op, struct request *r)
{
    SSL_CTX *ctx = take_context(r)->ctx;

    switch (op) {
    case 'A':
        put_number(SSL_CTX_add_session(ctx, take_session(r)));
        break;
    case 'R':
        put_number(SSL_CTX_remove_session(ctx, take_session(r)));
        break;
    case 'F':
        SSL_CTX_flush_sessions(ctx, take_number(r));
        break;
    case 'S':
        put_number(SSL_CTX_sess_set_cache_size(ctx, take_number(r)));
        break;
    case 'M':
        put_number(SSL_CTX_set_session_cache_mode(ctx, take_number(r)));
        break;
    default:
        die("unknown operation");
    }
}

static void handle(unsigned char op, struct request *r)
{
    switch (op) {
    case 'p': parse(r); break;
    case 'P': parse_pem(r); break;
    case 'c': suites(); break;
    case 'v': verify_text(r); break;
    case 'V': version(); break;
    case 'n': session_new(r); break;
    case 'i': session_set_id(r); break;
    case 'h': session_set_hostname(r); break;
    case 's': session_state(r); break;
    case 'd': case 'f': case 't': case 'o': case 'e': handle_session(op, r); break;
    case 'N': context_new(r); break;
    case 'X': context_free(r); break;
    case 'L': context_lookup(r); break;
    case 'l': context_list(r); break;
    case 'E': context_events(r); break;
    case 'C': context_counts(r); break;
    default: handle_cache(op, r); break;
    }
}

/*
 * Answers are held back while whole requests are waiting, so that a batch costs
 * few system calls, and sent before the program may block for more.
 */
int main(void)
{
    struct buffer in = { 0 };

    context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    for (;;) {
        size_t at = 0;
        ssize_t n;

        while (in.len - at >= 4 && in.len - at - 4 >= be32(in.data + at)) {
            size_t size = be32(in.data + at);
            struct request r = { in.data + at + 5, in.data + at + 4 + size };

            if (size == 0)
                die("empty request");
            handle(in.data[at + 4], &r);
            send_answer();
            at += 4 + size;
        }
        memmove(in.data, in.data + at, in.len - at);
        in.len -= at;
        fflush(stdout);
        reserve(&in, 1 << 16);
        n = read(0, in.data + in.len, in.cap - in.len);
        if (n <= 0)
            return n < 0;
        in.len += (size_t)n;
    }
}
