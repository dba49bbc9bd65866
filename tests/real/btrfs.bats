#!/usr/bin/env bats
# A delta on btrfs whose device stops at any moment: see cuts.bash.

load helper
load cuts
setup() { real_setup; }
teardown() { real_teardown; }

@test "btrfs: everything flushed is there wherever the device stopped" {
	run_on btrfs 256M
}
