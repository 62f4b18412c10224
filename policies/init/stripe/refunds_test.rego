package countersign.policy.refunds_test

import data.countersign.policy.refunds

refund(amount) := {
	"phase": "call",
	"operation": {"name": "create_refund", "money": {"amount": amount, "unit": "minor"}},
}

test_a_small_refund_is_left_to_the_other_rules if {
	refunds.deny == set() with input as refund(5000) with data.refunds.most as 5000
}

test_a_large_or_odd_refund_is_denied if {
	every amount in [5001, 0, -1, "5000", null, true, []] {
		count(refunds.deny) == 1 with input as refund(amount) with data.refunds.most as 5000
	}
}

test_a_full_refund_is_denied if {
	full := json.remove(refund(1), ["operation/money/amount"])
	count(refunds.deny) == 1 with input as full with data.refunds.most as 5000
}

test_other_operations_are_left_alone if {
	refunds.deny == set() with input as {"phase": "call", "operation": {"name": "list_customers"}}
}
