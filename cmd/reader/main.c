/*
 * The reader: puts uploads into one store. All settings are environment
 * variables; see --help.
 */
#include "common/span.h"

#include "reader/app.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXIT_CONFIG 2

static void help(void)
{
	puts("usage: reader [-port PORT] [-postgres-host HOST]\n"
	     "              [-postgres-user USER] [-postgres-password PASSWORD]\n"
	     "              [--check-config|--version|--help]\n"
	     "\n"
	     "Receives objects over HTTP and puts them into one store.\n"
	     "\n"
	     "  -port PORT      listen here instead of READER_HTTP_PORT\n"
	     "  -postgres-host HOST, -postgres-user USER,\n"
	     "  -postgres-password PASSWORD\n"
	     "                  instead of DB_HOST, DB_USER and DB_PASSWORD;\n"
	     "                  other users can see a password given here\n"
	     "  --check-config  say whether the settings are good, and exit\n"
	     "  --version       print the version\n"
	     "  --help          print this\n"
	     "\n"
	     "Settings (environment variables):\n");
	config_help(reader_config, reader_config_rows, stdout);
}

struct arguments {
	const char *port;	/* NULL when not given */
	bool check_config;
};

/* The value of "-NAME V", "--NAME V", "-NAME=V", "--NAME=V"; NULL: another. */
static const char *flag_value(const char *name, char **argv, int argc, int *i)
{
	struct span value = span_of(argv[*i]);
	struct span flag = span_cut(&value, '=');

	if (span_starts_with(flag, SPAN_LIT("--")))
		flag = span_make(flag.ptr + 1, flag.len - 1);
	if (!span_eq(flag, span_of(name)))
		return NULL;
	if (value.ptr)
		return value.ptr;
	return *i + 1 < argc ? argv[++*i] : NULL;
}

/* A flag that stands for a variable; false when it is another argument. */
static bool take_variable(char **argv, int argc, int *i)
{
	static const struct {
		const char *flag, *variable;
	} flags[] = {
		{ "-postgres-host", "DB_HOST" },
		{ "-postgres-user", "DB_USER" },
		{ "-postgres-password", "DB_PASSWORD" },
	};

	for (size_t n = 0; n < sizeof(flags) / sizeof(flags[0]); n++) {
		const char *value = flag_value(flags[n].flag, argv, argc, i);

		if (!value)
			continue;
		if (setenv(flags[n].variable, value, 1) < 0)
			exit(EXIT_FAILURE);
		return true;
	}
	return false;
}

static void refuse(const char *argument)
{
	fprintf(stderr, "reader: unknown or incomplete argument %s; see --help\n",
		argument);
	exit(EXIT_CONFIG);
}

/* Returns to go on; --help and mistakes end the program here. */
static void parse(struct arguments *args, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *port = flag_value("-port", argv, argc, &i);

		if (port) {
			args->port = port;
		} else if (take_variable(argv, argc, &i)) {
			continue;
		} else if (strcmp(argv[i], "--check-config") == 0) {
			args->check_config = true;
		} else if (strcmp(argv[i], "--version") == 0) {
			puts("reader " STREAM_BROADCAST_VERSION);
			exit(EXIT_SUCCESS);
		} else if (strcmp(argv[i], "--help") == 0) {
			help();
			exit(EXIT_SUCCESS);
		} else {
			refuse(argv[i]);
		}
	}
}

int main(int argc, char **argv)
{
	static struct reader_settings settings;
	struct arguments args = { 0 };
	struct err err = ERR_INIT;
	int status;

	parse(&args, argc, argv);
	if (reader_settings_load(&settings, environ, args.port, &err) < 0) {
		fprintf(stderr, "reader: %s\n", err.text);
		return EXIT_CONFIG;
	}
	if (args.check_config) {
		puts("the settings are good");
		return EXIT_SUCCESS;
	}
	status = reader_run(&settings, &err);
	if (status >= 0)
		return status;
	fprintf(stderr, "reader: %s\n", err.text);
	return err.code == ERR_CONFIG ? EXIT_CONFIG : EXIT_FAILURE;
}
