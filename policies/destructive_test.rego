package countersign.policy.destructive_test

import data.countersign.policy.destructive

call(class, production) := {
	"environment": {"name": "here", "production": production},
	"operation": {"name": "create_refund", "class": class, "targets": ["ch_1"], "money": {"amount": 5000, "unit": "minor"}},
	"arguments": {},
}

amount(value) := object.union(call("financial", false), {"operation": {"money": {"amount": value}}})

limit := {"sandbox": {"create_refund": {"minor": 5000}}, "production": {}}

tiers(held) := {entry.tier | some entry in held}

rules(entries) := {entry.rule | some entry in entries}

classes := ["read", "write", "financial", "destructive", "unknown"]

odd_numbers := [0, -1, -5000, 5001, 0.5, 49.99, 1e30, 18446744073709551615, "1", "", null, true, [1], {"value": 1}]

test_the_table_is_what_it_says if {
	sandbox := {class: tiers(held) | some class in classes; held := destructive.hold with input as call(class, false)}
	sandbox == {"read": set(), "write": set(), "financial": {"low"}, "destructive": {"low"}, "unknown": {"medium"}}
	production := {class: tiers(held) | some class in classes; held := destructive.hold with input as call(class, true)}
	production == {"read": set(), "write": {"medium"}, "financial": {"high"}, "destructive": {"high"}, "unknown": {"high"}}
}

test_the_rule_names_the_zone if {
	rules(destructive.hold) == {"destructive.sandbox"} with input as call("financial", false)
	rules(destructive.hold) == {"destructive.production"} with input as call("financial", true)
}

test_an_environment_may_have_a_row_of_its_own if {
	needs := {
		"here": {"write": "high", "read": "low"},
		"sandbox": {"read": "pass", "write": "pass", "financial": "low"},
		"production": {"read": "pass", "financial": "medium"},
	}
	tiers(destructive.hold) == {"high"} with input as call("write", false) with data.destructive.needs as needs
	tiers(destructive.hold) == {"low"} with input as call("read", true) with data.destructive.needs as needs
	tiers(destructive.hold) == {"low"} with input as call("financial", false) with data.destructive.needs as needs
	tiers(destructive.hold) == {"medium"} with input as call("financial", true) with data.destructive.needs as needs
	tiers(destructive.hold) == {"high"} with input as call("unknown", false) with data.destructive.needs as needs
}

test_what_is_missing_or_odd_counts_as_the_worst if {
	every odd in [
		{},
		{"environment": {"name": "production", "production": true}},
		object.union(call("read", true), {"operation": {"class": "reads"}}),
		object.union(call("read", true), {"operation": {"class": ["read"]}}),
		object.union(call("read", true), {"operation": {"class": null}}),
		object.union(call("read", true), {"operation": 7}),
	] {
		held := destructive.hold with input as odd
		tiers(held) == {"high"}
	}
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
	every value in [1, 4999, 5000] {
		destructive.hold == set() with input as amount(value) with data.destructive.limits as limit
	}
}

test_no_odd_amount_slips_under_a_limit if {
	every odd in odd_numbers {
		held := destructive.hold with input as amount(odd) with data.destructive.limits as limit
		tiers(held) == {"low"}
	}
}

test_no_odd_magnitude_slips_under_a_limit if {
	percent := {"sandbox": {"create_refund": {"percent": 5000}}}
	every odd in odd_numbers {
		operation := {"name": "create_refund", "class": "financial", "magnitude": {"value": odd, "unit": "percent"}}
		held := destructive.hold with input as {"environment": {"name": "here", "production": false}, "operation": operation}
			with data.destructive.limits as percent
		tiers(held) == {"low"}
	}
	held := destructive.hold with input as {
		"environment": {"name": "here", "production": false},
		"operation": {"name": "create_refund", "class": "financial", "magnitude": {"value": 5000, "unit": "percent"}},
	}
		with data.destructive.limits as percent
	held == set()
}

test_a_missing_amount_is_the_full_amount_and_never_small if {
	every path in ["operation/money/amount", "operation/money", "operation/money/unit"] {
		held := destructive.hold with input as json.remove(call("financial", false), [path])
			with data.destructive.limits as limit
		tiers(held) == {"low"}
	}
	all := object.union(json.remove(amount(1), ["operation/money/amount"]), {"operation": {"money": {"absent": "full"}}})
	held := destructive.hold with input as all with data.destructive.limits as limit
	tiers(held) == {"low"}
}

more(value) := object.union(amount(1), {"operation": {"magnitude": {"value": value, "unit": "percent"}}})

test_everything_that_says_how_much_has_to_be_within if {
	both := {"sandbox": {"create_refund": {"minor": 5000, "percent": 10}}}
	destructive.hold == set() with input as more(10) with data.destructive.limits as both
	tiers(destructive.hold) == {"low"} with input as more(11) with data.destructive.limits as both
	tiers(destructive.hold) == {"low"} with input as more(1) with data.destructive.limits as limit
	absent := json.remove(more(1), ["operation/magnitude/value"])
	tiers(destructive.hold) == {"low"} with input as absent with data.destructive.limits as both
}

in_currency(currency) := object.union(amount(1), {"operation": {"money": {"currency": currency}}})

test_a_limit_in_one_currency_is_for_that_currency if {
	dollars := {"sandbox": {"create_refund": {"minor": {"usd": 5000}}}}
	every same in ["usd", "USD", "Usd"] {
		destructive.hold == set() with input as in_currency(same) with data.destructive.limits as dollars
	}
	every other in ["eur", "us", "", "usd "] {
		held := destructive.hold with input as in_currency(other) with data.destructive.limits as dollars
		tiers(held) == {"low"}
	}
	tiers(destructive.hold) == {"low"} with input as amount(1) with data.destructive.limits as dollars
	destructive.hold == set() with input as in_currency("eur") with data.destructive.limits as limit
}

test_a_limit_in_one_unit_is_for_that_unit if {
	major := object.union(amount(1), {"operation": {"money": {"unit": "major"}}})
	tiers(destructive.hold) == {"low"} with input as major with data.destructive.limits as limit
}

test_a_limit_counts_for_its_operation_and_class_alone if {
	other := object.union(amount(1), {"operation": {"name": "create_payout"}})
	tiers(destructive.hold) == {"low"} with input as other with data.destructive.limits as limit
	by_class := {"sandbox": {"financial": {"minor": 10}}}
	destructive.hold == set() with input as other with data.destructive.limits as by_class
	tiers(destructive.hold) == {"low"} with input as object.union(other, {"operation": {"class": "destructive"}})
		with data.destructive.limits as by_class
}

test_the_limit_of_an_operation_comes_before_that_of_its_class if {
	both := {"sandbox": {"financial": {"minor": 5000}, "create_refund": {"minor": 10}}}
	tiers(destructive.hold) == {"low"} with input as amount(11) with data.destructive.limits as both
}

test_an_operation_that_is_called_like_a_class_gains_nothing if {
	called := object.union(amount(1), {"operation": {"name": "financial", "class": "unknown"}})
	tiers(destructive.hold) == {"medium"} with input as called
		with data.destructive.limits as {"sandbox": {"financial": {"minor": 5000}}}
}

test_a_limit_counts_in_its_environment_alone if {
	tiers(destructive.hold) == {"high"} with input as call("financial", true) with data.destructive.limits as limit
	named := {"here": {"create_refund": {"minor": 5000}}}
	destructive.hold == set() with input as amount(1) with data.destructive.limits as named
	elsewhere := object.union(amount(1), {"environment": {"name": "there"}})
	tiers(destructive.hold) == {"low"} with input as elsewhere with data.destructive.limits as named
}

test_a_limit_that_is_no_number_is_no_limit if {
	every odd in ["5000", null, true, [], {}, 5000, {"minor": "5000"}, {"minor": null}, {"minor": [5000]}] {
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

besides(mark) := object.union(amount(1), {"operation": {"unmeasured": mark}})

test_what_the_amounts_do_not_tell_is_within_no_limit if {
	destructive.hold == set() with input as besides(false) with data.destructive.limits as limit
	every mark in [true, null, "", 0] {
		held := destructive.hold with input as besides(mark) with data.destructive.limits as limit
		tiers(held) == {"low"}
	}
}

test_what_is_not_known_is_within_no_limit if {
	unknown := object.union(amount(1), {"operation": {"class": "unknown"}})
	tiers(destructive.hold) == {"medium"} with input as unknown with data.destructive.limits as limit
	nameless := json.remove(unknown, ["operation/class"])
	tiers(destructive.hold) == {"medium"} with input as nameless with data.destructive.limits as limit
}

approvals(entries) := {entry.approvals | some entry in entries; entry.rule == "destructive.two_operators"}

alone := {"production": {"financial": {"minor": 5000}}}

paid(value) := object.union(call("financial", true), {"operation": {"money": {"amount": value}, "reversible": false}})

test_more_than_one_may_let_through_takes_two if {
	approvals(destructive.hold) == set() with input as paid(5000) with data.destructive.one_operator as alone
	approvals(destructive.hold) == set() with input as paid(999999)
	every odd in odd_numbers {
		held := destructive.hold with input as paid(odd) with data.destructive.one_operator as alone
		approvals(held) == {2}
		tiers(held) == {"high"}
	}
	full := json.remove(paid(1), ["operation/money/amount"])
	approvals(destructive.hold) == {2} with input as full with data.destructive.one_operator as alone
}

test_what_the_amounts_do_not_tell_takes_two if {
	more := object.union(paid(1), {"operation": {"unmeasured": true}})
	approvals(destructive.hold) == {2} with input as more with data.destructive.one_operator as alone
}

undone(reversible) := object.union(call("financial", true), {"operation": {"money": {"amount": 9999}, "reversible": reversible}})

test_what_can_be_undone_takes_one if {
	approvals(destructive.hold) == set() with input as undone(true) with data.destructive.one_operator as alone
	every odd in [false, null, "true"] {
		held := destructive.hold with input as undone(odd) with data.destructive.one_operator as alone
		approvals(held) == {2}
	}
	unknown := object.union(call("financial", true), {"operation": {"money": {"amount": 9999}}})
	approvals(destructive.hold) == {2} with input as unknown with data.destructive.one_operator as alone
}

confirmed(by, issued) := object.union(call("financial", false), {"operation": {"confirmations": [{
	"at": "/human_confirmation",
	"by": by,
	"issued": issued,
}]}})

test_a_vendors_token_that_was_not_given_is_denied if {
	denied := destructive.deny with input as confirmed("vendor", false)
	rules(denied) == {"destructive.token"}
	some entry in denied
	contains(entry.reason, "/human_confirmation")
	every odd in [null, "true", 1] {
		rules(destructive.deny) == {"destructive.token"} with input as confirmed("vendor", odd)
	}
	rules(destructive.deny) == {"destructive.token"} with input as confirmed("", false)
	rules(destructive.deny) == {"destructive.token"} with input as {"operation": {"confirmations": [{}]}}
}

test_a_token_that_was_given_and_the_agents_word_change_nothing if {
	every given in [confirmed("vendor", true), confirmed("agent", false), confirmed("agent", true), call("financial", false)] {
		destructive.deny == set() with input as given
		tiers(destructive.hold) == {"low"} with input as given
	}
}
