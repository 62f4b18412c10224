package countersign.policy.destructive_test

import data.countersign.policy.destructive

call(class, production) := {
	"environment": {"name": "here", "production": production},
	"operation": {"name": "create_refund", "class": class, "targets": ["ch_1"], "money": {"amount": 5000, "unit": "minor"}},
	"arguments": {},
}

amount(value) := object.union(call("financial", false), {"operation": {"money": {"amount": value}}})

limit := {"sandbox": {"create_refund": 5000}, "production": {}}

tiers(held) := {entry.tier | some entry in held}

test_reads_pass_everywhere if {
	destructive.hold == set() with input as call("read", true)
	destructive.hold == set() with input as call("read", false)
}

test_writes_pass_in_a_sandbox_and_are_held_in_production if {
	destructive.hold == set() with input as call("write", false)
	held := destructive.hold with input as call("write", true)
	tiers(held) == {"medium"}
	some entry in held
	entry.confirm_with == []
}

test_a_sandbox_holds_the_rest_lightly if {
	financial := destructive.hold with input as call("financial", false)
	tiers(financial) == {"low"}
	every class in ["destructive", "unknown"] {
		held := destructive.hold with input as call(class, false)
		tiers(held) == {"medium"}
	}
}

test_production_holds_the_rest_at_the_highest_tier if {
	every class in ["financial", "destructive", "unknown"] {
		held := destructive.hold with input as call(class, true)
		tiers(held) == {"high"}
	}
}

test_what_is_missing_or_odd_counts_as_the_worst if {
	every odd in [
		{},
		{"environment": {"name": "production", "production": true}},
		{"operation": {"class": "read"}, "environment": {"name": "x"}, "arguments": {}, "phase": 1},
		object.union(call("read", true), {"operation": {"class": "reads"}}),
		object.union(call("read", true), {"operation": {"class": ["read"]}}),
		object.union(call("read", true), {"operation": {"class": null}}),
	] {
		not passes_as_something_else(odd)
	}
}

# A read without a known environment still passes; everything else has to be held at the highest tier.
passes_as_something_else(odd) if {
	object.get(odd, ["operation", "class"], "") != "read"
	held := destructive.hold with input as odd
	tiers(held) != {"high"}
}

test_an_environment_that_is_not_known_to_be_harmless_is_production if {
	every production in [true, "false", null, 0] {
		held := destructive.hold with input as object.union(call("financial", false), {"environment": {"production": production}})
		tiers(held) == {"high"}
	}
}

test_the_operator_types_the_amount_then_the_target_then_the_name if {
	with_amount := destructive.hold with input as call("financial", true)
	{entry.confirm_with | some entry in with_amount} == {"/operation/money/amount"}

	full := json.remove(call("financial", true), ["operation/money"])
	with_target := destructive.hold with input as full
	{entry.confirm_with | some entry in with_target} == {"/operation/targets/0"}

	bare := json.remove(full, ["operation/targets"])
	with_name := destructive.hold with input as bare
	{entry.confirm_with | some entry in with_name} == {"/operation/name"}
}

test_what_nobody_can_type_is_not_asked_for if {
	every odd in [null, [], {}, ""] {
		held := destructive.hold with input as object.union(call("financial", true), {"operation": {"money": {"amount": odd}}})
		{entry.confirm_with | some entry in held} == {"/operation/targets/0"}
	}
}

test_a_small_amount_passes_under_a_limit if {
	every small in [1, 4999, 5000] {
		destructive.hold == set() with input as amount(small) with data.destructive.limits as limit
	}
}

test_no_odd_amount_slips_under_a_limit if {
	every odd in [0, -1, -5000, 5001, 0.5, 49.99, 1e30, 18446744073709551615, "1", "", null, true, [1], {"value": 1}] {
		held := destructive.hold with input as amount(odd) with data.destructive.limits as limit
		tiers(held) == {"low"}
	}
}

test_a_missing_amount_is_the_full_amount_and_never_small if {
	full := json.remove(call("financial", false), ["operation/money/amount"])
	held := destructive.hold with input as full with data.destructive.limits as limit
	tiers(held) == {"low"}
}

test_a_limit_counts_for_its_operation_and_class_alone if {
	other := object.union(amount(1), {"operation": {"name": "create_payout"}})
	held := destructive.hold with input as other with data.destructive.limits as limit
	tiers(held) == {"low"}

	unknown := object.union(amount(1), {"operation": {"class": "unknown"}})
	suspicious := destructive.hold with input as unknown with data.destructive.limits as limit
	tiers(suspicious) == {"medium"}
}

test_a_limit_counts_in_its_zone_alone if {
	held := destructive.hold with input as call("financial", true) with data.destructive.limits as limit
	tiers(held) == {"high"}
}

test_a_limit_that_is_no_number_is_no_limit if {
	every odd in ["5000", null, true, [], {}] {
		held := destructive.hold with input as amount(1)
			with data.destructive.limits as {"sandbox": {"create_refund": odd}}
		tiers(held) == {"low"}
	}
}

test_a_misspelt_need_is_the_highest if {
	held := destructive.hold with input as call("write", false)
		with data.destructive.needs as {"sandbox": {"write": "Pass"}}
	tiers(held) == {"high"}
}
