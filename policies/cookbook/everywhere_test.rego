package countersign.policy.everywhere_test

import data.countersign.policy.everywhere

call(class, all) := {"operation": {"class": class, "environment": {"everywhere": all}}}

test_a_change_everywhere_is_denied if {
	count(everywhere.deny) == 1 with input as call("write", true)
	count(everywhere.deny) == 1 with input as call("unknown", true)
}

test_others_are_left_alone if {
	everywhere.deny == set() with input as call("write", false)
	everywhere.deny == set() with input as call("read", true)
	everywhere.deny == set() with input as {"operation": {"class": "write"}}
}
