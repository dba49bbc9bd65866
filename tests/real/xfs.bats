#!/usr/bin/env bats
# A delta on XFS whose device stops at any moment: see cuts.bash.

load helper
load cuts
setup() { real_setup; }
teardown() { real_teardown; }

@test "XFS: everything flushed is there wherever the device stopped" {
	OPTIONS=nouuid run_on xfs 320M
}
