package countersign.policy.rollouts_test

import data.countersign.policy.rollouts

change(share) := {
	"phase": "call",
	"operation": {"name": "Update_Gate_Entirely", "class": "destructive"},
	"arguments": {"params": {"application/json": {"rules": [{"name": "all", "passPercentage": share}]}}},
}

test_a_narrow_rollout_is_left_to_the_other_rules if {
	every share in [0, 1, 10] {
		rollouts.hold == set() with input as change(share) with data.rollouts.most_percent as 10
	}
}

test_a_wide_or_odd_rollout_is_held if {
	every share in [11, 100, -1, "5", null, true, [5]] {
		count(rollouts.hold) == 1 with input as change(share) with data.rollouts.most_percent as 10
	}
}

test_reads_are_left_alone if {
	read := object.union(change(100), {"operation": {"class": "read"}})
	rollouts.hold == set() with input as read with data.rollouts.most_percent as 10
}

test_what_no_catalog_knows_is_no_read if {
	unknown := json.remove(change(100), ["operation/class"])
	count(rollouts.hold) == 1 with input as unknown with data.rollouts.most_percent as 10
}
