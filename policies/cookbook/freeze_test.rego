package countersign.policy.freeze_test

import data.countersign.policy.freeze

write := {"operation": {"class": "write"}}

test_changes_pass_when_it_is_off if {
	freeze.deny == set() with input as write with data.freeze.frozen as false
}

test_changes_are_denied_when_it_is_on_or_unclear if {
	every frozen in [true, "no", null, 0] {
		count(freeze.deny) == 1 with input as write with data.freeze.frozen as frozen
	}
}

test_reads_always_pass if {
	freeze.deny == set() with input as {"operation": {"class": "read"}} with data.freeze.frozen as true
}

test_what_is_not_known_is_a_change if {
	count(freeze.deny) == 1 with input as {} with data.freeze.frozen as true
}
