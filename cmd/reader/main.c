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
	puts("usage: reader [-port PORT] [--check-config|--version|--help]\n"
	     "\n"
	     "Receives objects over HTTP and puts them into one store.\n"
	     "\n"
	     "  -port PORT      listen here instead of READER_HTTP_PORT\n"
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

/* The value of "-port V", "--port V", "-port=V", "--port=V"; NULL: another. */
static const char *port_value(char **argv, int argc, int *i)
{
	const char *arg = argv[*i];

	if (strncmp(arg, "--", 2) == 0)
		arg++;
	if (strncmp(arg, "-port=", 6) == 0)
		return arg + 6;
	if (strcmp(arg, "-port") != 0 || *i + 1 >= argc)
		return NULL;
	return argv[++*i];
}

/* Returns to go on; --help and mistakes end the program here. */
static void parse(struct arguments *args, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *port = port_value(argv, argc, &i);

		if (port) {
			args->port = port;
		} else if (strcmp(argv[i], "--check-config") == 0) {
			args->check_config = true;
		} else if (strcmp(argv[i], "--version") == 0) {
			puts("reader " STREAM_BROADCAST_VERSION);
			exit(EXIT_SUCCESS);
		} else if (strcmp(argv[i], "--help") == 0) {
			help();
			exit(EXIT_SUCCESS);
		} else {
			fprintf(stderr, "reader: unknown or incomplete "
					"argument %s; see --help\n",
				argv[i]);
			exit(EXIT_CONFIG);
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
