# Sultry: `make deps` once, then `make demo` or `make check`.
#
# CFLAGS, LDFLAGS, CC, PREFIX and DESTDIR are the user's. Each variant has a
# build folder of its own, so they never mix: build, build/asan, build/fuzz.

CC ?= cc
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
BUILD ?= build

VERSION := 0.1.0

PKGS := libevent wolfssl jansson libcurl
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
# Peers for the tests: a second TLS stack.
TEST_LIBS := -lssl -lcrypto

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

LIB_COMMON := $(BUILD)/libsultry-common.a
LIB_CLIENT := $(BUILD)/libsultry-client.a
LIB_SERVER := $(BUILD)/libsultry-server.a

.PHONY: all deps check check-unit check-e2e check-includes asan fuzz demo bench install clean
.SECONDARY:

all: $(BUILD)/sultry-client $(BUILD)/sultry-server

$(BUILD)/sultry-client: $(call obj,pt-client/main.c) $(LIB_CLIENT) $(LIB_COMMON)
$(BUILD)/sultry-server: $(call obj,pt-server/main.c) $(LIB_SERVER) $(LIB_COMMON)
$(BUILD)/sultry-client $(BUILD)/sultry-server:
	$(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(LIBS)

$(LIB_COMMON): $(call obj,$(COMMON))
$(LIB_CLIENT): $(call obj,$(CLIENT))
$(LIB_SERVER): $(call obj,$(SERVER))
$(LIB_COMMON) $(LIB_CLIENT) $(LIB_SERVER):
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(STD) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(LIB_CLIENT) $(LIB_SERVER) $(LIB_COMMON)
	$(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS) $(TEST_LIBS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
