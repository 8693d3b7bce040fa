/*
 * libreactorng with one thread, as a peer: ./build says how to make it, ../README.md what the routes are. The port is
 * the only argument.
 *
 * The library parses the head and writes the answer's, with Date; it looks at no Host. Absent: what it would need
 * memory or timers of ours for (/bytes, /upload, /slow).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <reactor.h>

/* The integer that is the whole text, white space around it aside; 0 if it is none. */
static long integer(const char *text, size_t size)
{
    char copy[32], *end;
    if (size >= sizeof copy)
        return 0;
    memcpy(copy, text, size);
    copy[size] = '\0';
    long value = strtol(copy, &end, 10);
    return end + strspn(end, " \t\r\n") == copy + size ? value : 0;
}

/* The sum of the query's values and of the body. */
static long sum(string_t target, data_t body)
{
    const char *at = string_base(target), *end = at + string_size(target);
    long total = data_empty(body) ? 0 : integer(data_base(body), data_size(body));
    while (at < end && (at = memchr(at, '=', end - at)) != NULL) {
        const char *value = ++at, *next = memchr(at, '&', end - at);
        at = next != NULL ? next : end;
        total += integer(value, at - value);
    }
    return total;
}

static void answer(reactor_event_t *event)
{
    if (event->type != SERVER_REQUEST) {
        fprintf(stderr, "it cannot listen or accept\n");
        exit(1);
    }
    server_session_t *session = (server_session_t *) event->data;
    string_t target = session->request.target;
    bool is_get = string_equal(session->request.method, string("GET"));
    bool is_post = string_equal(session->request.method, string("POST"));

    if (is_get && string_equal(target, string("/plaintext"))) {
        server_plain(session, string("Hello, World!"), NULL, 0);
    } else if (is_get && string_equal(target, string("/json"))) {
        server_ok(session, string("application/json"), string("{\"message\":\"Hello, World!\"}"), NULL, 0);
    } else if ((is_get || is_post) && string_size(target) > 12 && memcmp(string_base(target), "/baseline11?", 12) == 0) {
        char text[32];
        int size = snprintf(text, sizeof text, "%ld", sum(target, session->request.body));
        server_plain(session, data(text, (size_t) size), NULL, 0);
    } else {
        server_respond(session, string("404 Not Found"), string("text/plain"), string("no such path\n"), NULL, 0);
    }
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long port = argc == 2 ? strtol(argv[1], &end, 10) : 0;
    if (port < 1 || port > 65535 || *end != '\0') {
        fprintf(stderr, "the port to listen on is wanted (1 to 65535), and nothing else\n");
        return 2;
    }
    server_t server;
    reactor_construct();
    server_construct(&server, answer, NULL);
    server_open(&server, "127.0.0.1", (int) port);
    reactor_loop();
    reactor_destruct();
    return 0;
}
