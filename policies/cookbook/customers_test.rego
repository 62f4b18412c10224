package countersign.policy.customers_test

import data.countersign.policy.customers

call(who, targets) := {
	"phase": "call",
	"principal": {"name": who},
	"operation": {"class": "write", "targets": targets},
}

owners := {"acme-agent": ["cus_acme_", "in_acme_"]}

test_own_customers_pass if {
	customers.deny == set() with input as call("acme-agent", ["cus_acme_1", "in_acme_7"]) with data.customers as owners
}

test_others_are_denied if {
	every targets in [["cus_other_1"], ["cus_acme_1", "cus_other_1"], [""]] {
		count(customers.deny) == 1 with input as call("acme-agent", targets) with data.customers as owners
	}
}

test_a_change_without_a_target_is_denied if {
	count(customers.deny) == 1 with input as call("acme-agent", []) with data.customers as owners
}

test_a_principal_that_data_does_not_name_is_left_alone if {
	customers.deny == set() with input as call("other-agent", ["cus_x"]) with data.customers as owners
}
