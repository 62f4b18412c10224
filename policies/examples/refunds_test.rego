package countersign.policy.refunds_test

import data.countersign.policy.refunds

refund(arguments) := {
	"phase": "call",
	"principal": {"name": "billing-agent"},
	"operation": {"name": "create_refund"},
	"arguments": object.union({"reason": "duplicate"}, arguments),
}

rules(entries) := {entry.rule | some entry in entries}

test_billing_agents_may_refund if {
	rules(refunds.allow) == {"refunds.agents"} with input as refund({"amount": 500})
}

test_others_may_not if {
	refunds.allow == set() with input as object.union(refund({}), {"principal": {"name": "marketing-agent"}})
}

test_a_small_refund_is_not_held if {
	every amount in [1, 9999, 10000] {
		refunds.hold == set() with input as refund({"amount": amount})
	}
}

test_a_large_or_odd_refund_is_held if {
	every amount in [10001, 0, -5, 99.5, "500", null, [500]] {
		rules(refunds.hold) == {"refunds.over_limit"} with input as refund({"amount": amount})
	}
}

test_a_full_refund_is_held if {
	rules(refunds.hold) == {"refunds.over_limit"} with input as refund({})
}

test_the_operator_types_the_amount_where_there_is_one if {
	some large in refunds.hold with input as refund({"amount": 50000})
	large.confirm_with == "/arguments/amount"
	some full in refunds.hold with input as refund({})
	full.confirm_with == "/operation/name"
}

test_the_limit_is_data if {
	refunds.hold == set() with input as refund({"amount": 50000}) with data.refunds.limit as 50000
}

test_a_refund_needs_a_reason if {
	rules(refunds.deny) == {"refunds.reason"} with input as refund({"amount": 1, "reason": "because"})
	refunds.deny == set() with input as refund({"amount": 1})
}

test_other_operations_are_left_alone if {
	every set in [refunds.allow, refunds.hold, refunds.deny] {
		set == set()
	} with input as {"phase": "call", "operation": {"name": "list_customers"}, "arguments": {}}
}
