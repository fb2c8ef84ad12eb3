#include "pt-server/identity.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/mem.h"
#include "pt-server/certificate.h"
#include "tests/harness.h"

static char top[] = "/tmp/test_identity.XXXXXX";
static char error[256];

/* A path in the test's folder; kept until the process ends. */
static const char *
in(const char *name)
{
	static char paths[16][128];
	static unsigned next;
	char *path = paths[next++ % 16];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static void
shell(const char *command)
{
	char *line = mem_printf("cd %s && { %s; } > /dev/null 2>&1", top, command);

	ck_assert_msg(system(line) == 0, "%s", command);
	free(line);
}

static void
setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(top));
}

static void
teardown(void)
{
	char *line = mem_printf("rm -r %s", top);

	ck_assert_int_eq(system(line), 0);
	free(line);
}

static void
put(const char *name, const char *text)
{
	FILE *f = fopen(in(name), "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void
load(struct identity *id, const char *dir)
{
	ck_assert_msg(identity_load(id, in(dir), NULL, NULL, error) == 0, "%s", error);
}

static void
check_refused(const char *dir, const char *cert, const char *key, const char *why)
{
	struct identity id;

	error[0] = '\0';
	ck_assert_int_eq(identity_load(&id, in(dir), cert, key, error), -1);
	ck_assert_msg(strstr(error, why) != NULL, "%s", error);
}

START_TEST(made_once_and_kept)
{
	struct identity a, b, c;
	struct stat st;

	setup();
	load(&a, "new/state");
	load(&b, "new/state");
	load(&c, "other");
	ck_assert_mem_eq(a.secret, b.secret, 32);
	ck_assert_mem_eq(a.public, b.public, 32);
	ck_assert_mem_eq(a.pin, b.pin, 32);
	ck_assert_str_eq(a.cert_pem, b.cert_pem);
	ck_assert_str_eq(a.key_pem, b.key_pem);
	ck_assert(a.self_signed && b.self_signed);
	ck_assert(memcmp(a.secret, c.secret, 32) != 0);
	ck_assert(memcmp(a.pin, c.pin, 32) != 0);
	ck_assert_str_ne(a.cert_pem, c.cert_pem);
	ck_assert_int_eq(stat(in("new/state"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(stat(in("new/state/sultry_identity"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(stat(in("new/state/sultry_key.pem"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	identity_clear(&a);
	identity_clear(&b);
	identity_clear(&c);
	teardown();
}
END_TEST

static void
check_public(const char *secret_hex, const char *public_hex)
{
	uint8_t secret[32], public[32];
	char text[64];
	struct identity id;

	unhex(secret, secret_hex);
	unhex(public, public_hex);
	base64url_encode(text, secret, 32);
	put("state/sultry_identity", text); /* without a line end: as good */
	load(&id, "state");
	ck_assert_mem_eq(id.public, public, 32);
	identity_clear(&id);
}

/* RFC 7748 section 6.1, Bob's; then his with the bits set that clamping clears. */
START_TEST(rfc7748_vector)
{
	setup();
	shell("mkdir state");
	check_public("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
		     "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
	check_public("5fab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e06b",
		     "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
	teardown();
}
END_TEST

/* What OpenSSL makes of the same secret. */
START_TEST(agrees_with_openssl)
{
	static const char prefix[] = "302e020100300506032b656e04220420"; /* RFC 8410 */
	struct identity id;
	uint8_t der[48], public[32];
	FILE *f;

	setup();
	load(&id, "state");
	ck_assert_uint_eq(unhex(der, prefix), 16);
	memcpy(der + 16, id.secret, 32);
	f = fopen(in("secret.der"), "w");
	ck_assert_uint_eq(fwrite(der, 1, 48, f), 48);
	fclose(f);
	shell("openssl pkey -inform der -in secret.der -pubout -outform der | tail -c 32 > public");
	f = fopen(in("public"), "r");
	ck_assert_uint_eq(fread(public, 1, 32, f), 32);
	fclose(f);
	ck_assert_mem_eq(id.public, public, 32);
	identity_clear(&id);
	teardown();
}
END_TEST

START_TEST(certificate_is_sound)
{
	struct identity id;
	uint8_t pin[32];
	FILE *f;

	setup();
	load(&id, "state");
	put("cert.pem", id.cert_pem);
	put("key.pem", id.key_pem);
	/* OpenSSL checks the signature, the dates and the purpose. */
	shell("openssl verify -purpose sslserver -check_ss_sig -CAfile cert.pem cert.pem");
	shell("openssl x509 -in cert.pem -noout -text > text");
	shell("grep -q 'ASN1 OID: prime256v1' text && grep -q ecdsa-with-SHA256 text && "
	      "grep -q 'Version: 3' text");
	shell("n=$(sed -n 's/.*CN = //p' text | sort -u | wc -l); [ $n = 1 ]");
	shell("grep -q \"DNS:$(sed -n 's/.*Subject: CN = //p' text)$\" text");
	/* At least 400 days to come, at most two years. */
	shell("openssl x509 -in cert.pem -noout -checkend 34560000");
	shell("! openssl x509 -in cert.pem -noout -checkend 63072000");
	shell("openssl x509 -in cert.pem -noout -pubkey > a; openssl pkey -in key.pem -pubout > b; "
	      "cmp a b");
	shell("openssl pkey -pubin -in a -outform der | openssl dgst -sha256 -binary > pin");
	f = fopen(in("pin"), "r");
	ck_assert_uint_eq(fread(pin, 1, 32, f), 32);
	fclose(f);
	ck_assert_mem_eq(id.pin, pin, 32);
	identity_clear(&id);
	teardown();
}
END_TEST

#define SELF_SIGN "openssl req -x509 -new -subj /CN=a -key state/sultry_key.pem "

/* Whatever is wrong with the certificate, a new one keeps the key and so the pin. */
START_TEST(certificate_is_renewed)
{
	static const char *const damages[] = {
		"rm state/sultry_cert.pem",
		"echo rubbish > state/sultry_cert.pem",
		": > state/sultry_cert.pem",
		"head -c 300 state/sultry_cert.pem > x; mv x state/sultry_cert.pem",
		SELF_SIGN "-days 29 -out state/sultry_cert.pem",
		"openssl req -x509 -new -subj /CN=a -newkey rsa:2048 -nodes -keyout k -days 99 "
		"-out state/sultry_cert.pem",
		"openssl ecparam -name prime256v1 -genkey -out k; openssl req -x509 -new -subj /CN=a "
		"-key k -days 99 -out state/sultry_cert.pem",
	};
	struct identity first, now;

	setup();
	load(&first, "state");
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		shell(damages[i]);
		load(&now, "state");
		ck_assert_mem_eq(now.pin, first.pin, 32);
		ck_assert_mem_eq(now.secret, first.secret, 32);
		ck_assert_msg(certificate_usable(now.cert_pem, now.key_pem), "%s", damages[i]);
		identity_clear(&now);
	}
	/* One that is fine stays. */
	shell(SELF_SIGN "-days 31 -out state/sultry_cert.pem; cp state/sultry_cert.pem x");
	load(&now, "state");
	shell("cmp x state/sultry_cert.pem");
	identity_clear(&now);
	/* GeneralizedTime, after 2049 */
	shell(SELF_SIGN "-days 20000 -out state/sultry_cert.pem; cp state/sultry_cert.pem x");
	load(&now, "state");
	shell("cmp x state/sultry_cert.pem");
	identity_clear(&now);
	/* A key that is no key: all is made anew. */
	put("state/sultry_key.pem", "rubbish");
	load(&now, "state");
	ck_assert(memcmp(now.pin, first.pin, 32) != 0);
	ck_assert(certificate_usable(now.cert_pem, now.key_pem));
	identity_clear(&now);
	identity_clear(&first);
	teardown();
}
END_TEST

START_TEST(what_cannot_be_read_is_not_replaced)
{
	struct identity id;

	setup();
	load(&id, "state");
	identity_clear(&id);
	put("state/sultry_identity", "rubbish\n");
	check_refused("state", NULL, NULL, "holds no key");
	put("state/sultry_identity", "");
	check_refused("state", NULL, NULL, "holds no key");
	put("state/sultry_identity", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA A\n");
	check_refused("state", NULL, NULL, "holds no key");
	shell("head -c 70000 /dev/zero > state/sultry_identity");
	check_refused("state", NULL, NULL, "cannot read");
	shell("rm state/sultry_identity; mkdir state/sultry_identity");
	check_refused("state", NULL, NULL, "cannot read");
	put("file", "");
	check_refused("file", NULL, NULL, "cannot lock");
	check_refused("file/below", NULL, NULL, "cannot make");
	teardown();
}
END_TEST

START_TEST(a_crash_leaves_nothing_that_hurts)
{
	struct identity id;

	setup();
	shell("mkdir state; echo half > state/sultry_identity.new; "
	      "echo half > state/sultry_key.pem.new");
	load(&id, "state");
	shell("! ls state/*.new");
	identity_clear(&id);
	teardown();
}
END_TEST

/* A certificate for ec.key from a CA, alone and with the CA's own behind it. */
#define SIGN_BY_CA "openssl req -new -subj /CN=leaf -key ec.key -out leaf.csr; openssl x509 -req " \
	"-in leaf.csr -CA rsa.crt -CAkey rsa.key -CAcreateserial -days 9 -out leaf.crt; " \
	"cat leaf.crt rsa.crt > leafchain.crt"

START_TEST(the_operators_certificate)
{
	struct identity id;

	setup();
	shell("openssl req -x509 -new -subj /CN=rsa -newkey rsa:2048 -nodes -keyout rsa.key "
	      "-days 9 -out rsa.crt");
	shell("openssl ecparam -name secp384r1 -genkey -noout -out ec.key; openssl req -x509 -new "
	      "-subj /CN=ec -key ec.key -days 9 -out ec.crt");
	shell("openssl ecparam -name secp384r1 -genkey -noout -out other.key");
	shell("cat ec.crt rsa.crt > chain.crt; cat ec.key ec.crt > both.pem; "
	      "head -c 70000 /dev/zero | tr '\\0' a > large.crt");
	shell(SIGN_BY_CA);
	static const struct {
		const char *cert, *key;
		bool self_signed;
	} good[] = {
		{ "rsa.crt", "rsa.key", true }, { "ec.crt", "ec.key", true },
		{ "chain.crt", "ec.key", true }, { "both.pem", "both.pem", true },
		{ "leaf.crt", "ec.key", false }, { "leafchain.crt", "ec.key", false },
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint8_t pin[32];

		ck_assert_msg(identity_load(&id, in("state"), in(good[i].cert), in(good[i].key),
					    error) == 0, "%s", error);
		ck_assert_msg(id.self_signed == good[i].self_signed, "%s", good[i].cert);
		ck_assert(certificate_pin(id.cert_pem, pin));
		ck_assert_mem_eq(id.pin, pin, 32);
		identity_clear(&id);
	}
	shell("[ ! -e state/sultry_cert.pem ] && [ ! -e state/sultry_key.pem ]");
	check_refused("state", in("ec.crt"), NULL, "needs a key");
	check_refused("state", NULL, in("ec.key"), "needs a key");
	check_refused("state", in("none.crt"), in("ec.key"), "none.crt");
	check_refused("state", in("ec.crt"), in("none.key"), "none.key");
	check_refused("state", in("large.crt"), in("ec.key"), "large.crt");
	check_refused("state", in("ec.key"), in("ec.key"), "holds no certificate");
	check_refused("state", in("ec.crt"), in("other.key"), "does not belong");
	check_refused("state", in("rsa.crt"), in("ec.key"), "does not belong");
	teardown();
}
END_TEST

/* Many processes that start on a fresh folder at once. */
START_TEST(a_race_has_one_outcome)
{
	enum { RACERS = 12 };
	int results[2], go[2], status;
	uint8_t first[64], other[64];
	char byte;

	setup();
	for (int round = 0; round < 5; round++) {
		char name[16];

		snprintf(name, sizeof(name), "race%d", round);
		ck_assert_int_eq(pipe(results), 0);
		ck_assert_int_eq(pipe(go), 0);
		fflush(NULL);
		for (int i = 0; i < RACERS; i++) {
			struct identity id;
			pid_t pid = fork();

			ck_assert_int_ge(pid, 0);
			if (pid != 0)
				continue;
			close(go[1]);
			if (read(go[0], &byte, 1) != 0 ||
			    identity_load(&id, in(name), NULL, NULL, error) != 0)
				_exit(1);
			memcpy(first, id.public, 32);
			memcpy(first + 32, id.pin, 32);
			_exit(write(results[1], first, 64) == 64 ? 0 : 1);
		}
		close(go[0]);
		close(go[1]); /* the start */
		ck_assert_int_eq(read(results[0], first, 64), 64);
		for (int i = 1; i < RACERS; i++) {
			ck_assert_int_eq(read(results[0], other, 64), 64);
			ck_assert_mem_eq(first, other, 64);
		}
		for (int i = 0; i < RACERS; i++) {
			ck_assert_int_gt(wait(&status), 0);
			ck_assert_int_eq(status, 0);
		}
		close(results[0]);
		close(results[1]);
	}
	teardown();
}
END_TEST

/* A certificate cut short anywhere is refused or gives the same pin. */
START_TEST(truncated_certificates)
{
	char *key = certificate_new_key(), *cert = certificate_self_signed(key), *cut;
	uint8_t pin[32], other[32];

	ck_assert(certificate_pin(cert, pin));
	ck_assert(certificate_usable(cert, key));
	for (size_t n = 0; n < strlen(cert); n++) {
		cut = mem_strdup(cert);
		cut[n] = '\0';
		if (certificate_pin(cut, other))
			ck_assert_mem_eq(pin, other, 32);
		else
			ck_assert(!certificate_usable(cut, key));
		free(cut);
	}
	free(key);
	free(cert);
}
END_TEST

TEST_MAIN("identity", made_once_and_kept, rfc7748_vector, agrees_with_openssl,
	  certificate_is_sound, certificate_is_renewed, what_cannot_be_read_is_not_replaced,
	  a_crash_leaves_nothing_that_hurts, the_operators_certificate, a_race_has_one_outcome,
	  truncated_certificates)
