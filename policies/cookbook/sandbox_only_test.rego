package countersign.policy.sandbox_only_test

import data.countersign.policy.sandbox_only

call(who, production) := {"principal": {"name": who}, "environment": {"production": production}}

test_the_named_stay_in_sandboxes if {
	sandbox_only.deny == set() with input as call("intern", false) with data.sandbox_only as ["intern"]
	every production in [true, null, "false"] {
		count(sandbox_only.deny) == 1 with input as call("intern", production) with data.sandbox_only as ["intern"]
	}
}

test_an_unknown_environment_is_production if {
	count(sandbox_only.deny) == 1 with input as {"principal": {"name": "intern"}} with data.sandbox_only as ["intern"]
}

test_others_go_anywhere if {
	sandbox_only.deny == set() with input as call("lead", true) with data.sandbox_only as ["intern"]
}
