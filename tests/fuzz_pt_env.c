/* The environment: the input's lines are the variables' values. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/pt.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char *const names[] = {
	"TOR_PT_MANAGED_TRANSPORT_VER", "TOR_PT_CLIENT_TRANSPORTS", "TOR_PT_SERVER_TRANSPORTS",
	"TOR_PT_PROXY", "TOR_PT_SERVER_BINDADDR", "TOR_PT_SERVER_TRANSPORT_OPTIONS",
	"TOR_PT_OUTBOUND_BIND_ADDRESS_V4", "TOR_PT_OUTBOUND_BIND_ADDRESS_V6", "TOR_PT_ORPORT",
	"TOR_PT_EXTENDED_SERVER_PORT", "TOR_PT_AUTH_COOKIE_FILE", "TOR_PT_STATE_LOCATION",
	"TOR_PT_EXIT_ON_STDIN_CLOSE",
};

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *text = mem_alloc(n + 1), *line = text, error[PT_ERROR_MAX], quoted[64];
	struct pt_env env = { 0 };
	enum pt_result r;

	if (n > 0)
		memcpy(text, p, n);
	text[n] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *next = line != NULL ? strchr(line, '\n') : NULL;

		if (next != NULL)
			*next++ = '\0';
		if (line != NULL)
			setenv(names[i], line, 1);
		else
			unsetenv(names[i]);
		line = next;
	}
	r = pt_env_read(&env, "sultry", error);
	assert(memchr(error, '\0', sizeof(error)) != NULL);
	assert((r == PT_OK) == (error[0] == '\0'));
	if (r == PT_OK) {
		assert(env.client != env.server);
		assert(env.client || env.orport.ss_family != 0 || env.ext_orport.ss_family != 0);
		assert(env.out.proxy == PROXY_NONE || env.out.proxy_addr.ss_family != 0);
		assert(env.out.proxy == PROXY_NONE || env.client);
	}
	assert(pt_quote(quoted, sizeof(quoted), text) < sizeof(quoted));
	pt_env_clear(&env);
	free(text);
	return 0;
}
