package countersign.policy.gates_test

import data.countersign.policy.gates

change(percent) := {"phase": "call", "operation": {"magnitude": {"value": percent, "unit": "percent"}}}

test_a_narrow_change_is_not_held if {
	every percent in [0, 0.5, 10] {
		gates.hold == set() with input as change(percent) with data.gates.most_percent as 10
	}
}

test_a_wide_or_odd_change_is_held if {
	every percent in [10.1, 100, -1, "5", null] {
		count(gates.hold) == 1 with input as change(percent) with data.gates.most_percent as 10
	}
}

test_a_change_without_a_percentage_is_held if {
	everybody := {"phase": "call", "operation": {"magnitude": {"unit": "percent", "absent": "all"}}}
	count(gates.hold) == 1 with input as everybody with data.gates.most_percent as 10
}

test_other_magnitudes_are_left_alone if {
	counted := {"phase": "call", "operation": {"magnitude": {"value": 100, "unit": "count"}}}
	gates.hold == set() with input as counted with data.gates.most_percent as 10
	gates.hold == set() with input as {"phase": "call", "operation": {"magnitude": 100}} with data.gates.most_percent as 10
}
