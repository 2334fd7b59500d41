/*
 * fuzz_config - settings and addresses from any bytes
 *
 * The input is an environment, one "NAME=value" a line. What config_load()
 * takes must be what its rows allow; what it refuses must have a reason.
 */
#include "common/address.h"
#include "common/config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VARIABLES 64

struct settings {
	char name[32];
	char secret[32];
	uint64_t number;
	uint64_t bytes;
	bool flag;
	int choice;
	char listen[300];
	char peer[300];
};

static int check_listen(const char *value, struct err *err)
{
	struct address address;

	return address_parse_listen(span_of(value), &address, err);
}

static int check_peer(const char *value, struct err *err)
{
	struct address address;

	return address_parse_peer(span_of(value), &address, err);
}

static const char *const choices[] = {"file", "exec", "s3", NULL};

#define MEMBER(m)                                                              \
	offsetof(struct settings, m), sizeof(((struct settings *)0)->m)

static const struct config_row rows[] = {
	{"X_NAME", CONFIG_STRING, MEMBER(name), "a", 0, 0, NULL, NULL, "",
	 "A name."},
	{"X_SECRET", CONFIG_SECRET, MEMBER(secret), "", 0, 0, NULL, NULL, "",
	 "A secret."},
	{"X_NUMBER", CONFIG_U64, MEMBER(number), "3", 3, 1000, NULL, NULL, "ms",
	 "A number."},
	{"X_BYTES", CONFIG_SIZE, MEMBER(bytes), "1K", 1024, UINT64_MAX, NULL,
	 NULL, "bytes", "A size."},
	{"X_FLAG", CONFIG_BOOL, MEMBER(flag), "no", 0, 0, NULL, NULL, "",
	 "A flag."},
	{"X_CHOICE", CONFIG_CHOICE, MEMBER(choice), "s3", 0, 0, choices, NULL,
	 "", "A choice."},
	{"X_LISTEN", CONFIG_CHECKED, MEMBER(listen), ":0", 0, 0, NULL,
	 check_listen, "", "An address."},
	{"X_PEER", CONFIG_CHECKED, MEMBER(peer), "", 0, 0, NULL, check_peer, "",
	 "Another address."},
};
#define N_ROWS (sizeof(rows) / sizeof(*rows))

static const char *const prefixes[] = {"X_", NULL};

/* Cut `text` at its line feeds, in place. */
static void split(char *text, char *env[MAX_VARIABLES + 1])
{
	size_t n = 0;
	char *line;

	while (n < MAX_VARIABLES && (line = strsep(&text, "\n")) != NULL)
		env[n++] = line;
	env[n] = NULL;
}

static void check_loaded(const struct settings *settings)
{
	CHECK(memchr(settings->name, 0, sizeof(settings->name)));
	CHECK(memchr(settings->secret, 0, sizeof(settings->secret)));
	CHECK(settings->number >= 3 && settings->number <= 1000);
	CHECK(settings->bytes >= 1024);
	CHECK(settings->choice >= 0 && settings->choice <= 2);
}

/* What was parsed reads the same when it is formatted and parsed again. */
static void check_address(const char *text)
{
	struct address first = {0}, second = {0};
	struct err err = ERR_INIT;
	char again[300];

	if (address_parse_listen(span_of(text), &first, &err) < 0)
		return;
	address_format(&first, again, sizeof(again));
	CHECK(address_parse_listen(span_of(again), &second, &err) == 0);
	CHECK(!strcmp(first.host, second.host) && first.port == second.port);
	CHECK(address_is_loopback(&first) == address_is_loopback(&second));
}

static void check_refused(const struct err *err)
{
	struct span text = span_of(err->text);

	CHECK(err->code == ERR_CONFIG && text.len > 0);
	CHECK(text.len < sizeof(err->text));
	if (span_starts_with(text, SPAN_LIT("X_SECRET=")))
		CHECK(span_starts_with(text, SPAN_LIT("X_SECRET=(not shown)")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	char *env[MAX_VARIABLES + 1];
	struct settings settings;
	struct err err = ERR_INIT;
	size_t i;

	CHECK(text != NULL);
	split(text, env);
	if (config_load(rows, N_ROWS, prefixes, env, &settings, &err) == 0) {
		check_loaded(&settings);
		check_address(settings.listen);
		check_address(settings.peer);
	} else {
		check_refused(&err);
	}
	for (i = 0; env[i]; i++)
		check_address(env[i]);
	free(text);
	return 0;
}
