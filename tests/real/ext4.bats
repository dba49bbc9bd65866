#!/usr/bin/env bats
# A delta on ext4 whose device stops at any moment: see cuts.bash.

load helper
load cuts
setup() { real_setup; }
teardown() { real_teardown; }

@test "ext4: everything flushed is there wherever the device stopped" {
	run_on ext4 128M
}
