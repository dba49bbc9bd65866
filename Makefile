# lazyclone: one plain Makefile.
#
# Targets   all          the programs
#           deps         install what building and testing needs (apt, root)
#           install      DESTDIR= PREFIX=
#           check        everything below
#           check-fast   lint, unit and model tests, fuzz seeds; needs no root
#           check-mount  the daemon on real FUSE mounts (root)
#           check-crash  power cuts and kills
#           check-real   real file systems over devices that stop or fail (root)
#           check-vm     real libvirt, real QEMU guests (root)
#           check-san    unit and model tests under ASan+UBSan, then TSan
#           check-fresh  both README commands in a new Debian tree (root)
#           lint fuzz bench demo demo-clean clean
# Knobs     V=1          show commands
#           D=asan|ubsan|tsan|gcov   another object tree: build/$(D)
#           WERROR=1     warnings are errors
#           TEST=glob    run only tests whose name matches
#           BUILD=dir    object trees elsewhere

BUILD ?= build
D ?=
V ?= 0
WERROR ?= 0
TEST ?= *

DESTDIR ?=
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
# Where libvirt looks, wherever we are.
SYSCONFDIR ?= /etc
HOOKDIR ?= $(SYSCONFDIR)/libvirt/hooks/qemu.d
UNITDIR ?= $(if $(filter /usr,$(PREFIX)),/lib/systemd/system,$(PREFIX)/lib/systemd/system)

CC ?= cc
CLANG ?= clang
PKG_CONFIG ?= pkg-config
VERSION := 0.1

O := $(BUILD)/$(if $(D),$(D),plain)
Q := $(if $(filter 1,$(V)),,@)

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wwrite-strings -Wformat=2 -Wno-format-nonliteral -Wno-unused-parameter
override CFLAGS += -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -MMD -MP -pthread \
	-DLAZYCLONE_VERSION='"$(VERSION)"' -DLAZYCLONE_SBINDIR='"$(SBINDIR)"' $(WARN)
ifeq ($(WERROR),1)
override CFLAGS += -Werror
endif
SAN_asan := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN_ubsan := -fsanitize=undefined -fno-sanitize-recover=all
SAN_tsan := -fsanitize=thread
SAN_gcov := --coverage
SAN_fuzz := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
override CFLAGS += $(SAN_$(D))
override LDFLAGS += -pthread $(SAN_$(D))

# ---- rooms: sources, third-party libraries, and what each room stands on ----

ROOMS := fs/util fs/store fs/base fs/disk fs/ctl fs/mount fs/daemon \
	clone/xml clone/virt clone/state clone/plan clone/cmd tools
src = $(sort $(wildcard $(1)/*.c))
lib = $(O)/$(1)/room.a

ON_fs/util :=
ON_fs/store := fs/util
ON_fs/base := fs/util
ON_fs/ctl := fs/util
ON_fs/disk := fs/base fs/store fs/util
ON_fs/mount := fs/disk fs/base fs/store fs/util
ON_fs/daemon := fs/mount fs/disk fs/base fs/store fs/ctl fs/util
ON_clone/xml := fs/util
ON_clone/virt := fs/util
ON_clone/state := fs/util
ON_clone/plan := clone/state clone/xml clone/virt fs/disk fs/base fs/store fs/ctl fs/util
ON_clone/cmd := clone/plan $(ON_clone/plan)
ON_tools := fs/disk fs/base fs/store fs/ctl fs/util

PKG_fs/util := libxxhash
PKG_fs/store := liblz4 jansson
PKG_fs/base := jansson zlib libzstd
PKG_fs/ctl := jansson
PKG_fs/mount := fuse3
PKG_fs/daemon := jansson
PKG_clone/xml := libxml-2.0
PKG_clone/virt := libvirt
PKG_clone/state := uuid jansson
PKG_clone/plan := jansson
PKG_clone/cmd := smartcols jansson
PKG_tools := smartcols jansson

pkg_of = $(sort $(foreach r,$(1),$(PKG_$(r))))
# These goals build nothing here (or by a make of their own) and may run before
# pkg-config is installed.
BARE_GOALS := deps check check-fresh demo demo-clean clean
ifneq ($(filter-out $(BARE_GOALS),$(or $(MAKECMDGOALS),all)),)
cflags_of = $(if $(call pkg_of,$(1)),$(shell $(PKG_CONFIG) --cflags $(call pkg_of,$(1))))
libs_of = $(if $(call pkg_of,$(1)),$(shell $(PKG_CONFIG) --libs $(call pkg_of,$(1))))
endif

TOOLS := lazyclone-info lazyclone-fsck lazyclone-export
PROGRAMS := $(O)/lazyclonefs $(O)/lazyclone $(TOOLS:%=$(O)/%)

.PHONY: all deps install check check-fast check-unit check-mount check-crash check-vm check-san \
	check-fresh check-install check-headers lint fuzz fuzz-seeds fuzz-build bench demo demo-clean \
	clean tests
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

all: $(PROGRAMS)

define room_rules
CFLAGS_$(1) := $$(call cflags_of,$(1))
$(O)/$(1)/%.o: $(1)/%.c
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  CC      $$<")
	$$(Q)$$(CC) $$(CFLAGS) $$(CFLAGS_$(1)) -c -o $$@ $$<
$(call lib,$(1)): $(patsubst %.c,$(O)/%.o,$(call src,$(1)))
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  AR      $$@")
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room_rules,$(r))))

# $(call program,binary,main source,top room)
define program
$(1): $(O)/$(2:.c=.o) $(call lib,$(3)) $(foreach r,$(ON_$(3)),$(call lib,$(r)))
	@mkdir -p $$(@D)
	$$(if $$(Q),@echo "  LINK    $$@")
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group \
		$$(call libs_of,$(3) $(ON_$(3)))
endef
$(eval $(call program,$(O)/lazyclonefs,fs/main.c,fs/daemon))
$(eval $(call program,$(O)/lazyclone,clone/main.c,clone/cmd))
$(foreach t,$(TOOLS),$(eval $(call program,$(O)/$(t),tools/$(t:lazyclone-%=%).c,tools)))
$(O)/fs/main.o: fs/main.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC      $<")
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<
$(O)/clone/main.o: clone/main.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC      $<")
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

# ---- tests: tests/unit/ROOM/test-MODULE.c links its room and what it stands on ----

UNIT_SRC := $(sort $(wildcard tests/unit/*/*/test-*.c))
UNITS := $(UNIT_SRC:%.c=$(O)/%)
MODEL_SRC := $(filter-out $(wildcard tests/crash/tiny-*.c),\
	$(sort $(wildcard tests/model/*.c tests/crash/*.c)))
MODELS := $(MODEL_SRC:%.c=$(O)/%)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz-*.c))
FUZZERS := $(FUZZ_SRC:%.c=$(O)/%)

room_of_unit = $(patsubst tests/unit/%/,%,$(dir $(1)))
TEST_HELPERS := $(sort $(wildcard tests/lib/*.c))
TEST_HELPER_OBJS := $(TEST_HELPERS:%.c=$(O)/%.o)

$(O)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC      $<")
	$(Q)$(CC) $(CFLAGS) -UNDEBUG $(call cflags_of,clone/xml fs/mount) -c -o $@ $<

$(O)/tests/helpers.a: $(TEST_HELPER_OBJS)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# $(call test_program,source,room)
define test_program
$(O)/$(1:.c=): $(O)/$(1:.c=.o) $(O)/tests/helpers.a $(call lib,$(2)) \
		$(foreach r,$(ON_$(2)),$(call lib,$(r)))
	$$(if $$(Q),@echo "  LINK    $$@")
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group \
		$$(call libs_of,$(2) $(ON_$(2))) -lcmocka
endef
$(foreach t,$(UNIT_SRC),$(eval $(call test_program,$(t),$(call room_of_unit,$(t)))))
# Model and crash programs drive the data plane through the disk room.
$(foreach t,$(MODEL_SRC),$(eval $(call test_program,$(t),fs/disk)))

# Programs in which an allocation can be made to fail (tests/lib/nomem.h).
NOMEM_LDFLAGS := $(foreach f,malloc calloc realloc reallocarray posix_memalign strdup strndup \
	asprintf,-Wl,--wrap=$(f))
$(O)/tests/crash/faults $(O)/tiny/tests/crash/faults $(O)/tests/crash/store-faults: \
	override LDFLAGS += $(NOMEM_LDFLAGS)

# A count that no damage of files makes wrong.
$(O)/tests/unit/fs/store/test-problems: override LDFLAGS += -Wl,--wrap=index_slot_live

# A program that looks at how much is allocated at once.
$(O)/tests/crash/qcow2-mutate: \
	override LDFLAGS += $(foreach f,malloc calloc aligned_alloc,-Wl,--wrap=$(f))

# Programs of tests/crash and tests/real named tiny-*.c get a store whose segments are
# so small that a few writes fill, empty and reuse them (SLOT_TINY in
# fs/store/slot.h); some run with both.
TINY_SRC := $(sort $(wildcard tests/crash/tiny-*.c tests/real/tiny-*.c)) tests/crash/stress.c \
	tests/crash/faults.c tests/crash/damage.c
TINIES := $(TINY_SRC:%.c=$(O)/tiny/%)
TINY_PARTS := $(patsubst %.c,$(O)/tiny/%.o,$(call src,fs/store) $(TEST_HELPERS))

$(O)/tiny/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC      $< (tiny)")
	$(Q)$(CC) $(CFLAGS) -DSLOT_TINY -UNDEBUG $(call cflags_of,fs/store clone/xml fs/mount) -c -o $@ $<
$(O)/tiny/parts.a: $(TINY_PARTS)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(TINIES): %: %.o $(O)/tiny/parts.a $(foreach r,fs/disk fs/base fs/util,$(call lib,$(r)))
	$(if $(Q),@echo "  LINK    $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(call libs_of,fs/disk $(ON_fs/disk)) -lcmocka

# A fuzz target names its room in its first lines: "room: fs/store".
fuzz_room = $(shell sed -n 's/.*room: \([a-z/]*\).*/\1/p' $(1) | head -n 1)
# Under D=fuzz (make fuzz) the fuzzer brings the main, else standalone.c does.
FUZZ_MAIN := $(if $(filter fuzz,$(D)),,$(O)/tests/fuzz/standalone.o)
FUZZ_LDFLAGS := $(if $(filter fuzz,$(D)),-fsanitize=fuzzer)
define fuzz_program
$(O)/$(1:.c=): $(O)/$(1:.c=.o) $(FUZZ_MAIN) $(O)/tests/helpers.a \
		$(call lib,$(2)) $(foreach r,$(ON_$(2)),$(call lib,$(r)))
	$$(if $$(Q),@echo "  LINK    $$@")
	$$(Q)$$(CC) $$(LDFLAGS) $$(FUZZ_LDFLAGS) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) \
		-Wl,--end-group $$(call libs_of,$(2) $(ON_$(2)))
endef
$(foreach t,$(FUZZ_SRC),$(eval $(call fuzz_program,$(t),$(call fuzz_room,$(t)))))

tests: $(UNITS) $(MODELS) $(TINIES) $(FUZZERS)

check-unit: $(UNITS)
	$(Q)tests/lib/run-programs '$(TEST)' $(UNITS)

fuzz-build: $(FUZZERS)
fuzz-seeds: $(FUZZERS)
	$(Q)tests/fuzz/replay $(O)/tests/fuzz

lint: check-headers
	$(Q)tests/lint/run

# Every header compiles alone, so that the order of includes never matters.
HEADERS := $(sort $(wildcard fs/*/*.h clone/*/*.h tools/*.h))
check-headers: $(HEADERS:%.h=$(O)/headers/%.ok)
$(O)/headers/%.ok: %.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -MMD -MP,$(CFLAGS)) $(call cflags_of,$(patsubst %/,%,$(dir $*))) \
		-Wno-unused-function -fsyntax-only -x c $<
	@touch $@

deps:
	$(Q)contrib/deps

-include tests/tests.mk

install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR)
	install -m 755 $(O)/lazyclonefs $(DESTDIR)$(SBINDIR)/lazyclonefs
	ln -sf lazyclonefs $(DESTDIR)$(SBINDIR)/mount.fuse.lazyclone
	install -m 755 $(O)/lazyclone $(O)/lazyclone-export $(DESTDIR)$(BINDIR)
	install -m 755 $(O)/lazyclone-info $(O)/lazyclone-fsck $(DESTDIR)$(SBINDIR)
	for page in $$(find fs clone tools -name '*.[1-8]'); do \
		section=$${page##*.}; \
		install -d $(DESTDIR)$(MANDIR)/man$$section && \
		install -m 644 $$page $(DESTDIR)$(MANDIR)/man$$section/ || exit 1; \
	done
	install -d $(DESTDIR)$(COMPLETIONDIR) $(DESTDIR)$(UNITDIR)
	install -m 644 contrib/lazyclone.bash-completion $(DESTDIR)$(COMPLETIONDIR)/lazyclone
	for tool in $(TOOLS); do \
		install -m 644 contrib/lazyclone-tools.bash-completion \
			$(DESTDIR)$(COMPLETIONDIR)/$$tool || exit 1; \
	done
	sed 's|@SBINDIR@|$(SBINDIR)|; s|@BINDIR@|$(BINDIR)|' contrib/lazyclone.service.in \
		> $(DESTDIR)$(UNITDIR)/lazyclone.service
	chmod 644 $(DESTDIR)$(UNITDIR)/lazyclone.service
	install -d $(DESTDIR)$(HOOKDIR)
	sed 's|@BINDIR@|$(BINDIR)|' contrib/libvirt-hook.in > $(DESTDIR)$(HOOKDIR)/lazyclone
	chmod 755 $(DESTDIR)$(HOOKDIR)/lazyclone
	@echo "libvirtd finds its new hook, $(HOOKDIR)/lazyclone, once it is restarted"

clean:
	rm -rf $(BUILD)

-include $(shell find $(O) -name '*.d' 2>/dev/null)
