# SPDX-License-Identifier: GPL-2.0-or-later
# The front of the build; Meson and ninja do the work in $(BUILD).

BUILD ?= build
KERNEL ?= 6.1
SECONDS_PER_TARGET ?= 60
MESON_FLAGS ?=
FUZZ_CASES ?= 5000000

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(MESON_FLAGS) $(BUILD)

# See it work.  Installs missing packages first, saying so.
demo:
	tools/install-packages build rig
	$(MAKE) all
	tools/demo $(BUILD)

# Everything that this machine can test; says what it could not, and why.
check:
	tools/install-packages build check rig
	tools/check $(BUILD)

# Hostile input for all that is fed by somebody else; TARGET: one of tests/fuzz.  Without: also
# FUZZ_CASES random instructions on softkvm's CPU and on this machine's.
fuzz:
	tools/install-packages build check
	tools/fuzz $(BUILD)-fuzz $(SECONDS_PER_TARGET) $(TARGET)
ifeq ($(TARGET),)
	$(MAKE) all
	tools/fuzz-cpu $(BUILD) $(FUZZ_CASES)
endif

# Which lines of lib/ the tests run; fails if that are too few, or if tests/coverage.txt has no reason
# for one that they do not.
coverage:
	tools/install-packages build check coverage
	tools/coverage $(BUILD)-coverage

# The tests of the rig, on KERNEL: 6.1 or 6.12.
rig-check: all
	tools/install-packages rig
	tools/rig-check $(BUILD) $(KERNEL)

# The tests of confidential guests on this machine's own SEV.
hw-check: all
	tools/hw-check $(BUILD)

# What becomes of a guest under each fault at each step, on every host that there is here.
faults: all
	tools/install-packages rig
	tools/faults $(BUILD)

bench: all
	tools/bench $(BUILD)

# The L1 machine that the tests and the demo use.
rig:
	tools/install-packages rig
	rig/prepare

install: all
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-*

.PHONY: all demo check faults fuzz coverage rig-check hw-check bench rig install clean
