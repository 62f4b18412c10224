package countersign.policy.two_people_test

import data.countersign.policy.two_people

refund(amount) := {"operation": {"name": "create_refund", "money": {"amount": amount}}}

test_a_small_refund_is_not_held if {
	two_people.hold == set() with input as refund(50000) with data.two_people.from as 50000
}

test_a_large_or_odd_refund_needs_two if {
	every amount in [50001, -1, 0, "50", null] {
		held := two_people.hold with input as refund(amount) with data.two_people.from as 50000
		{entry.approvals | some entry in held} == {2}
	}
}

test_a_full_refund_needs_two if {
	count(two_people.hold) == 1 with input as {"operation": {"name": "PostRefunds"}} with data.two_people.from as 50000
}
