# A change that reaches more than some percent of users needs a person. What leaves the percentage out reaches all.
package countersign.policy.gates

hold contains {"rule": "gates.wide", "reason": "this reaches more than a few users", "tier": "high"} if {
	input.phase == "call"
	object.get(input, ["operation", "magnitude", "unit"], "") == "percent"
	not is_narrow
}

is_narrow if {
	percent := input.operation.magnitude.value
	is_number(percent)
	percent >= 0
	percent <= data.gates.most_percent
}
