package countersign.policy.scopes_test

import data.countersign.policy.scopes

call(name, class, scopes) := {
	"phase": "call",
	"principal": {"name": "agent", "scopes": scopes},
	"server": {"name": "stripe"},
	"operation": {"name": name, "class": class},
}

allowed(name, class, scope) if {
	count(scopes.allow) == 1 with input as call(name, class, [scope])
}

test_a_class_covers_its_operations_and_no_other if {
	allowed("list_customers", "read", "stripe/read")
	every class in ["write", "financial", "destructive", "unknown"] {
		not allowed("list_customers", class, "stripe/read")
	}
}

test_an_operation_is_covered_by_its_name if {
	allowed("create_refund", "financial", "stripe/create_refund")
	not allowed("create_refund_all", "financial", "stripe/create_refund")
	not allowed("refund", "financial", "stripe/create_refund")
}

test_servers_do_not_mix if {
	not allowed("list_customers", "read", "stigg/read")
	not allowed("list_customers", "read", "stripe2/read")
	allowed("list_customers", "read", "*/read")
	not allowed("list_customers", "read", "str*/read")
}

test_globs_cover_operations if {
	allowed("create_refund", "financial", "stripe/create_*")
	not allowed("delete_customer", "destructive", "stripe/create_*")
	allowed("delete_customer", "destructive", "stripe/*")
	allowed("resources/read", "read", "stripe/*")
}

test_a_glob_does_not_match_a_class if {
	not allowed("cancel_subscription", "destructive", "stripe/des*")
	not allowed("list_customers", "read", "stripe/r?ad")
	not allowed("list_customers", "read", "stripe/rea*")
}

test_a_tool_that_is_called_like_a_class_gains_nothing if {
	not allowed("read", "destructive", "stripe/read")
	not allowed("read", "unknown", "*/read")
	not allowed("write", "financial", "stripe/write")
}

test_other_methods_are_reads if {
	allowed("resources/read", "read", "stripe/read")
	allowed("prompts/get", "read", "*/read")
}

test_odd_scopes_cover_nothing if {
	every scope in ["", "*", "read", "/read", "stripe", "stripe/", "Stripe/read", " stripe/read", "stripe/read ", "/", "//"] {
		not allowed("list_customers", "read", scope)
	}
}

test_an_operation_may_have_slashes_and_spaces if {
	launch := "PUT /console/v1/gates/{id}/launch"
	allowed(launch, "destructive", concat("/", ["stripe", launch]))
	allowed(launch, "destructive", "stripe/PUT /console/v1/gates/*")
	allowed("resources/read", "read", "*/resources/read")
	allowed("resources/read", "read", "stripe/resources/*")
	not allowed(launch, "destructive", "stripe/PUT /console/v1/gates")
	not allowed(launch, "destructive", concat("/", ["other", launch]))
	not allowed("other/list", "write", "other/*")
}

test_no_scopes_allow_nothing if {
	scopes.allow == set() with input as call("list_customers", "read", [])
	scopes.allow == set() with input as {}
	scopes.allow == set() with input as json.remove(call("list_customers", "read", ["*/*"]), ["server"])
	scopes.allow == set() with input as json.remove(call("list_customers", "read", ["*/*"]), ["operation"])
}

test_every_scope_that_covers_is_named if {
	found := scopes.allow with input as call("create_refund", "financial", ["*/read", "stripe/financial", "stripe/create_refund"])
	count(found) == 2
}

test_a_list_shows_what_depends_on_arguments if {
	listed := object.union(call("stripe_api_write", "unknown", ["stripe/PostRefunds"]), {"phase": "list"})
	count(scopes.allow) == 1 with input as listed
	scopes.allow == set() with input as object.union(listed, {"phase": "call"})
	scopes.allow == set() with input as object.union(listed, {"server": {"name": "other"}})
}

test_a_list_hides_what_no_scope_covers if {
	listed := object.union(call("delete_customer", "destructive", ["stripe/read"]), {"phase": "list"})
	scopes.allow == set() with input as listed
}

# Conditions.

refund(arguments) := {
	"phase": "call",
	"now": 1770000000000000000, # Monday 2026-02-02 02:40 UTC
	"principal": {"name": "agent", "scopes": []},
	"server": {"name": "stripe"},
	"environment": {"name": "sandbox"},
	"operation": {
		"name": "create_refund",
		"class": "financial",
		"money": {"amount": arguments.amount, "unit": "minor", "currency": "EUR"},
	},
	"arguments": arguments,
}

under(call, conditions) := object.union(call, {"principal": {
	"name": "agent",
	"conditional_scopes": [object.union({"scope": "stripe/create_refund"}, conditions)],
}})

covers(call, conditions) if {
	found := scopes.allow with input as under(call, conditions)
	count(found) == 1
	some entry in found
	entry.rule == "scopes.conditional"
}

up_to(most) := {"where": [{"at": ["amount"], "is": "max", "value": most, "whole": true}]}

test_a_maximum_is_for_whole_numbers_that_are_not_negative if {
	covers(refund({"amount": 5000}), up_to(5000))
	covers(refund({"amount": 0}), up_to(5000))
	covers(refund({"amount": 1e3}), up_to(5000))
	odd := [5001, -1, 10.5, "10", "", null, [], [10], {}, {"amount": 10}, true, 1e300]
	count([value | some value in odd; not covers(refund({"amount": value}), up_to(5000))]) == count(odd)
	not covers(object.union(refund({"amount": 1}), {"arguments": {"amount": [1]}}), up_to(5000))
	not covers(json.remove(refund({"amount": 1}), ["arguments/amount"]), up_to(5000))
	not covers(json.remove(refund({"amount": 1}), ["arguments"]), up_to(5000))
}

test_a_maximum_with_decimals_takes_them if {
	limit := {"where": [{"at": ["amount"], "is": "max", "value": 10.5}]}
	covers(refund({"amount": 10.5}), limit)
	not covers(refund({"amount": 10.51}), limit)
	not covers(refund({"amount": -0.5}), limit)
	not covers(refund({"amount": "1.5"}), limit)
}

test_a_minimum_wants_a_number if {
	least := {"where": [{"at": ["amount"], "is": "min", "value": 100, "whole": true}]}
	covers(refund({"amount": 100}), least)
	not covers(refund({"amount": 99}), least)
	not covers(refund({"amount": "100"}), least)
	not covers(refund({"amount": 100.5}), least)
	not covers(refund({"amount": [100]}), least)
	not covers(refund({"amount": {}}), least)
}

of_customer(test) := {"where": [object.union({"at": ["customer"]}, test)]}

test_texts_are_compared_as_texts if {
	european := refund({"amount": 1, "customer": "cus_eu_1"})
	covers(european, of_customer({"is": "prefix", "value": "cus_eu_"}))
	covers(european, of_customer({"is": "glob", "value": "cus_*_1"}))
	covers(european, of_customer({"is": "in", "value": ["cus_x", "cus_eu_1"]}))
	not covers(european, of_customer({"is": "prefix", "value": "cus_us_"}))
	not covers(european, of_customer({"is": "glob", "value": "cus_*_2"}))
	not covers(european, of_customer({"is": "in", "value": ["CUS_EU_1", "cus_eu_"]}))
	odd := [null, 7, true, [], ["cus_eu_1"], {"id": "cus_eu_1"}, ""]
	every value in odd {
		every test in [{"is": "prefix", "value": "cus_eu_"}, {"is": "glob", "value": "cus_*"}, {"is": "in", "value": ["cus_eu_1"]}] {
			not covers(refund({"amount": 1, "customer": value}), of_customer(test))
		}
	}
	every test in [{"is": "prefix", "value": "c"}, {"is": "glob", "value": "*"}, {"is": "in", "value": ["x"]}] {
		not covers(refund({"amount": 1}), of_customer(test))
	}
}

test_a_number_is_no_text if {
	covers(refund({"amount": 1, "customer": 7}), of_customer({"is": "in", "value": [7]}))
	not covers(refund({"amount": 1, "customer": "7"}), of_customer({"is": "in", "value": [7]}))
	not covers(refund({"amount": 1, "customer": 7}), of_customer({"is": "in", "value": ["7"]}))
}

test_presence_and_absence if {
	every value in [0, 1, false, "", [], {}] {
		covers(refund({"amount": 1, "customer": value}), of_customer({"is": "present"}))
		not covers(refund({"amount": 1, "customer": value}), of_customer({"is": "absent"}))
	}
	not covers(refund({"amount": 1, "customer": null}), of_customer({"is": "present"}))
	not covers(refund({"amount": 1, "customer": null}), of_customer({"is": "absent"}))
	not covers(refund({"amount": 1}), of_customer({"is": "present"}))
	covers(refund({"amount": 1}), of_customer({"is": "absent"}))
}

test_a_pointer_leads_through_members if {
	deep := {"where": [{"at": ["parameters", "amount"], "is": "max", "value": 5, "whole": true}]}
	covers(refund({"amount": 1, "parameters": {"amount": 5}}), deep)
	every odd in [{"amount": 6}, [5], "amount", null, 5, {"parameters": {"amount": 5}}] {
		not covers(refund({"amount": 1, "parameters": odd}), deep)
	}
}

test_every_condition_has_to_be_met if {
	both := {"where": [
		{"at": ["amount"], "is": "max", "value": 10, "whole": true},
		{"at": ["customer"], "is": "prefix", "value": "cus_"},
	]}
	covers(refund({"amount": 10, "customer": "cus_1"}), both)
	not covers(refund({"amount": 11, "customer": "cus_1"}), both)
	not covers(refund({"amount": 10, "customer": "acct_1"}), both)
	not covers(refund({"amount": 10, "customer": "cus_1"}), {"where": [{"at": ["amount"], "is": "less", "value": 10}]})
}

test_the_amount_is_the_one_that_the_catalog_finds if {
	euros := {"amount": {"max": 5000, "whole": true, "currency": "eur"}}
	covers(refund({"amount": 5000}), euros)
	every odd in [5001, 0, -1, 10.5, "10", null, []] {
		not covers(refund({"amount": odd}), euros)
	}
	not covers(refund({"amount": 1}), {"amount": {"max": 5000, "whole": true, "currency": "usd"}})
	unnamed := json.remove(refund({"amount": 1}), ["operation/money/currency"])
	not covers(unnamed, euros)
	covers(unnamed, {"amount": {"max": 5000, "whole": true}})
	not covers(json.remove(refund({"amount": 1}), ["operation/money"]), {"amount": {"max": 5000}})
}

test_an_amount_that_is_not_all_is_no_amount if {
	limit := {"amount": {"max": 5000, "whole": true}}
	besides := {
		{"unmeasured": true},
		{"class": "unknown"},
		{"magnitude": {"unit": "count", "value": 100000}},
		{"magnitude": {"unit": "count"}},
		{"magnitude": {"unit": "count", "value": "1"}},
		{"magnitude": {"unit": "percent", "value": 1}},
	}
	every more in besides {
		not covers(object.union(refund({"amount": 1}), {"operation": more}), limit)
	}
	not covers(json.remove(refund({"amount": 1}), ["operation/class"]), limit)
	covers(object.union(refund({"amount": 1}), {"operation": {"magnitude": {"unit": "count", "value": 1}}}), limit)
	covers(object.union(refund({"amount": 1}), {"operation": {"magnitude": {"unit": "credits", "value": 9}}}), limit)
}

test_environments if {
	covers(refund({"amount": 1}), {"environments": ["test", "sandbox"]})
	not covers(refund({"amount": 1}), {"environments": ["production"]})
	not covers(refund({"amount": 1}), {"environments": []})
	not covers(json.remove(refund({"amount": 1}), ["environment"]), {"environments": ["sandbox"]})
}

test_hours if {
	night := {"from": 120, "to": 161, "days": ["Monday"], "zone": "UTC"}
	covers(refund({"amount": 1}), {"hours": night})
	not covers(refund({"amount": 1}), {"hours": object.union(night, {"to": 160})})
	not covers(refund({"amount": 1}), {"hours": object.union(night, {"from": 161, "to": 200})})
	not covers(refund({"amount": 1}), {"hours": object.union(night, {"days": ["Sunday", "Tuesday"]})})

	# 03:40 in Berlin, and still Sunday in New York.
	not covers(refund({"amount": 1}), {"hours": object.union(night, {"zone": "Europe/Berlin"})})
	covers(refund({"amount": 1}), {"hours": {"from": 220, "to": 221, "days": ["Monday"], "zone": "Europe/Berlin"}})
	covers(refund({"amount": 1}), {"hours": {"from": 0, "to": 1440, "days": ["Sunday"], "zone": "America/New_York"}})
	not covers(json.remove(refund({"amount": 1}), ["now"]), {"hours": night})
}

test_the_end if {
	covers(refund({"amount": 1}), {"until": 1770000000000000001})
	not covers(refund({"amount": 1}), {"until": 1770000000000000000})
	not covers(json.remove(refund({"amount": 1}), ["now"]), {"until": 1770000000000000001})
}

test_conditions_do_not_widen_a_scope if {
	not covers(object.union(refund({"amount": 1}), {"server": {"name": "other"}}), up_to(5000))
	not covers(object.union(refund({"amount": 1}), {"operation": {"name": "create_payout"}}), up_to(5000))
	not covers(refund({"amount": 1}), object.union(up_to(5000), {"scope": "stripe/read"}))
	covers(refund({"amount": 1}), object.union(up_to(5000), {"scope": "*/create_*"}))
}

listed(conditions) := under(object.union(refund({"amount": null}), {"phase": "list", "arguments": {}}), conditions)

test_a_list_shows_what_a_condition_may_cover if {
	count(scopes.allow) == 1 with input as listed(up_to(1))
	count(scopes.allow) == 1 with input as listed({"amount": {"max": 1}})
	count(scopes.allow) == 1 with input as listed({"hours": {"from": 0, "to": 1, "days": [], "zone": "UTC"}})
	count(scopes.allow) == 0 with input as listed({"environments": ["production"]})
	count(scopes.allow) == 0 with input as listed({"until": 1})
	dispatcher := object.union(listed(up_to(1)), {"operation": {"name": "stripe_api_write", "class": "unknown"}})
	count(scopes.allow) == 1 with input as dispatcher
}

# Budgets.

window(n, sum) := {"count": n, "unknown": 0, "sum": sum, "free": "2026-02-02T03:00:00Z"}

windows(n, sum) := {"minute": window(n, sum), "hour": window(n, sum), "day": window(n, sum)}

after(spent, adds) := object.union(refund({"amount": 1}), {"history": {
	"adds": adds,
	"principal": {
		"operations": object.union({"create_refund": windows(0, {})}, spent),
		"classes": {"financial": windows(0, {})},
	},
	"session": {"operations": {}, "classes": {}},
}})

one := {"count": 1, "unknown": 0, "sum": {"eur": 100}}

denied(call, budgets) := [entry.reason |
	some entry in scopes.deny with input as call with data.budgets as {"stripe": budgets}
]

test_a_count if {
	five := {"create_refund": {"hour": {"count": 5}}}
	denied(after({"create_refund": windows(4, {})}, one), five) == []
	[reason] := denied(after({"create_refund": windows(5, {})}, one), five)
	reason == "the budget `create_refund` of this principal is 5 calls per hour, and 5 are spent; free again not before 2026-02-02T03:00:00Z"
	count(denied(after({}, one), {"create_refund": {"hour": {"count": 0}}})) == 1

	# What goes on from a call that was counted adds nothing.
	denied(after({"create_refund": windows(5, {})}, {"count": 0, "unknown": 0, "sum": {}}), five) == []
}

test_a_sum_in_a_currency if {
	some_euros := {"create_refund": {"day": {"sum": {"eur": 1000}}}}
	denied(after({"create_refund": windows(3, {"eur": 900})}, one), some_euros) == []
	count(denied(after({"create_refund": windows(3, {"eur": 901})}, one), some_euros)) == 1

	# Others are counted apart, and have to be named to be spent.
	denied(after({"create_refund": windows(3, {"usd": 5000})}, one), some_euros) == []
	dollars := {"count": 1, "unknown": 0, "sum": {"usd": 1}}
	count(denied(after({}, dollars), some_euros)) == 1
	denied(after({}, dollars), {"create_refund": {"day": {"sum": {"eur": 1000, "usd": 1}}}}) == []
	count(denied(after({}, {"count": 1, "unknown": 0, "sum": {"none": 1}}), some_euros)) == 1
	count(denied(after({"create_refund": windows(1, {"none": 1})}, one), some_euros)) == 1
}

test_a_sum_in_any_currency if {
	all := {"create_refund": {"day": {"sum": {"any": 1000}}}}
	denied(after({"create_refund": windows(3, {"eur": 400, "none": 500})}, one), all) == []
	count(denied(after({"create_refund": windows(3, {"eur": 400, "none": 501})}, one), all)) == 1
	denied(after({}, {"count": 1, "unknown": 0, "sum": {"none": 1000}}), all) == []
}

test_what_is_not_known_cannot_be_spent if {
	all := {"create_refund": {"day": {"sum": {"any": 1000}}}}
	unknown := {"count": 1, "unknown": 1, "sum": {}}
	count(denied(after({}, unknown), all)) == 1
	denied(after({}, unknown), {"create_refund": {"day": {"count": 3}}}) == []
	before := {"create_refund": {"day": {"count": 1, "unknown": 1, "sum": {}, "free": "x"}}}
	count(denied(after(before, one), all)) == 1
}

test_without_a_history_nothing_is_spent if {
	budget := {"create_refund": {"hour": {"count": 5}}}
	count(denied(refund({"amount": 1}), budget)) == 1
	count(denied(json.remove(after({}, one), ["history/adds"]), budget)) == 1
	count(denied(json.remove(after({}, one), ["history/principal"]), budget)) == 1
	denied(refund({"amount": 1}), {"other": {"hour": {"count": 0}}}) == []
}

test_a_budget_is_for_patterns_and_for_several_operations if {
	spent := {"create_refund": windows(3, {}), "PostRefunds": windows(2, {}), "create_refund_x": windows(4, {})}
	count(denied(after(spent, one), {"create_refund": {"with": ["PostRefunds"], "hour": {"count": 5}}})) == 1
	denied(after(spent, one), {"create_refund": {"with": ["PostRefunds"], "hour": {"count": 6}}}) == []
	count(denied(after(spent, one), {"PostRefunds": {"with": ["create_*", "create_refund"], "hour": {"count": 9}}})) == 1
	denied(after(spent, one), {"PostRefunds": {"with": ["create_*", "create_refund"], "hour": {"count": 10}}}) == []
	denied(after(spent, one), {"PostRefunds": {"hour": {"count": 0}}}) == []
}

test_a_budget_for_a_class_is_not_one_for_an_operation_of_that_name if {
	spent := object.union(after({}, one), {"history": {"principal": {"classes": {"financial": windows(5, {})}}}})
	count(denied(spent, {"financial": {"hour": {"count": 5}}})) == 1
	denied(spent, {"financial": {"hour": {"count": 6}}}) == []
	denied(spent, {"write": {"hour": {"count": 0}}}) == []
	named := object.union(spent, {"operation": {"name": "write", "class": "financial"}})
	denied(named, {"write": {"hour": {"count": 0}}}) == []
}

test_a_list_spends_nothing if {
	shown := object.union(after({"create_refund": windows(5, {})}, one), {"phase": "list"})
	denied(shown, {"create_refund": {"hour": {"count": 5}}}) == []
}
