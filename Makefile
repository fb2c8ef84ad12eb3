# Sultry: `make deps` once, then `make demo` or `make check`.
#
# CFLAGS, LDFLAGS, CC, PREFIX and DESTDIR are the user's. Each variant has a
# build folder of its own, so they never mix: build, build/asan, build/fuzz, build/wolfssl.

CC ?= cc
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
# make AEAD=... builds beside the usual variant.
BUILD ?= build$(if $(filter command line,$(origin AEAD)),/$(AEAD))

VERSION := 0.1.0

SHELL := /bin/bash

PKGS := libevent wolfssl jansson libcurl
# V=1 shows the commands.
Q := $(if $(V),,@)
SAY := @$(if $(V),:,echo)
# AEAD=wolfssl seals with wolfSSL even where libcrypto is present.
AEAD ?= $(if $(shell pkg-config --exists libcrypto && echo y),libcrypto,wolfssl)
AEAD_PKG := $(if $(filter libcrypto,$(AEAD)),libcrypto)

WARN := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wwrite-strings -Wformat=2 -Wundef -Wvla
override CPPFLAGS += -I. -D_GNU_SOURCE -DSULTRY_VERSION='"$(VERSION)"' \
	$(if $(filter libcrypto,$(AEAD)),-DHAVE_LIBCRYPTO) \
	$(shell pkg-config --cflags $(PKGS) $(AEAD_PKG))
STD := -std=gnu11 -fno-strict-aliasing -fstack-protector-strong $(WARN) $(SANITIZE)
LIBS := $(shell pkg-config --libs $(PKGS) $(AEAD_PKG))
CHECK_LIBS = $(shell pkg-config --libs check)

COMMON := $(wildcard common/*.c common/net/*.c)
CLIENT := $(filter-out pt-client/main.c,$(wildcard pt-client/*.c))
SERVER := $(filter-out pt-server/main.c,$(wildcard pt-server/*.c))
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
FUZZ := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/fuzz_*.c))
SMOKE := $(patsubst tests/%.c,$(BUILD)/smoke/%,$(wildcard tests/fuzz_*.c))
# Peers for the tests: a second TLS stack.
TEST_LIBS := -lssl -lcrypto

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

LIB_COMMON := $(BUILD)/libsultry-common.a
LIB_CLIENT := $(BUILD)/libsultry-client.a
LIB_SERVER := $(BUILD)/libsultry-server.a

.PHONY: all deps check check-all check-unit check-fuzz check-aead check-aead-unit check-e2e check-includes asan fuzz fuzz-all demo soak bench \
	install clean
.SECONDARY:

all: $(BUILD)/sultry-client $(BUILD)/sultry-server

$(BUILD)/sultry-client: $(call obj,pt-client/main.c) $(LIB_CLIENT) $(LIB_COMMON)
$(BUILD)/sultry-server: $(call obj,pt-server/main.c) $(LIB_SERVER) $(LIB_COMMON)
$(BUILD)/sultry-client $(BUILD)/sultry-server:
	$(SAY) LD $@
	$(Q)$(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -Wl,--as-needed -o $@ $^ $(LIBS)

$(LIB_COMMON): $(call obj,$(COMMON))
$(LIB_CLIENT): $(call obj,$(CLIENT))
$(LIB_SERVER): $(call obj,$(SERVER))
$(LIB_COMMON) $(LIB_CLIENT) $(LIB_SERVER):
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(STD) $(CFLAGS) -MMD -MP -c -o $@ $<

# The handshakes of two real stacks, whose headers exclude each other.
$(BUILD)/tests/test_tls_handshakes $(BUILD)/tests/test_split $(BUILD)/tests/test_relay: \
	$(call obj,tests/tls_peer_openssl.c tests/tls_peer_wolfssl.c)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(LIB_CLIENT) $(LIB_SERVER) $(LIB_COMMON)
	$(SAY) LD $@
	$(Q)$(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS) $(TEST_LIBS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- packages -------------------------------------------------------------------

# What the build and the tests need, by Debian's names. (dropbear-bin: an sshd that does not
# start by itself.)
DEPS := gcc libc6-dev make pkg-config libevent-dev libwolfssl-dev libjansson-dev \
	libcurl4-openssl-dev libssl-dev check curl openssl python3 python3-cryptography \
	python3-yaml python3-jsonschema nginx-light haproxy tor git openssh-client dropbear-bin \
	chromium iproute2 util-linux procps

deps:
	@missing=; for p in $(DEPS); do \
		dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || \
			missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	cmd="apt-get install -y --no-install-recommends$$missing"; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; \
	else echo "Please run: sudo $$cmd"; exit 1; fi; \
	$$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive $$cmd

# ---- tests ----------------------------------------------------------------------

# pkg-config was asked before deps ran, hence the second make.
check: deps
	+@$(MAKE) --no-print-directory check-all

demo: deps
	+@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) tests/demo.sh

check-all: all check-includes check-unit check-fuzz check-aead check-e2e
	@echo "All tests passed."

check-unit: $(TESTS)
	@set -e; for t in $(TESTS); do $$t; done

# The fuzz targets on a little noise, without libFuzzer.
check-fuzz: $(SMOKE)
	@set -e; for f in $(SMOKE); do $$f; done

# The other provider: what it seals and opens, and a session on it.
check-aead:
	+@$(MAKE) --no-print-directory AEAD=wolfssl BUILD=$(BUILD)/wolfssl check-aead-unit
check-aead-unit: $(BUILD)/tests/test_aead $(BUILD)/tests/test_noise $(BUILD)/tests/test_direct
	@set -e; for t in $^; do $$t; done

# A test is an executable script; the others are what they share. They run real programs with
# real timers, and on a busy machine one may miss a deadline: E2E_TRIES=2 shows a failure and
# runs that test again. Not if a byte was wrong (status 3): that is no matter of time.
E2E_TRIES ?= 1
check-e2e: all
	@set -e; for t in $$(find tests/e2e -name '*.sh' -perm -u+x | sort); do \
		tries=$(E2E_TRIES); echo "== $$t"; \
		until BUILD=$(BUILD) $$t; do \
			[ $$? != 3 ] && [ $$((tries -= 1)) -gt 0 ] || exit 1; \
			echo "== $$t FAILED; once more"; done; done

# Who may include what (STYLE: the direction of includes is checked, not remembered).
# $(call only,LIBRARY,PATTERN,FILES): no other file may include it.
only = @bad=$$(grep -lE '^\#include <$(2)' $$(find common pt-client pt-server -name '*.[ch]') | \
	grep -vxE '$(3)'); [ -z "$$bad" ] || { echo "$(1) is seen by: $$bad"; exit 1; }
check-includes:
	@! grep -nE '#include "pt-(client|server)/' $$(find common -name '*.[ch]')
	@! grep -nE '#include "pt-server/' $$(find pt-client -name '*.[ch]')
	@! grep -nE '#include "pt-client/' $$(find pt-server -name '*.[ch]')
	@! grep -nE '#include (<event2|"common/net)' common/*.[ch]
	$(call only,jansson,jansson,common/(message|config)\.c)
	$(call only,libcurl,curl/,pt-client/oob.*)
	$(call only,evhttp,event2/http,pt-server/https\.c)
	$(call only,OpenSSL,openssl/,common/aead_libcrypto\.c)
	$(call only,wolfSSL,wolfssl/,common/(aead|noise)\.c|common/net/tls_bev\.[ch]|pt-server/(certificate|identity|ext_orport_auth)\.c)

ASAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
asan: deps
	+@$(MAKE) --no-print-directory BUILD=build/asan SANITIZE="$(ASAN)" CFLAGS="-O1 -g" check-all

# Each parser under libFuzzer, for so many seconds.
FUZZ_SECONDS ?= 20
fuzz: DEPS += clang libclang-rt-dev
fuzz: deps
	+@$(MAKE) --no-print-directory BUILD=build/fuzz CC=clang CFLAGS="-O1 -g" \
		SANITIZE="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all" fuzz-all
fuzz-all: $(FUZZ)
	@set -e; for f in $(FUZZ); do echo "== $$f"; mkdir -p $$f.corpus; \
		$$f -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=$$f- $$f.corpus; done
$(BUILD)/tests/fuzz_%: LDFLAGS += -fsanitize=fuzzer
$(BUILD)/smoke/%: $(BUILD)/tests/%.o $(BUILD)/tests/smoke.o $(LIB_CLIENT) $(LIB_SERVER) $(LIB_COMMON)
	@mkdir -p $(@D)
	$(SAY) LD $@
	$(Q)$(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(LIBS)

# 500 sessions with chaos: memory and descriptors stay flat.
SOAK_SECONDS ?= 600
soak: all
	@BUILD=$(BUILD) python3 tests/e2e/chaos.py soak --seconds $(SOAK_SECONDS)

bench: all
	@BUILD=$(BUILD) tests/bench/run.sh

# ---- install --------------------------------------------------------------------

install: all
	install -D -m 755 $(BUILD)/sultry-client $(DESTDIR)$(PREFIX)/bin/sultry-client
	install -D -m 755 $(BUILD)/sultry-server $(DESTDIR)$(PREFIX)/bin/sultry-server

clean:
	rm -rf build
