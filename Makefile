# stream-broadcast - make help lists the targets
#
# Everything is built below dist/: dist/broadcaster and dist/reader for use,
# dist/obj/MODE/ for objects and test programs of one build mode. MODE is one of
# the CFLAGS_* below: release (default), debug, asan, ubsan, tsan, coverage, fuzz,
# and gcc and clang, in which warnings are errors.

MODE ?= release
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
OBJ := dist/obj/$(MODE)

PKGS := libevent_core libcurl libssl libcrypto jansson libpq libmagic expat
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wswitch-enum \
	-Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla -Wformat=2
CPPFLAGS += -I. -D_GNU_SOURCE
CFLAGS_BASE := -std=c11 -g $(WARNINGS) -fstack-protector-strong -fPIE \
	$(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread
LDFLAGS_BASE := -pie -Wl,-z,relro,-z,now

CFLAGS_release := -O2 -D_FORTIFY_SOURCE=3
CFLAGS_debug := -O0
CFLAGS_asan := -O1 -fno-omit-frame-pointer -fsanitize=address
CFLAGS_ubsan := -O1 -fno-omit-frame-pointer -fsanitize=undefined \
	-fno-sanitize-recover=all
CFLAGS_tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread
CFLAGS_coverage := -O0 --coverage -fprofile-update=atomic
CFLAGS_fuzz := -O1 -fno-omit-frame-pointer \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
CFLAGS_gcc := $(CFLAGS_release) -Werror
CFLAGS_clang := -O2 -D_FORTIFY_SOURCE=2 -Werror
ifeq ($(MODE),gcc)
CC := gcc
endif
ifneq ($(filter clang fuzz,$(MODE)),)
CC := clang
endif
CFLAGS_MODE := $(CFLAGS_$(MODE))
LDFLAGS_MODE := $(filter -fsanitize=% --coverage,$(CFLAGS_MODE))
# One short line a step; V=1 shows the commands.
Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-5s %s\n' '$(1)' '$@')
COMPILE = $(CC) $(CPPFLAGS) $(CFLAGS_BASE) $(CFLAGS_MODE) $(CFLAGS)
LINK = $(CC) $(LDFLAGS_BASE) $(LDFLAGS_MODE) $(LDFLAGS)

COMMON_SRC := $(wildcard common/*.c)
BROADCASTER_SRC := $(wildcard broadcaster/*.c)
READER_SRC := $(wildcard reader/*.c)
objects = $(patsubst %.c,$(OBJ)/%.o,$(1))
LIB_COMMON := $(OBJ)/libcommon.a
LIB_BROADCASTER := $(OBJ)/libbroadcaster.a
LIB_READER := $(OBJ)/libreader.a
LIB_HELPER := $(OBJ)/libhelper.a
LIBS := $(LIB_HELPER) $(LIB_BROADCASTER) $(LIB_READER) $(LIB_COMMON)

UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(patsubst tests/%.c,$(OBJ)/tests/%,$(UNIT_SRC))
HELPER_SRC := $(wildcard tests/helper/*.c)
BENCH_SRC := $(wildcard bench/*.c)
BENCH_BIN := $(patsubst %.c,$(OBJ)/%,$(BENCH_SRC))
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(patsubst tests/%.c,$(OBJ)/tests/%,$(FUZZ_SRC))
C_FILES := $(wildcard cmd/*/*.c common/*.[ch] broadcaster/*.[ch] reader/*.[ch] \
	tests/*/*.[ch] tests/unit/*/*.[ch] bench/*.[ch])
VERSION_SRC := $(shell grep -ls STREAM_BROADCAST_VERSION */*.c cmd/*/*.c)

# Where make install puts things.
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
DOCDIR ?= $(PREFIX)/share/doc/stream-broadcast
UNITDIR ?= $(PREFIX)/lib/systemd/system
UNIT_BINDIR ?= $(BINDIR)

# Make itself again, for another mode, on all CPUs unless -j was given.
JOBS := $(shell nproc)
AGAIN = $(MAKE) --no-print-directory \
	$(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))
PROGRAMS := $(OBJ)/bin/broadcaster $(OBJ)/bin/reader

.PHONY: all
all: dist/broadcaster dist/reader ## build both programs (optimised, hardened, debug info)

dist/broadcaster dist/reader: dist/%: $(OBJ)/bin/%
	@mkdir -p $(@D)
	@install -m 755 $< $@

.PHONY: run
run: ## build, start a broadcaster and READERS=2 readers, upload FILE=path if given
	@scripts/setup.sh run
	@+$(AGAIN) -s all
	@scripts/run.sh

.PHONY: up
up: ## nginx, three broadcasters, a PostgreSQL and a file reader here, until Ctrl-C
	@scripts/setup.sh test
	@+$(AGAIN) -s all
	@scripts/up.sh

# ---- building ------------------------------------------------------------------

$(OBJ)/bin/broadcaster: $(OBJ)/cmd/broadcaster/main.o $(LIB_BROADCASTER) $(LIB_COMMON)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(LDLIBS)
$(OBJ)/bin/reader: $(OBJ)/cmd/reader/main.o $(LIB_READER) $(LIB_COMMON)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(LDLIBS)

$(LIB_COMMON): $(call objects,$(COMMON_SRC))
$(LIB_BROADCASTER): $(call objects,$(BROADCASTER_SRC))
$(LIB_READER): $(call objects,$(READER_SRC))
$(LIB_HELPER): $(call objects,$(HELPER_SRC))
$(LIBS):
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(OBJ)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

# The page is part of the object that serves it.
$(OBJ)/broadcaster/page.o: broadcaster/page.html

# Only the files that show the version are compiled again when it changes.
$(call objects,$(VERSION_SRC)): CPPFLAGS += -DSTREAM_BROADCAST_VERSION='"$(VERSION)"'
$(call objects,$(VERSION_SRC)): dist/obj/version
dist/obj/version: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@
.PHONY: FORCE
FORCE:

$(OBJ)/tests/unit/%: $(OBJ)/tests/unit/%.o $(LIBS)
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(LIBS) -lcheck -lsubunit -lm -lrt $(LDLIBS)
$(OBJ)/bench/%: $(OBJ)/bench/%.o $(LIB_COMMON)
	$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(LDLIBS)

.PHONY: build
build: $(PROGRAMS) $(UNIT_BIN) $(BENCH_BIN)

# ---- testing -------------------------------------------------------------------

.PHONY: setup
setup: ## install the packages that building and testing need
	@scripts/setup.sh check

.PHONY: test
test: ## set up, build, run the unit tests and the scenarios
	@scripts/setup.sh test
	@+$(AGAIN) build
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory scenario
	@$(MAKE) --no-print-directory counts

.PHONY: check
check: ## exactly what CI runs: two compilers with -Werror, lint, all tests
	@scripts/setup.sh check
	@$(MAKE) --no-print-directory check-headers
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory check-deploy
	@+$(AGAIN) MODE=clang build
	@+$(AGAIN) MODE=gcc build
	@$(MAKE) --no-print-directory MODE=gcc unit
	@$(MAKE) --no-print-directory MODE=gcc scenario
	@$(MAKE) --no-print-directory MODE=gcc counts

.PHONY: unit
unit: $(UNIT_BIN) ## build and run the unit tests
	@CK_TIMEOUT_MULTIPLIER=$(if $(filter release gcc clang,$(MODE)),3,15) COUNTS=$(OBJ)/unit.count scripts/unit.sh $(UNIT_BIN)

.PHONY: scenario
scenario: $(PROGRAMS) ## run the real programs against scripted peers (SCENARIO=word selects)
	@SCENARIO_BIN=$(OBJ)/bin SCENARIO_MODE=$(MODE) COUNTS=$(OBJ)/scenario.count \
		tests/scenario/run.py $(SCENARIO)

.PHONY: torture
torture: $(PROGRAMS) ## failing allocations and calls, kills at every step: about 15 minutes
	@SCENARIO_BIN=$(OBJ)/bin SCENARIO_MODE=$(MODE) \
		tests/scenario/run.py --folder tests/torture $(SCENARIO)

.PHONY: test-long
test-long: $(PROGRAMS) ## 8 GiB through the programs, byte for byte: about 20 minutes
	@SCENARIO_LONG=1 SCENARIO_BIN=$(OBJ)/bin SCENARIO_MODE=$(MODE) \
		tests/scenario/run.py 51_ 82_ 83_

.PHONY: test-s3
test-s3: $(PROGRAMS) ## the S3 store against Ceph's RGW, Swift and a scripted server
	@SCENARIO_BIN=$(OBJ)/bin SCENARIO_MODE=$(MODE) tests/scenario/run.py 80_ 81_ 82_ 83_ 84_

.PHONY: test-topology
test-topology: $(PROGRAMS) ## 1,000 uploads and 10,000 reads through nginx, instances being killed
	@SCENARIO_UPLOADS=$(or $(UPLOADS),1000) SCENARIO_READS=$(or $(READS),10000) \
		SCENARIO_BIN=$(OBJ)/bin SCENARIO_MODE=$(MODE) \
		tests/scenario/run.py -v 71_

.PHONY: test-browser
test-browser: $(PROGRAMS) ## a video in headless Chromium, and curl, wget and ffprobe, on /media
	@SCENARIO_BIN=$(OBJ)/bin SCENARIO_MODE=$(MODE) tests/browser/run.sh

.PHONY: counts
counts:
	@cat $(OBJ)/unit.count $(OBJ)/scenario.count

.PHONY: asan ubsan tsan
asan ubsan tsan: ## unit tests and scenarios under a sanitizer
	@+$(AGAIN) MODE=$@ build
	@$(MAKE) --no-print-directory MODE=$@ unit
	@$(MAKE) --no-print-directory MODE=$@ scenario
	@$(MAKE) --no-print-directory MODE=$@ counts

VALGRIND := valgrind -q --error-exitcode=99 --leak-check=full \
	--errors-for-leak-kinds=definite --show-leak-kinds=definite
# Not below valgrind: exhaustive ones, which would take hours; those that measure
# time, memory or descriptors; openat2(2) and pidfd_open(2), which it lacks.
VALGRIND_UNFIT := http1_chunked http1_request multipart ring intake http_body \
	http_call http_client http_link_tls http_server metrics sink_file \
	sink_contract list_contract sink_exec
.PHONY: valgrind
valgrind: ## unit tests and the basic scenarios under valgrind
	@+$(AGAIN) MODE=debug build
	@CK_TIMEOUT_MULTIPLIER=30 WRAPPER='$(VALGRIND)' scripts/unit.sh \
		$(filter-out $(foreach t,$(VALGRIND_UNFIT),%/test_$(t)), \
		$(UNIT_SRC:tests/%.c=dist/obj/debug/tests/%))
	@SCENARIO_BIN=dist/obj/debug/bin SCENARIO_MODE=valgrind \
		SCENARIO_WRAPPER='$(VALGRIND)' tests/scenario/run.py $(or $(SCENARIO),01_uploads.WaysIn 01_uploads.Sizes)

.PHONY: coverage
coverage: ## which lines the tests reach; dist/coverage/index.html
	@find dist/obj/coverage -name '*.gcda' -delete 2>/dev/null || true
	@+$(AGAIN) MODE=coverage build
	@$(MAKE) --no-print-directory MODE=coverage unit
	@$(MAKE) --no-print-directory MODE=coverage scenario
	@mkdir -p dist/coverage
	gcovr --root . --exclude tests/ --exclude bench/ --object-directory dist/obj/coverage \
		--html-details dist/coverage/index.html --print-summary --txt

$(OBJ)/tests/fuzz/%: $(OBJ)/tests/fuzz/%.o $(LIB_COMMON)
	$(call say,LD)
	$(Q)$(LINK) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)
.PHONY: fuzz-build fuzz
fuzz-build: $(FUZZ_BIN)
fuzz: ## fuzz every parser, RUNS=10000000 inputs each; prints coverage
	@+$(AGAIN) MODE=fuzz fuzz-build
	@RUNS=$(or $(RUNS),10000000) scripts/fuzz.sh $(FUZZ_SRC:tests/%.c=dist/obj/fuzz/tests/%)

.PHONY: bench
bench: ## measure throughput, CPU and memory
	@+$(AGAIN) all build
	@bench/run.sh

# ---- looking after the source ----------------------------------------------------

.PHONY: lint
lint: ## include directions, sizes, undocumented prototypes, shell scripts
	@scripts/lint.py

.PHONY: check-deploy
check-deploy: all ## what nginx, systemd and docker-compose say about build/
	@scripts/check_deploy.sh dist

.PHONY: check-headers
check-headers: ## compile every header alone, with gcc and clang
	@HEADER_FLAGS='$(CPPFLAGS) $(filter-out -g,$(CFLAGS_BASE))' \
		scripts/check_headers.sh

.PHONY: format
format: ## apply .clang-format
	clang-format -i $(C_FILES)

.PHONY: tidy
tidy: ## static analysis by clang-tidy and cppcheck
	clang-tidy --quiet $(filter %.c,$(C_FILES)) -- $(CPPFLAGS) \
		-DSTREAM_BROADCAST_VERSION='""' $(CFLAGS_BASE)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability \
		--inline-suppr --error-exitcode=1 -I. common broadcaster reader cmd

# ---- delivering --------------------------------------------------------------------

.PHONY: install
install: all ## put programs, systemd units and nginx's files below PREFIX (/usr/local)
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(DOCDIR)/nginx/stream-broadcast' \
		'$(DESTDIR)$(DOCDIR)/systemd' '$(DESTDIR)$(UNITDIR)'
	install -m 755 dist/broadcaster dist/reader '$(DESTDIR)$(BINDIR)'
	install -m 644 README.md CHANGELOG.md '$(DESTDIR)$(DOCDIR)'
	install -m 644 build/nginx/*.conf '$(DESTDIR)$(DOCDIR)/nginx'
	install -m 644 build/nginx/stream-broadcast/*.conf \
		'$(DESTDIR)$(DOCDIR)/nginx/stream-broadcast'
	install -m 644 build/systemd/*.example '$(DESTDIR)$(DOCDIR)/systemd'
	for unit in broadcaster@.service reader@.service; do \
		sed 's,/usr/local/bin,$(UNIT_BINDIR),' "build/systemd/$$unit" \
			>'$(DESTDIR)$(UNITDIR)/'"$$unit" || exit 1; done

ARCHIVE := stream-broadcast-$(VERSION)
TAR := tar --sort=name --owner=0 --group=0 --numeric-owner \
	--mtime=@$(shell git log -1 --format=%ct 2>/dev/null || echo 0)
.PHONY: dist
dist: all ## archives of the source and of the programs, with checksums
	git archive --prefix=$(ARCHIVE)/ -o dist/$(ARCHIVE).tar.gz HEAD
	rm -rf dist/stage
	$(MAKE) --no-print-directory install DESTDIR=dist/stage/$(ARCHIVE) PREFIX= \
		DOCDIR=/doc UNITDIR=/systemd UNIT_BINDIR=/usr/local/bin
	$(TAR) -C dist/stage -czf dist/$(ARCHIVE)-linux-$(shell uname -m).tar.gz $(ARCHIVE)
	rm -rf dist/stage
	cd dist && sha256sum $(ARCHIVE)*.tar.gz >SHA256SUMS

.PHONY: clean
clean: ## remove everything that was built
	rm -rf dist

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z][a-zA-Z_ -]*:.*##' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
.SECONDARY:
