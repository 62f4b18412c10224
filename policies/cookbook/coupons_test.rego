package countersign.policy.coupons_test

import data.countersign.policy.coupons

coupon(terms) := {"phase": "call", "operation": {"name": "create_coupon"}, "arguments": terms}

inside(terms) := {"phase": "call", "operation": {"name": "PostCoupons"}, "arguments": {"parameters": terms}}

test_a_small_percentage_passes if {
	every percent in [1, 12.5, 50] {
		coupons.deny == set() with input as coupon({"percent_off": percent}) with data.coupons.most_percent as 50
		coupons.deny == set() with input as inside({"percent_off": percent}) with data.coupons.most_percent as 50
	}
}

test_everything_else_is_denied if {
	every terms in [
		{"percent_off": 51}, {"percent_off": 0}, {"percent_off": "10"}, {"percent_off": null}, {},
		{"amount_off": 100}, {"percent_off": 10, "amount_off": 100}, {"percent_off": 10, "amount_off": null},
	] {
		count(coupons.deny) == 1 with input as coupon(terms) with data.coupons.most_percent as 50
		count(coupons.deny) == 1 with input as inside(terms) with data.coupons.most_percent as 50
	}
}

test_terms_in_the_wrong_place_are_no_terms if {
	count(coupons.deny) == 1 with input as inside({"parameters": {"percent_off": 10}}) with data.coupons.most_percent as 50
}

test_other_operations_are_left_alone if {
	coupons.deny == set() with input as {"phase": "call", "operation": {"name": "list_coupons"}, "arguments": {}}
}
