# stream-broadcast - make help lists the targets
#
# Everything is built below dist/: dist/broadcaster and dist/reader for use,
# dist/obj/MODE/ for objects and test programs of one build mode.

MODE ?= release
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
OBJ := dist/obj/$(MODE)

PKGS := libevent_core libcurl libcrypto jansson
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wswitch-enum \
	-Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla -Wformat=2
CPPFLAGS += -I. -D_GNU_SOURCE -DSTREAM_BROADCAST_VERSION='"$(VERSION)"'
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
CFLAGS_coverage := -O0 --coverage
CFLAGS_clang := -O2 -D_FORTIFY_SOURCE=2
ifeq ($(MODE),clang)
CC := clang
endif
ifdef WERROR
CFLAGS_BASE += -Werror
endif
CFLAGS_MODE := $(CFLAGS_$(MODE))
LDFLAGS_MODE := $(filter -fsanitize=% --coverage,$(CFLAGS_MODE))
COMPILE = $(CC) $(CPPFLAGS) $(CFLAGS_BASE) $(CFLAGS_MODE) $(CFLAGS)
LINK = $(CC) $(LDFLAGS_BASE) $(LDFLAGS_MODE) $(LDFLAGS)

COMMON_SRC := $(wildcard common/*.c)
BROADCASTER_SRC := $(wildcard broadcaster/*.c)
READER_SRC := $(wildcard reader/*.c)
objects = $(patsubst %.c,$(OBJ)/%.o,$(1))
LIB_COMMON := $(OBJ)/libcommon.a
LIB_BROADCASTER := $(OBJ)/libbroadcaster.a
LIB_READER := $(OBJ)/libreader.a
LIBS := $(LIB_BROADCASTER) $(LIB_READER) $(LIB_COMMON)

UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(patsubst tests/%.c,$(OBJ)/tests/%,$(UNIT_SRC))
HELPER_SRC := $(wildcard tests/helper/*.c)
BENCH_SRC := $(wildcard bench/*.c)
BENCH_BIN := $(patsubst %.c,$(OBJ)/%,$(BENCH_SRC))
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(patsubst tests/%.c,dist/obj/fuzz/tests/%,$(FUZZ_SRC))
C_FILES := $(wildcard cmd/*/*.c common/*.[ch] broadcaster/*.[ch] reader/*.[ch] \
	tests/*/*.[ch] tests/unit/*/*.[ch] bench/*.[ch])

.PHONY: all
all: dist/broadcaster dist/reader ## build both programs (optimised, hardened, debug info)

dist/broadcaster dist/reader: dist/%: $(OBJ)/%
	@mkdir -p $(@D)
	@install -m 755 $< $@

$(OBJ)/broadcaster: $(OBJ)/cmd/broadcaster/main.o $(LIB_BROADCASTER) $(LIB_COMMON)
	$(LINK) -o $@ $^ $(LDLIBS)
$(OBJ)/reader: $(OBJ)/cmd/reader/main.o $(LIB_READER) $(LIB_COMMON)
	$(LINK) -o $@ $^ $(LDLIBS)

$(LIB_COMMON): $(call objects,$(COMMON_SRC))
$(LIB_BROADCASTER): $(call objects,$(BROADCASTER_SRC))
$(LIB_READER): $(call objects,$(READER_SRC))
$(LIBS):
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(OBJ)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c -o $@ $<

$(OBJ)/tests/unit/%: $(OBJ)/tests/unit/%.o $(LIBS)
	$(LINK) -o $@ $^ $(LIBS) -lcheck -lsubunit -lm -lrt $(LDLIBS)
$(OBJ)/bench/%: $(OBJ)/bench/%.o $(LIB_COMMON)
	$(LINK) -o $@ $^ $(LDLIBS)

.PHONY: unit
unit: $(UNIT_BIN) ## build and run the unit tests
	@fail=0; for t in $(UNIT_BIN); do $$t || { echo "FAILED $$t"; fail=1; }; done; exit $$fail

dist/obj/fuzz/tests/fuzz/%: tests/fuzz/%.c $(COMMON_SRC) $(wildcard common/*.h)
	@mkdir -p $(@D)
	clang $(CPPFLAGS) -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -o $@ $< $(COMMON_SRC) $(LDLIBS)
.PHONY: fuzz-build
fuzz-build: $(FUZZ_BIN)

.PHONY: clean
clean: ## remove everything that was built
	rm -rf dist

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z][a-zA-Z_-]*:.*##' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
.SECONDARY:
