# The test targets that need more than a program: included by ../Makefile.

SUITES := lint check-unit check-golden check-model-short fuzz-seeds check-mount check-crash \
	check-real check-vm check-san check-install
GUEST := $(BUILD)/guest
# What a test script needs to know of this build.
TEST_ENV = BUILD_BIN=$(abspath $(O)) GUEST=$(abspath $(GUEST))

.PHONY: guest check-golden check-model-short check-model check-threads fuzz-run

# Every suite, also after one failed; .ci/run reads the last line.
check: deps
	$(Q)[ "$$(id -u)" -eq 0 ] || { \
		echo "make check: error: needs root (FUSE mounts, libvirt)" >&2; \
		echo "hint: sudo make check, or make check-fast" >&2; exit 2; }
	+$(Q)$(TEST_ENV) MAKE='$(MAKE)' tests/lib/check $(BUILD)/check $(SUITES)

check-fast: lint check-unit check-golden check-model-short fuzz-seeds

# Random operations against a model, and threads against each other.
MODEL_OPS ?= $(if $(DEEP),1000000,300000)
MODEL_SHORT_OPS ?= 200000
RANDOM := $(O)/tests/model/random
THREADS := $(O)/tests/model/threads
QCOW2 := $(O)/tests/model/qcow2

check-model-short: $(RANDOM) $(THREADS) $(QCOW2)
	$(Q)OPS=$(MODEL_SHORT_OPS) $(RANDOM)
	$(Q)$(THREADS)
	$(Q)$(QCOW2)

check-model: $(RANDOM) $(QCOW2)
	$(Q)OPS=$(MODEL_OPS) $(RANDOM)
	$(Q)$(QCOW2)

# The kill loop's program without kills, for the thread sanitizer.
STRESSES := $(O)/tests/crash/stress $(O)/tiny/tests/crash/stress

check-threads: $(THREADS) $(STRESSES)
	$(Q)$(THREADS)
	$(Q)for program in $(STRESSES); do OPS=2000 "$$program" || exit 1; done

# Power cuts, kills and failing calls; each program says its seed and counts.
CRASHES := $(filter $(O)/tests/crash/%,$(MODELS)) $(filter $(O)/tiny/tests/crash/%,$(TINIES))

check-crash: $(CRASHES)
	$(Q)tests/lib/run-programs -v '$(TEST)' $(CRASHES)

# Each target with clang's fuzzer for FUZZ_SECONDS; what it finds lies in build/fuzz/found.
FUZZ_SECONDS ?= 60

fuzz:
	+$(Q)$(MAKE) --no-print-directory D=fuzz CC=$(CLANG) fuzz-run

fuzz-run: $(FUZZERS)
	$(Q)tests/fuzz/run $(O)/tests/fuzz $(O)/found $(FUZZ_SECONDS) '$(TEST)'

# The golden clones before libvirt's schema and its parser.
$(eval $(call test_program,tests/golden/check.c,clone/xml))
check-golden: $(O)/tests/golden/check
	$(Q)tests/golden/validate $<

guest:
	$(Q)tests/guest/make-guest $(GUEST)

# Makes clones without libvirt.
$(eval $(call program,$(O)/tests/mount/mkclone,tests/mount/mkclone.c,fs/daemon))
# Stamps every sector of mounted disks (tests/mount/kill.bats).
$(eval $(call test_program,tests/mount/stamper.c,fs/disk))

check-mount: $(PROGRAMS) $(O)/tests/mount/mkclone \
		$(O)/tests/mount/stamper
	$(Q)$(TEST_ENV) tests/mount/run '$(TEST)'

# Replays the log of a device's writes.
$(eval $(call test_program,tests/real/blocklog.c,fs/util))

check-real: $(O)/lazyclonefs $(O)/tests/real/blocklog $(O)/tiny/tests/real/tiny-device \
		$(O)/tests/mount/mkclone $(O)/tests/crash/stress guest
	$(Q)$(TEST_ENV) tests/real/run '$(TEST)'

# Stops a program at its Nth call that changes something (tests/vm/kill-steps.bats).
$(O)/tests/preload/stopat.so: tests/preload/stopat.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LINK    $@")
	$(Q)$(CC) $(filter-out -D_FILE_OFFSET_BITS=64,$(CFLAGS)) -UNDEBUG -fPIC -shared \
		$(LDFLAGS) -o $@ $<

check-vm: all guest $(O)/tests/preload/stopat.so
	$(Q)$(TEST_ENV) tests/vm/run '$(TEST)'

check-install: all
	$(Q)tests/lib/check-install '$(MAKE)'

check-san:
	+$(Q)$(MAKE) --no-print-directory D=asan check-unit check-model fuzz-seeds
	+$(Q)$(MAKE) --no-print-directory D=tsan check-unit check-threads

demo:
	+$(Q)$(TEST_ENV) MAKE='$(MAKE)' contrib/demo

demo-clean:
	$(Q)$(TEST_ENV) contrib/demo clean

check-fresh:
	$(Q)tests/fresh/run

# The store without a daemon: tests/bench/NAME.c.
BENCH_SRC := $(sort $(wildcard tests/bench/*.c))
$(foreach t,$(BENCH_SRC),$(eval $(call test_program,$(t),fs/disk)))

bench: all guest $(BENCH_SRC:%.c=$(O)/%) $(O)/tests/mount/mkclone
	$(Q)$(TEST_ENV) BENCH_OUT=$(abspath $(BUILD))/bench.json tests/bench/run
