# ioladder: GNU make.  `make help` lists what there is.
#
# Everything is found by wildcard: a new test, stage or micro-benchmark needs no
# change here.  V picks a flavour (asan, tsan) that is built beside the plain
# one; Q= shows the commands.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
Q ?= @

V ?=
ifeq ($(filter $(V),asan tsan),$(V))
else
$(error V must be empty, asan or tsan)
endif
B := build$(if $(V),/$(V))

# ---- tools ----
ifeq ($(origin CC),default)
CC := gcc
endif
AR := ar
CLANG ?= clang
# The distribution's interpreter: it is the one that sees the packages.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)

# ---- flags ----
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla \
	-Wno-psabi
WERROR ?=
OPT := -O2
SAN_FLAGS :=
ifeq ($(V),asan)
OPT := -O1 -fno-omit-frame-pointer
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
endif
ifeq ($(V),tsan)
OPT := -O1 -fno-omit-frame-pointer
SAN_FLAGS := -fsanitize=thread
endif
# stages/ is there so that a part has one name everywhere: "parts/park.h".
# Last, so that what is said on the command line wins and our own stays.
CPPFLAGS_ALL = -D_GNU_SOURCE -Icommon -Istages $(CPPFLAGS)
CFLAGS_ALL = -std=gnu17 $(OPT) -g $(WARNINGS) $(WERROR) -pthread $(SAN_FLAGS) \
	$(CFLAGS)
LDFLAGS_ALL = -pthread $(SAN_FLAGS) $(LDFLAGS)
LIBS := -lm
URING := -luring
CRITERION := -lcriterion

# The compiler and the flags decide what is up to date too: the stamp changes
# when they do.
FLAGS_NOW := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL)

export ASAN_OPTIONS ?= detect_stack_use_after_return=1
export UBSAN_OPTIONS ?= print_stacktrace=1
export TSAN_OPTIONS ?= second_deadlock_stack=1:handle_segv=0:handle_abort=0
export V

# ---- what there is ----
STAGE_DIRS := $(patsubst %/server.c,%,\
	$(sort $(wildcard stages/[0-9]-*/server.c)))
number = $(firstword $(subst -, ,$(notdir $(1))))
STAGES := $(foreach d,$(STAGE_DIRS),$(call number,$(d)))
STAGE_BINS := $(STAGES:%=$(B)/stage%)

VARIANTS := $(patsubst stages/variants/%.patch,%,\
	$(sort $(wildcard stages/variants/*.patch)))
VARIANT_BINS := $(VARIANTS:%=$(B)/variants/%)
VARIANT_FAULTS := $(VARIANTS:%=$(B)/variants/fault/%)
# Those that the tests of the stages start, too (server_places() in server.h).
PLACES := $(if $(filter 5,$(STAGES)),\
	$(patsubst %,$(B)/variants/%,$(filter 5-place-%,$(VARIANTS))))

COMMON_SRC := $(wildcard common/*.c)
PARTS_SRC := $(wildcard stages/parts/*.c)
LOADGEN_SRC := $(wildcard bench/loadgen/*.c)
MICRO_SRC := $(wildcard bench/micro/*.c)
SIM_SRC := $(wildcard bench/sim/*.c)
TEST_COMMON_SRC := $(wildcard common/tests/test_*.c)
TEST_BENCH_SRC := $(wildcard bench/tests/test_*.c)
DRIVERS := $(patsubst common/tests/%.c,$(B)/%,\
	$(wildcard common/tests/*_driver.c))
TEST_SERVERS_SRC := $(filter-out %/fault_wrap.c,$(wildcard stages/tests/*.c))
FAULT_SRC := $(wildcard stages/tests/fault_wrap.c)
FUZZ_SRC := $(wildcard common/tests/fuzz_*.c)
VERIFY_SRC := $(wildcard stages/tests/verify/*.c stages/tests/verify/*.sh)
TEST_PARTS_SRC := $(wildcard stages/parts/tests/test_*.c)
TEST_LOCKFREE_SRC := $(wildcard stages/tests/lockfree/test_*.c)
LONG_SRC := $(wildcard stages/tests/long/*.c)

LIBCOMMON := $(B)/common/libcommon.a
# What a stage or a test takes of it is what it names.
LIBPARTS := $(if $(PARTS_SRC),$(B)/stages/parts/libparts.a)
LOADGEN := $(if $(LOADGEN_SRC),$(B)/loadgen)
LIBLOADGEN := $(if $(LOADGEN_SRC),$(B)/bench/loadgen/libloadgen.a)
MICRO := $(MICRO_SRC:bench/micro/%.c=$(B)/micro/%)
TEST_COMMON := $(if $(TEST_COMMON_SRC),$(B)/test_common)
TEST_BENCH := $(if $(TEST_BENCH_SRC),$(B)/test_bench)
# Only the servers are under test there, so the runner is a plain one: Criterion
# cannot set up its memory inside ThreadSanitizer's address layout.
TEST_SERVERS := $(if $(TEST_SERVERS_SRC),$(B:build/tsan=build)/test_servers)
# The tests of stage 6 take this variant to see the faults of a ring.
FAULT_BINS := $(if $(FAULT_SRC),$(STAGES:%=$(B)/fault/stage%) \
	$(filter %/6-submit-batch,$(VARIANT_FAULTS)))
FUZZERS := $(FUZZ_SRC:common/tests/fuzz_%.c=build/fuzz/%)
TEST_PARTS := $(if $(TEST_PARTS_SRC),$(B)/test_parts)
TEST_LOCKFREE := $(if $(TEST_LOCKFREE_SRC),$(B)/test_lockfree)

.PHONY: all help
all: $(STAGE_BINS) $(LOADGEN) $(MICRO) $(B)/sim

help:
	@sed -n 's/^## //p' Makefile

## make                 the servers, the load generator, the micro-benchmarks
## make bench           installs what is missing, measures all stages, reports
## make test            installs what is missing, runs every test (V=asan|tsan;
##                      SHORT=1: what echo and HTTP share with HTTP alone)
## make format          clang-format on all C files
## make snippets        brings quotations in the docs up to date
## make lint            formatting, static analysis, stage diffs, docs checks
## make long            STAGE=5 SECONDS=600 ARGS=..: mixed faults, under ASan
## make valgrind        every stage answers and exits clean under valgrind
## make fuzz            libFuzzer, FUZZ_SECONDS=60 in all
## make differential    the HTTP parser beside the one of Node.js
## make verify          explores the interleavings of the lock-free parts
## make advise          prices of this machine, and what follows from them
## make flame           STAGE=3: where it spends its CPU, as a picture; DIFF=2
## make traces          records the examples of docs/tracing.md; as root
## make claims          verdicts on the article's claims; CLAIM=A8: one of them
## make cycles          10,000 times start, fault and stop, each stage
## make contribute      ten minutes of measuring, as a folder for others
## make compare         A=set B=set: two machines side by side
## make timeline        STAGE=3: what each thread does for four requests
## make lab             LAB=0: the starter of a lab, in labs/work/
## make grade           LAB=0: your points; TEST=suite/test: of one test, also
##                      with SAN=1 (ASan; or SANITIZER=tsan) or GDB=1
## make watch           LAB=0 TEST=..: the same whenever you save a file
## make grade-all       LAB=0 DIR=folder CSV=out.csv HOSTS=a,b JOBS=4: a class
## make export          FORMAT=gradescope RESULT=r.json: for another system
## make handout         LAB=0: the tar that students get
## make autograder      LAB=0: the zip that Gradescope takes
## make instructor-kit  answers, tests with other data, plans, questions
## make labs-test       grades the grader; LABS_REPEAT=20 before a course
## make deps            the packages; make deps-all adds linters and peers
## make diff-2-3        what stage 3 changes in stage 2
## make variants        the stages with one thing changed: build/variants/
## make variant         NAME=4-recv-plain: opens a working copy of one
## make variant-save    NAME=..: writes what was changed there back
## make test-variants   every test of the servers, against the variants
## make noprobe         the stages without static probes: build/noprobe/
## make doctor          what this machine can run and grade
## make clean           removes build/

# ---- compiling ----
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS_NOW)' | cmp -s - $@ || echo '$(FLAGS_NOW)' > $@
.PHONY: FORCE
FORCE:

# One rule for all C: build[/V]/PATH.o from PATH.c.  A file sees the headers of
# its own folder, of common/ and of the folders named for it below.
$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(if $(Q),@echo '  CC   $@')
	$(Q)$(CC) $(CPPFLAGS_ALL) $(INC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define link
	@mkdir -p $(@D)
	$(if $(Q),@echo '  LINK $@')
	$(Q)$(CC) -o $@ $(filter %.o,$^) $(LDFLAGS_ALL) $(1) \
		$(filter %.a,$^) $(LIBS)
endef

%.a:
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(LIBCOMMON): $(COMMON_SRC:%.c=$(B)/%.o)
$(B)/stages/parts/libparts.a: $(PARTS_SRC:%.c=$(B)/%.o)
$(B)/bench/loadgen/libloadgen.a: $(LOADGEN_SRC:%.c=$(B)/%.o)

# The sources that a test or a micro-benchmark looks into.
$(B)/bench/tests/%.o: INC = -Ibench/loadgen
$(B)/bench/micro/%.o $(B)/bench/sim/%.o: INC = -Ibench/loadgen
$(B)/bench/micro/queues.o: INC = -Ibench/loadgen -DHAVE_CK=$(if $(CK),1,0)

# ---- the stages ----
needs_uring = $(if $(filter 1 2,$(1)),,$(URING))

# The calls that the fault-injection builds can make fail.
WRAPPED := getaddrinfo recv send accept4 epoll_wait epoll_ctl poll pthread_create read \
	pread preadv2 write syscall malloc calloc realloc aligned_alloc io_uring_submit \
	io_uring_submit_and_wait io_uring_submit_and_wait_timeout
WRAP_FLAGS := $(WRAPPED:%=-Wl,--wrap=%)

ifeq ($(V),tsan)
TSAN_SIGNALS := $(B)/common/tests/tsan/signals.o
endif

define stage_rules
$(B)/stage$(1): $$(patsubst %.c,$(B)/%.o,$$(wildcard $(2)/*.c)) \
		$(TSAN_SIGNALS) $(LIBPARTS) $(LIBCOMMON)
	$$(call link,$(call needs_uring,$(1)))
$(B)/fault/stage$(1): $$(patsubst %.c,$(B)/%.o,$$(wildcard $(2)/*.c)) \
		$(FAULT_SRC:%.c=$(B)/%.o) $(TSAN_SIGNALS) $(LIBPARTS) $(LIBCOMMON)
	$$(call link,$$(WRAP_FLAGS) $(call needs_uring,$(1)))
endef
$(foreach d,$(STAGE_DIRS),$(eval $(call stage_rules,$(call number,$(d)),$(d))))

# The same without static probes, to see that these cost nothing (probe.h):
#   bench/run.py --servers stage3 --add off=build/noprobe/stage3
define noprobe_rules
$(B)/noprobe/stage$(1): $(wildcard $(2)/*.[ch]) $(wildcard common/*.h) \
		$(wildcard stages/parts/*.h) $(B)/flags $(TSAN_SIGNALS) \
		$(LIBPARTS) $(LIBCOMMON)
	@mkdir -p $$(@D)
	$(if $(Q),@echo '  CC   $$@')
	$(Q)$(CC) -DIOLADDER_PROBES=0 $$(CPPFLAGS_ALL) $$(CFLAGS_ALL) -o $$@ \
		$(2)/*.c $$(filter %.o,$$^) $$(LDFLAGS_ALL) \
		$(call needs_uring,$(1)) $$(filter %.a,$$^) $$(LIBS)
endef
$(foreach d,$(STAGE_DIRS),$(eval $(call noprobe_rules,$(call number,$(d)),$(d))))
.PHONY: noprobe
noprobe: $(STAGES:%=$(B)/noprobe/stage%)

# ---- variants ----
# A variant is a difference (stages/variants/NAME.patch).  It is applied to a
# copy of the stage and of the parts, and compiled in one step.
VARIANT_SRC := build/variants/src
VARIANT_DEPS := stages/variants.py $(wildcard stages/parts/*.[ch])
define compile_variant
	@mkdir -p $(@D)
	$(if $(Q),@echo '  CC   $@')
	$(Q)$(CC) -I$(<D) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -o $@ \
		$(<D)/*/*.c $(filter %.o,$^) $(LDFLAGS_ALL) $(1) \
		$(filter %.a,$^) $(URING) $(LIBS)
endef
define variant_rules
$(VARIANT_SRC)/$(1)/.unpacked: stages/variants/$(1).patch $(VARIANT_DEPS) \
		$(wildcard stages/$(call number,$(1))-*/*.[ch])
	$(Q)$(PYTHON) stages/variants.py unpack $(1) $$(@D) && touch $$@
$(B)/variants/$(1): $(VARIANT_SRC)/$(1)/.unpacked $(wildcard common/*.h) \
		$(B)/flags $(TSAN_SIGNALS) $(LIBCOMMON)
	$$(call compile_variant)
$(B)/variants/fault/$(1): $(VARIANT_SRC)/$(1)/.unpacked \
		$(wildcard common/*.h) $(B)/flags $(FAULT_SRC:%.c=$(B)/%.o) \
		$(TSAN_SIGNALS) $(LIBCOMMON)
	$$(call compile_variant,$$(WRAP_FLAGS))
endef
$(foreach v,$(VARIANTS),$(eval $(call variant_rules,$(v))))

.PHONY: variants variant variant-save
variants: $(VARIANT_BINS)
variant:
	$(Q)$(PYTHON) stages/variants.py open '$(NAME)'
variant-save:
	$(Q)$(PYTHON) stages/variants.py save '$(NAME)'

# ---- the generator and the micro-benchmarks ----
$(B)/loadgen: $(LOADGEN_SRC:%.c=$(B)/%.o) $(LIBPARTS) $(LIBCOMMON)
	$(call link,$(URING))

# Concurrency Kit, if a program with it links: a cross compiler may find the
# header of the machine it runs on, and no library.
CK_TRY := printf '\#include <ck_ring.h>\nint main(void) { return 0; }\n'
CK = $(shell $(CK_TRY) | $(CC) -x c -o /dev/null - -lck 2>/dev/null && echo -lck)
$(B)/micro/%: $(B)/bench/micro/%.o $(LIBLOADGEN) $(LIBPARTS) \
		$(LIBCOMMON)
	$(call link,$(URING) $(if $(filter queues,$*),$(CK)))

$(B)/sim: $(SIM_SRC:%.c=$(B)/%.o) $(LIBLOADGEN) $(LIBCOMMON)
	$(call link)

# ---- tests ----
# Under tsan the unit tests have a small runner of their own.
ifeq ($(V),tsan)
CRITERION :=
TSAN_RUN := $(B)/common/tests/tsan/run.o
$(B)/common/tests/%.o: INC = -Icommon/tests/tsan
$(B)/bench/tests/%.o: INC = -Icommon/tests/tsan -Ibench/loadgen
$(B)/stages/tests/lockfree/%.o: INC = -Icommon/tests/tsan
$(B)/stages/parts/tests/%.o: INC = -Icommon/tests/tsan
endif
# libcriterion comes before the archives: its main() is the one to take.
$(B)/test_common: $(TEST_COMMON_SRC:%.c=$(B)/%.o) $(TSAN_RUN) $(LIBCOMMON)
	$(call link,$(CRITERION))
$(B)/%_driver: $(B)/common/tests/%_driver.o $(LIBCOMMON)
	$(call link)
$(B)/test_bench: $(TEST_BENCH_SRC:%.c=$(B)/%.o) $(TSAN_RUN) $(LIBLOADGEN) \
		$(LIBPARTS) $(LIBCOMMON)
	$(call link,$(CRITERION) $(URING))
$(B)/test_parts: $(TEST_PARTS_SRC:%.c=$(B)/%.o) $(TSAN_RUN) $(LIBPARTS) \
		$(LIBCOMMON)
	$(call link,$(CRITERION) $(URING))
$(B)/test_lockfree: $(TEST_LOCKFREE_SRC:%.c=$(B)/%.o) $(TSAN_RUN)
	$(call link,$(CRITERION))
ifneq ($(V),tsan)
$(B)/test_servers: $(TEST_SERVERS_SRC:%.c=$(B)/%.o) $(LIBCOMMON)
	$(call link,$(CRITERION))
else
build/test_servers: FORCE
	$(Q)$(MAKE) --no-print-directory V= $@
endif

# Only the tests of the load generator look at the flavour: the others would be
# the same again.
PY_TESTS := $(if $(V),bench/tests/test_loadgen.py,$(wildcard \
	.ci/tests/test_*.py common/tests/test_*.py stages/tests/test_*.py \
	bench/tests/test_*.py plots/tests/test_*.py docs/tests/test_*.py \
	labs/tests/test_*.py))
# Three rows side by side, about as long as each other: what measures; the runner
# on fakes, which waits most of its time; the others.
PY_TIMED := $(filter $(patsubst %,bench/tests/test_%.py,loadgen uneven), \
	$(PY_TESTS))
PY_RUNS := $(filter $(patsubst %,bench/tests/test_%.py, \
	run method remote sittings) labs/tests/test_class.py,$(PY_TESTS))
PY_OTHERS := $(filter-out $(PY_TIMED) $(PY_RUNS),$(PY_TESTS))

# A test of a server waits most of its time: so many run at once.
JOBS ?= $(if $(filter tsan,$(V)),4,6)

.PHONY: test check test-build test-common test-bench test-parts \
	test-lockfree test-servers test-variants test-python
test: deps
	$(Q)$(MAKE) --no-print-directory check

test-build: $(STAGE_BINS) $(LOADGEN) $(TEST_COMMON) $(TEST_BENCH) \
	$(TEST_PARTS) $(TEST_LOCKFREE) $(TEST_SERVERS) $(FAULT_BINS) \
	$(PLACES) $(DRIVERS)

# In .ci/run AGAIN is set: then a test that failed is asked again, alone.
ASKED = $(if $(AGAIN),$(PYTHON) .ci/again.py)

suite = $(if $(2),echo == $(1)$(if $(V),' [$(V)]'); $(2),true)

# The suites run one after the other, so that none disturbs another's timing;
# a failing suite does not hide the next.
CHECKS := test-common test-bench test-parts test-lockfree test-servers \
	test-python \
	$(if $(filter tsan,$(V)),,differential)
check: test-build
	@failed=; for t in $(CHECKS); do \
		$(MAKE) --no-print-directory $$t || failed="$$failed $$t"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi; \
	echo "all tests passed$(if $(V), ($(V)))"

test-common: $(TEST_COMMON)
	@$(call suite,'common: bytes only',$(TEST_COMMON))
test-bench: $(TEST_BENCH) $(LOADGEN) $(STAGE_BINS)
	@$(call suite,'the load generator',$(TEST_BENCH:%=$(if $(CRITERION),$(ASKED)) %))
test-parts: $(TEST_PARTS)
	@$(call suite,'parts of the stages',$(TEST_PARTS))
test-lockfree: $(TEST_LOCKFREE)
	@$(call suite,'queues without locks',$(TEST_LOCKFREE))
# SHORT=1: what holds for any protocol is tried with HTTP alone.
SHORT ?=
test-servers: $(TEST_SERVERS) $(STAGE_BINS) $(FAULT_BINS) $(PLACES)
	@failed=0; for n in $(if $(TEST_SERVERS),$(STAGES)); do \
		for APP in http echo; do \
			export APP SERVER=$(B)/stage$$n FAULT=$(B)/fault/stage$$n; \
			export STAGE=$$n; only=; \
			$(if $(SHORT),[ $$APP = http ] || only='--filter=echo_*/*';) \
			$(call suite,"stage $$n $$APP",$(ASKED) $(TEST_SERVERS) \
				-j$(JOBS) $$only) \
				|| failed=1; \
		done; \
	done; exit $$failed
# VARIANTS=4-recv-plain picks some; TESTS='drain|modes' picks test suites: these
# three need no builds that make calls fail.
TESTS ?=
faultless = $(and $(TESTS),$(if $(filter-out \
	drain modes whatif,$(subst |, ,$(TESTS))),,yes))
test-variants: $(TEST_SERVERS) $(VARIANT_BINS) \
		$(if $(faultless),,$(VARIANT_FAULTS))
	@failed=0; for n in $(if $(TEST_SERVERS),$(VARIANTS)); do \
		for APP in http $(if $(SHORT),,echo); do \
			export APP SERVER=$(B)/variants/$$n; \
			export FAULT=$(B)/variants/fault/$$n; \
			$(call suite,"variant $$n $$APP",$(ASKED) $(TEST_SERVERS) -j$(JOBS) \
				$(if $(TESTS),--filter "@(any|$$APP)_@($(TESTS))/*")) \
				|| failed=1; \
		done; \
	done; exit $$failed
py_tests = $(if $(1),$(PYTHON) .ci/again.py --python $(1),true) 2>&1
test-python: $(STAGE_BINS) $(LOADGEN) \
		$(if $(V),,$(MICRO) $(B)/sim $(DRIVERS) $(FAULT_BINS))
	@failed=0; \
	$(call py_tests,$(PY_TIMED)) >$(B)/test-timed.log & timed=$$!; \
	$(call py_tests,$(PY_RUNS)) >$(B)/test-runs.log & runs=$$!; \
	$(call py_tests,$(PY_OTHERS)) || failed=1; \
	wait $$runs || failed=1; cat $(B)/test-runs.log; \
	wait $$timed || failed=1; cat $(B)/test-timed.log; exit $$failed

# Under ASan unless V says otherwise; the peers are a plain build in any case.
STAGE ?= $(lastword $(STAGES))
SECONDS ?= 60
ARGS ?=
LONG_ARGS ?=
build/long: $(LONG_SRC:%.c=build/%.o)
	$(call link)
.PHONY: long long-run
long:
	$(Q)$(MAKE) --no-print-directory V= build/long
	$(Q)$(MAKE) --no-print-directory V=$(or $(V),asan) long-run
long-run: $(B)/stage$(STAGE)
	build/long --seconds=$(SECONDS) $(LONG_ARGS) $< $(ARGS)

.PHONY: valgrind
valgrind: $(STAGE_BINS)
	$(Q)$(PYTHON) .ci/valgrind_exit.py $(STAGE_BINS)

# ---- fuzzing and verification ----
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := -std=gnu17 -O1 -g -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=undefined -pthread
FUZZ_OBJ := $(COMMON_SRC:%.c=build/fuzz/obj/%.o)

build/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo '  FUZZ $@')
	$(Q)$(CLANG) $(CPPFLAGS_ALL) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link \
		-MMD -MP -c -o $@ $<
build/fuzz/%: build/fuzz/obj/common/tests/fuzz_%.o $(FUZZ_OBJ)
	$(if $(Q),@echo '  LINK $@')
	$(Q)$(CLANG) -o $@ $^ $(FUZZ_FLAGS) -fsanitize=fuzzer $(LIBS)

# New inputs go to build/; the corpus in the repository is only read.
.PHONY: fuzz verify list-verify
list-verify:
	@echo $(VERIFY_SRC)
fuzz: $(FUZZERS)
	@set -e; n=$(words $(FUZZERS)); \
	if [ $$n = 0 ]; then echo 'no fuzz targets'; exit 0; fi; \
	for f in $(FUZZERS); do \
		name=$$(basename $$f); mkdir -p build/fuzz/corpus/$$name; \
		echo "== fuzz $$name, $$(( $(FUZZ_SECONDS) / n )) s"; \
		$$f -max_total_time=$$(( $(FUZZ_SECONDS) / n )) -timeout=10 \
			-rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=build/fuzz/$$name- \
			build/fuzz/corpus/$$name $$(ls -d common/tests/corpus/$$name); \
	done

# Needs node, and says so when it is not there.
MUTATIONS ?= 20000
.PHONY: differential
differential: $(B)/parse_driver
	@echo '== differential, beside Node.js$(if $(V), [$(V)])'; \
	if command -v node >/dev/null; then \
		node common/tests/differential.mjs $< $(MUTATIONS); \
	else echo 'skipped: node is not installed'; fi

# It builds many variants of the headers itself, one for each planted bug.
verify:
	$(Q)CC="$(CC)" stages/tests/verify/run.sh build/verify

# ---- measuring ----
SUITE ?= quick
BENCH_ARGS ?=
.PHONY: bench bench-run
bench: deps
	$(Q)$(MAKE) --no-print-directory bench-run
bench-run: all variants
	$(Q)$(PYTHON) bench/run.py --suite $(SUITE) $(BENCH_ARGS)
	$(Q)failed=0; $(PYTHON) plots/draw.py >/dev/null || failed=1; \
		$(PYTHON) plots/report.py && exit $$failed

# What a request should cost on this machine, and what follows from that.
.PHONY: advise
advise: $(B)/micro/prices
	$(Q)$(PYTHON) bench/model.py --advise --build $(B)

# What the article claims: measured, and judged.  Again, it goes on.
CLAIM ?=
CLAIMS_OUT ?= build/claims
CLAIMS_ARGS ?=
.PHONY: claims cycles
claims: all variants test-build
	$(Q)$(PYTHON) bench/claims.py $(CLAIM) --out $(CLAIMS_OUT) $(CLAIMS_ARGS)
cycles: $(STAGE_BINS) $(FAULT_BINS)
	$(Q)$(PYTHON) bench/cycles.py --cycles 10000 $(ARGS)

# A folder with what this machine measures: bench/results/machines/.
.PHONY: contribute compare
contribute: all
	$(Q)$(PYTHON) bench/contribute.py --build $(abspath $(B)) $(BENCH_ARGS)
# B is the build folder elsewhere: here it is what the command line says.
SECOND = $(if $(filter command%,$(origin B)),$(B))
compare:
	$(Q)[ -n "$(A)" ] && [ -n "$(SECOND)" ] || { \
		echo "usage: make compare A=bench/results/machines/ONE B=...OTHER"; \
		exit 64; }
	$(Q)$(PYTHON) plots/report.py --compare "$(A)" "$(SECOND)" \
		--out build/compare

# What one stage does for the same four requests, as a picture.
.PHONY: timeline
timeline: $(STAGE_BINS)
	$(Q)$(PYTHON) bench/trace/record_timeline.py $(STAGE) \
		build/timeline/stage$(STAGE).json
	$(Q)$(PYTHON) plots/timeline.py build/timeline/stage$(STAGE).json \
		build/timeline/stage$(STAGE).svg

# Where a stage spends its CPU, as a picture; DIFF=2: what stage 2 does not.
DIFF ?=
FLAME := build/flame/stage
FLAME_ARGS ?= --seconds 3 --load '--connections 64'
flame_of = $(PYTHON) bench/trace.py flame --stage $(1) $(FLAME_ARGS) \
	--folded $(FLAME)$(1).folded --svg $(FLAME)$(1).svg
.PHONY: flame
flame: $(STAGE_BINS) $(LOADGEN)
	@mkdir -p $(dir $(FLAME))
	$(Q)$(call flame_of,$(STAGE))
	$(if $(DIFF),$(Q)$(call flame_of,$(DIFF)) && $(PYTHON) plots/flame.py \
		$(FLAME)$(STAGE).folded $(FLAME)$(STAGE)-$(DIFF).svg \
		$(FLAME)$(DIFF).folded)
	@ls $(FLAME)$(STAGE)*.svg

# What docs/tracing.md shows, recorded again; as root.
.PHONY: traces
traces: $(STAGE_BINS) $(LOADGEN)
	$(Q)$(PYTHON) docs/record_traces.py
	$(Q)$(PYTHON) docs/check_snippets.py --write

# ---- labs ----
LAB ?= 0
TEST ?=
SANITIZER ?= $(if $(SAN),asan)
SAN ?=
GDB ?=
LAB_OPTIONS = $(if $(TEST),--test $(TEST)) \
	$(if $(SANITIZER),--sanitizer $(SANITIZER))
LABS_REPEAT ?= 3
LABS_ARGS ?=
DIR ?=
CSV ?=
HOSTS ?=
SLURM ?=
TEST_SEED ?=
FORMAT ?= gradescope
RESULT ?=
OUT ?=
# The one result of `make grade`; `make export` reads it.
LAB_RESULT = $(or $(RESULT),build/labs/result-$(LAB).json)
# JOBS has another meaning, and a default, for the tests of the servers.
GRADE_JOBS = $(if $(filter command% environment%,$(origin JOBS)),$(JOBS))
.PHONY: lab grade watch labs-test grade-all export handout autograder instructor-kit
lab:
	$(Q).ci/deps build labs
	$(Q)$(PYTHON) labs/handout.py lab $(LAB)
grade:
	$(Q).ci/deps build labs
	$(Q)$(PYTHON) labs/grade.py $(LAB) $(LAB_OPTIONS) $(if $(GDB),--gdb) \
		$(if $(TEST),,--json $(LAB_RESULT))
watch:
	$(Q).ci/deps build labs
	$(Q)$(PYTHON) labs/watch.py $(LAB) $(LAB_OPTIONS)
grade-all:
	$(Q).ci/deps build labs class
	$(Q)[ -n "$(DIR)" ] && [ -n "$(CSV)" ] || { \
		echo "usage: make grade-all LAB=0 DIR=folder CSV=out.csv"; exit 64; }
	$(Q)$(PYTHON) labs/grade_all.py $(LAB) "$(DIR)" --csv "$(CSV)" \
		$(if $(GRADE_JOBS),--jobs $(GRADE_JOBS)) \
		$(if $(HOSTS),--hosts "$(HOSTS)") \
		$(if $(SLURM),--slurm "$(SLURM)") \
		$(if $(TEST_SEED),--test-seed $(TEST_SEED))
export:
	$(Q)$(PYTHON) labs/export.py $(FORMAT) \
		$(if $(filter classroom,$(FORMAT)),$(LAB),$(LAB_RESULT)) $(OUT)
handout:
	$(Q)$(PYTHON) labs/handout.py student $(LAB) build/ioladder-lab$(LAB).tar.gz
autograder:
	$(Q)$(PYTHON) labs/export.py autograder $(LAB) build/autograder-$(LAB).zip
instructor-kit:
	$(Q)$(PYTHON) labs/handout.py instructor build/ioladder-instructor.tar.gz
labs-test:
	$(Q).ci/deps build labs
	$(Q)$(PYTHON) labs/selftest.py --repeat $(LABS_REPEAT) $(LABS_ARGS)

# ---- machine ----
.PHONY: deps deps-lint deps-peers deps-trace deps-all doctor
deps:
	$(Q).ci/deps base
deps-lint:
	$(Q).ci/deps base lint labs class trace
deps-peers:
	$(Q).ci/deps base peers
deps-trace:
	$(Q).ci/deps base trace
deps-all:
	$(Q).ci/deps base lint labs class peers trace
doctor:
	$(Q).ci/doctor

# ---- keeping the tree in order ----
diff-%:
	$(Q)$(PYTHON) stages/stage_diff.py show $*

C_FILES = $(shell .ci/files . '*.c' '*.h')
SCRIPTS = $(shell .ci/files . | xargs grep -lE '^\#!.*/(env )?(ba)?sh')
# The analyser does not follow an assertion that leaves by longjmp, so tests
# are left to the compilers and to cppcheck.
TIDY_FILES := $(COMMON_SRC) $(PARTS_SRC) $(wildcard stages/[0-9]-*/*.c) \
	$(LOADGEN_SRC) $(MICRO_SRC) $(SIM_SRC)
TIDY_INC := -Ibench/loadgen

LINTS := lint-format lint-stages lint-tree lint-docs lint-python lint-shell \
	lint-cppcheck lint-clang-tidy
.PHONY: lint format snippets docs-check $(LINTS)
lint:
	$(Q).ci/deps base lint
	@failed=; for t in $(LINTS); do \
		$(MAKE) --no-print-directory $$t || failed="$$failed $$t"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi; \
	echo 'lint: no complaints'

# Each version of these three has rules of its own, and ours were chosen for one
# (Debian 12's): another one is named, and does not judge.
judges = v=$$($(1) --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+' | head -n1); \
	case $$v in $(2)|$(2).*) ;; \
	'') echo "$(1) is missing"; exit 1 ;; \
	*) echo "skipped: $(1) is $$v, the rules are those of $(2)"; exit 0 ;; \
	esac
CLANG_FORMAT ?= $(notdir $(or $(shell command -v clang-format-14),clang-format))
CLANG_TIDY ?= $(notdir $(or $(shell command -v clang-tidy-14),clang-tidy))
lint-format:
	@echo '== clang-format'
	$(Q)$(call judges,$(CLANG_FORMAT),14); \
	$(CLANG_FORMAT) --dry-run --Werror $(C_FILES)
format:
	$(Q)$(CLANG_FORMAT) -i $(C_FILES)
lint-stages:
	@echo '== stage_diff'
	$(Q)$(PYTHON) stages/stage_diff.py check
	$(Q)$(PYTHON) stages/variants.py check
	$(Q)$(PYTHON) stages/stage_diff.py table
lint-tree:
	@echo '== tidy, CITATION.cff'
	$(Q)$(PYTHON) .ci/tidy.py
	$(Q)$(PYTHON) .ci/check_citation.py
lint-docs docs-check: $(STAGE_BINS) $(LOADGEN)
	@echo '== quotations in the docs'
	$(Q)$(PYTHON) docs/check_snippets.py
	$(Q)$(PYTHON) plots/tables.py --check
	$(Q)$(PYTHON) .ci/numbers.py
snippets: $(STAGE_BINS) $(LOADGEN)
	$(Q)$(PYTHON) docs/check_snippets.py --write
lint-python:
	@echo '== flake8'
	$(Q)flake8
lint-shell:
	@echo '== shellcheck'
	$(Q)shellcheck -S warning $(SCRIPTS)
lint-cppcheck:
	@echo '== cppcheck'
	$(Q)$(call judges,cppcheck,2.10); \
	cppcheck -q -j2 --std=c11 --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability \
		--suppressions-list=.cppcheck \
		--include=.ci/cppcheck.h -D__x86_64__=1 \
		$(CPPFLAGS_ALL) -Ibench/loadgen \
		common bench stages
lint-clang-tidy:
	@echo '== clang-tidy'
	$(Q)$(call judges,$(CLANG_TIDY),14); \
	printf '%s\n' $(TIDY_FILES) | xargs -P2 -I{} sh -c \
		"$(CLANG_TIDY) --quiet {} -- -std=gnu17 $(CPPFLAGS_ALL) $(TIDY_INC) \
		2>/dev/null || exit 1"

.PHONY: clean
clean:
	rm -rf build

-include $(shell [ -d build ] && find build -name '*.d')
