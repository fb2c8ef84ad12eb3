#include "pt-server/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/curve25519.h>

#include "common/bytes.h"
#include "common/log.h"
#include "common/mem.h"
#include "pt-server/certificate.h"

#define FILE_MAX 65536

static int __attribute__((format(printf, 2, 3)))
fail(char error[256], const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error, 256, format, ap);
	va_end(ap);
	return -1;
}

/* --- files --------------------------------------------------------------- */

/* mkdir -p; what is made is 0700. */
static int
make_folder(const char *path, char error[256])
{
	char *copy = mem_strdup(path);
	int rc = 0;

	for (char *p = copy + 1; rc == 0 && p[-1] != '\0'; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) != 0 && errno != EEXIST)
			rc = fail(error, "cannot make %.150s: %s", copy, strerror(errno));
		*p = c;
	}
	free(copy);
	return rc;
}

/* The text of a file, to be freed with text_free. NULL with errno, which is ENOENT
 * if there is no such file and EFBIG if it is larger than FILE_MAX. */
static char *
read_text(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text;
	size_t n = 0;
	ssize_t got = -1;

	if (fd < 0)
		return NULL;
	text = mem_alloc(FILE_MAX + 1);
	while (n < FILE_MAX + 1 && (got = read(fd, text + n, FILE_MAX + 1 - n)) > 0)
		n += (size_t)got;
	if (got >= 0 && n > FILE_MAX) {
		errno = EFBIG;
		got = -1;
	}
	if (got < 0) {
		int saved = errno;

		mem_wipe(text, n);
		free(text);
		close(fd);
		errno = saved;
		return NULL;
	}
	close(fd);
	text[n] = '\0';
	return text;
}

static void
text_free(char *text)
{
	if (text != NULL)
		mem_wipe(text, strlen(text));
	free(text);
}

static int
write_and_sync(int fd, const char *text)
{
	size_t n = strlen(text);

	while (n > 0) {
		ssize_t put = write(fd, text, n);

		if (put < 0)
			return -1;
		text += put;
		n -= (size_t)put;
	}
	return fsync(fd);
}

/* Replaces a file, 0600, as a whole or not at all. */
static int
write_text(const char *path, const char *text, char error[256])
{
	char *temporary = mem_printf("%s.new", path);
	int fd, rc;

	/* Left over from a crash: we hold the lock. */
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	rc = fd < 0 ? -1 : write_and_sync(fd, text);
	if (fd >= 0 && close(fd) != 0)
		rc = -1;
	if (rc == 0)
		rc = rename(temporary, path);
	if (rc != 0) {
		fail(error, "cannot write %.150s: %s", path, strerror(errno));
		unlink(temporary);
	}
	free(temporary);
	return rc;
}

/* --- the X25519 key ------------------------------------------------------ */

static int
derive_public(struct identity *id)
{
	/* RFC 7748 section 5 clamps at use; wolfSSL wants it done before. */
	id->secret[0] &= 248;
	id->secret[31] = (uint8_t)((id->secret[31] & 127) | 64);
	return wc_curve25519_make_pub(32, id->public, 32, id->secret);
}

static bool
decode_secret(struct identity *id, const char *text)
{
	size_t n;

	return base64url_decode(id->secret, sizeof(id->secret), &n, text, strcspn(text, "\r\n")) &&
	       n == sizeof(id->secret);
}

static int
make_secret(struct identity *id, const char *path, char error[256])
{
	char text[BASE64URL_LEN(32) + 2];
	int rc;

	mem_random(id->secret, sizeof(id->secret));
	base64url_encode(text, id->secret, sizeof(id->secret));
	strcat(text, "\n");
	rc = write_text(path, text, error);
	mem_wipe(text, sizeof(text));
	return rc;
}

static int
load_secret(struct identity *id, const char *path, char error[256])
{
	char *text = read_text(path);
	int rc = 0;

	if (text != NULL && !decode_secret(id, text))
		rc = fail(error, "%.150s holds no key; move it away to get a new identity", path);
	else if (text == NULL && errno != ENOENT)
		rc = fail(error, "cannot read %.150s: %s", path, strerror(errno));
	else if (text == NULL)
		rc = make_secret(id, path, error);
	text_free(text);
	if (rc == 0 && derive_public(id) != 0)
		rc = fail(error, "cannot derive the public key");
	return rc;
}

/* --- the certificate ----------------------------------------------------- */

static int
load_operators(struct identity *id, const char *cert_file, const char *key_file, char error[256])
{
	if (cert_file == NULL || key_file == NULL)
		return fail(error, "a certificate needs a key, and a key a certificate");
	id->cert_pem = read_text(cert_file);
	if (id->cert_pem == NULL)
		return fail(error, "cannot read %.150s: %s", cert_file, strerror(errno));
	id->key_pem = read_text(key_file);
	if (id->key_pem == NULL)
		return fail(error, "cannot read %.150s: %s", key_file, strerror(errno));
	if (certificate_foreign(id->cert_pem, id->key_pem))
		return fail(error, "%.100s does not belong to %.100s", key_file, cert_file);
	return 0;
}

/* Our own files: *text is NULL if there is none. */
static int
load_own(char **text, const char *path, char error[256])
{
	*text = read_text(path);
	if (*text == NULL && errno != ENOENT)
		return fail(error, "cannot read %.150s: %s", path, strerror(errno));
	return 0;
}

static int
load_self_signed(struct identity *id, const char *cert_path, const char *key_path, char error[256])
{
	if (load_own(&id->key_pem, key_path, error) != 0 ||
	    load_own(&id->cert_pem, cert_path, error) != 0)
		return -1;
	if (id->key_pem != NULL && !certificate_key_ok(id->key_pem)) {
		log_warning("%s is unreadable: making a new key; pins of the old one end",
			    key_path);
		text_free(id->key_pem);
		id->key_pem = NULL;
	}
	if (id->key_pem == NULL) {
		id->key_pem = certificate_new_key();
		if (id->key_pem == NULL)
			return fail(error, "cannot make a TLS key");
		if (write_text(key_path, id->key_pem, error) != 0)
			return -1;
	}
	if (id->cert_pem != NULL && certificate_usable(id->cert_pem, id->key_pem))
		return 0;
	free(id->cert_pem);
	id->cert_pem = certificate_self_signed(id->key_pem);
	if (id->cert_pem == NULL)
		return fail(error, "cannot make a certificate");
	return write_text(cert_path, id->cert_pem, error);
}

/* --- all of it ----------------------------------------------------------- */

static char *
in_folder(const char *folder, const char *name)
{
	return mem_printf("%s/%s", folder, name);
}

static int
load_locked(struct identity *id, const char *state_dir, const char *cert_file,
	    const char *key_file, char error[256])
{
	char *secret_path = in_folder(state_dir, "sultry_identity");
	char *cert_path = in_folder(state_dir, "sultry_cert.pem");
	char *key_path = in_folder(state_dir, "sultry_key.pem");
	int rc = load_secret(id, secret_path, error);

	if (rc == 0 && (cert_file != NULL || key_file != NULL))
		rc = load_operators(id, cert_file, key_file, error);
	else if (rc == 0)
		rc = load_self_signed(id, cert_path, key_path, error);
	if (rc == 0 && !certificate_pin(id->cert_pem, id->pin))
		rc = fail(error, "%.150s holds no certificate",
			  cert_file != NULL ? cert_file : cert_path);
	if (rc == 0)
		id->self_signed = !certificate_vouched(id->cert_pem);
	free(secret_path);
	free(cert_path);
	free(key_path);
	return rc;
}

int
identity_load(struct identity *id, const char *state_dir, const char *cert_file,
	      const char *key_file, char error[256])
{
	char *lock_path;
	int lock, rc;

	memset(id, 0, sizeof(*id));
	if (make_folder(state_dir, error) != 0)
		return -1;
	/* Two that start at once: the second waits, then reads what the first made. */
	lock_path = in_folder(state_dir, "sultry_lock");
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) != 0)
		rc = fail(error, "cannot lock %.150s: %s", lock_path, strerror(errno));
	else
		rc = load_locked(id, state_dir, cert_file, key_file, error);
	if (lock >= 0)
		close(lock);
	free(lock_path);
	if (rc != 0)
		identity_clear(id);
	return rc;
}

void
identity_clear(struct identity *id)
{
	text_free(id->key_pem);
	free(id->cert_pem);
	mem_wipe(id, sizeof(*id));
}
