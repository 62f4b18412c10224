package countersign.policy.many_test

import data.countersign.policy.many

call(targets) := {"operation": {"class": "write", "targets": targets}}

test_a_few_pass if {
	many.hold == set() with input as call(["a", "b"]) with data.many.most as 2
	many.hold == set() with input as {"operation": {"class": "write"}} with data.many.most as 2
}

test_more_are_held if {
	count(many.hold) == 1 with input as call(["a", "b", "c"]) with data.many.most as 2
}
