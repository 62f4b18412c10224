package countersign.policy.claims_test

import data.countersign.policy.claims

tool(claim, class) := {"tool": {"annotations": {"readOnlyHint": claim}}, "operation": {"class": class}}

test_a_wrong_claim_is_held if {
	every class in ["write", "financial", "destructive", "unknown"] {
		count(claims.hold) == 1 with input as tool(true, class)
	}
}

test_a_right_claim_is_left_alone if {
	claims.hold == set() with input as tool(true, "read")
	claims.hold == set() with input as tool(false, "write")
	claims.hold == set() with input as {"operation": {"class": "write"}}
}
