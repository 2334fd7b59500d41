/* main.c - the broadcaster: arguments, settings, exit status */
#include "broadcaster/app.h"
#include "common/http_client.h"
#include "common/log.h"

#include <stdio.h>
#include <string.h>

extern char **environ;

#define EXIT_CONFIG 2

static int print_help(void)
{
	printf("Usage: broadcaster [-port PORT] [--check-config]\n"
	       "       broadcaster --version | --help\n\n"
	       "Sends every upload to all targets at once. Settings come from "
	       "the environment:\n\n");
	config_help(broadcaster_config, broadcaster_config_rows, stdout);
	return 0;
}

static int refuse_start(const struct err *err)
{
	fprintf(stderr, "broadcaster: %s\n", err->text);
	return err->code == ERR_CONFIG ? EXIT_CONFIG : 1;
}

/* Load, start, serve, tidy up. */
static int serve(const char *port, bool only_check)
{
	static struct broadcaster_settings settings;
	struct err err = ERR_INIT;
	int status = 0;

	if (broadcaster_settings_load(&settings, environ, port, &err) == 0 &&
	    !only_check) {
		const char *format =
			log_format_names[settings.log_format];

		if (http_client_global_init(&err) == 0 &&
		    log_init((enum log_level)settings.log_level, format,
			     &err) == 0) {
			status = app_run(&settings, &err);
			log_exit();
		}
	}
	broadcaster_settings_release(&settings);
	if (err_is_set(&err))
		return refuse_start(&err);
	if (only_check)
		printf("configuration is good\n");
	return status;
}

int main(int argc, char **argv)
{
	const char *port = NULL;
	bool only_check = false;

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		if (!strcmp(arg, "--help") || !strcmp(arg, "-h"))
			return print_help();
		if (!strcmp(arg, "--version")) {
			printf("broadcaster %s\n", STREAM_BROADCAST_VERSION);
			return 0;
		}
		if (!strcmp(arg, "--check-config")) {
			only_check = true;
		} else if ((!strcmp(arg, "-port") || !strcmp(arg, "--port")) &&
			   i + 1 < argc) {
			port = argv[++i];
		} else {
			fprintf(stderr,
				"broadcaster: unknown argument \"%s\"; allowed "
				"are -port PORT, --check-config, --version, "
				"--help\n",
				arg);
			return EXIT_CONFIG;
		}
	}
	return serve(port, only_check);
}
