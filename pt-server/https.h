/* The built-in HTTPS server: the API's door, and an ordinary small site for
 * everybody else. The only module that sees evhttp. */
#ifndef SULTRY_PT_SERVER_HTTPS_H
#define SULTRY_PT_SERVER_HTTPS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define HTTPS_BODY_MAX (256u * 1024)   /* bytes of a request's body */
#define HTTPS_HEADERS_MAX (16u * 1024) /* bytes of its headers */
#define HTTPS_IDLE_TIMEOUT 120         /* seconds */
/* A ticket is good for 300 s (wolfSSL's hint to clients); the key that sealed it lives twice
 * as long as it seals (tls_ctx_rotate_tickets), and no recording can be read after that. */
#define HTTPS_TICKET_KEY_S 600
/* Bytes of all requests that strangers have begun and not ended. */
#define HTTPS_STRANGERS_MAX (32u * 1024 * 1024)

struct event_base;
struct https;
struct https_request;

/* The strings are borrowed for the call; arg for the server's life. */
struct https_config {
	const char *cert_pem, *key_pem; /* PEM text; the certificate may be a chain */
	const char *base;               /* the API's path, "/...", no "/" at its end */
	/* POST {base} (session NULL) or POST {base}/{session}. session is one path
	 * segment of 1 to 64 base64url characters; nothing else about it is checked.
	 * The callee owns req until it replies exactly once, at once or later.
	 * session and body are borrowed for the call. */
	void (*api)(void *arg, struct https_request *req, const char *session, const char *body,
		    size_t len);
	/* Who is behind a connection from the loopback address `from` to our port
	 * `to_port`, e.g. the front's splice. 0 and *addr, which is not v4-mapped, or
	 * -1: nobody known, `from` itself counts. May be NULL. */
	int (*peer)(void *arg, const struct sockaddr_storage *from, uint16_t to_port,
		    struct sockaddr_storage *addr);
	/* An authentic request came by such a connection. May be NULL. */
	void (*known)(void *arg, const struct sockaddr_storage *from, uint16_t to_port);
	void *arg;
	/* How many at a time. When there are more, the oldest goes that had no authentic
	 * request; the oldest of all if each had one. */
	unsigned connections;
	/* An address or a network (match_network_parse) whose X-Forwarded-For is
	 * believed: its last entry names the client. NULL: none is. */
	const char *trusted_proxy;
	/* A folder, read once, that is what strangers see (pt-server/site.h).
	 * NULL: a page that is made up. */
	const char *decoy;
	unsigned ticket_key_s; /* for how long a key seals tickets; 0: HTTPS_TICKET_KEY_S */
};

/* NULL: what is wrong is in error. */
struct https *https_new(struct event_base *base, const struct https_config *config,
			char error[256]);
/* Closes listeners and connections. Requests that the API still owns stay valid;
 * their replies go nowhere. */
void https_free(struct https *https);

/* Listens on addr (port 0: the kernel picks one); *bound says where. A port that is
 * taken is waited for (process_listen). May be called more than once. 0, or -1 with
 * error, which names the address. */
int https_listen(struct https *https, const struct sockaddr_storage *addr,
		 struct sockaddr_storage *bound, char error[256]);

/* The two replies. Each ends the caller's ownership of req. A peer that has left
 * by then is not an error: the reply goes nowhere. json is copied. */
void https_reply_json(struct https_request *req, const char *json, size_t len);
/* The 404 of any unknown path, byte for byte. */
void https_reply_unknown(struct https_request *req);

/* The request is authentic: its connection is no stranger's. Before the reply. */
void https_request_known(struct https_request *req);

/* The client's address; its family is AF_UNSPEC when unknown (a request through a
 * trusted proxy that names nobody). Lives as long as req. */
const struct sockaddr *https_request_addr(const struct https_request *req);

#endif
