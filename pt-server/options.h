/* The options of ServerTransportOptions, checked. */
#ifndef SULTRY_PT_SERVER_OPTIONS_H
#define SULTRY_PT_SERVER_OPTIONS_H

#include <sys/socket.h>

#include "common/message.h"
#include "common/pt_args.h"

#define OPTIONS_RETAIN_S 600

/* Strings are owned; NULL, and AF_UNSPEC, where not given. */
struct options {
	char *cert, *certkey;       /* the operator's certificate, PEM files */
	char *url;                  /* where clients find the API, if not on the public port */
	char *base;                 /* the API's path, if not the derived one */
	bool base_given;
	char *trusted_proxy;        /* whose X-Forwarded-For is believed */
	char *decoy;                /* a folder of files to show to strangers */
	struct sockaddr_storage fallback, oob;
	struct msg_address direct[MSG_ADDRESSES];
	unsigned n_direct;
	uint32_t retain_s;
};

/* Starts with defaults. 0, or -1 with error. base stays NULL if it was not given: it needs the key. */
int options_read(struct options *o, const struct pt_args *args, char error[256]);
/* Whether clients could ask there: https:// and a host. */
bool options_url_ok(const char *url);
void options_clear(struct options *o);

#endif
