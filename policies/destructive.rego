# Dangerous calls need a person. Reads pass. What another class of operation needs is a table in data,
# `destructive.needs`: `pass`, or the tier of a hold. Everything is written so that a missing value tightens: what is
# not known to pass is held.
package countersign.policy.destructive

hold contains {"rule": "destructive.sandbox", "reason": reason, "tier": tier} if {
	not input.operation.class == "read"
	not passes
	zone == "sandbox"
}

hold contains {"rule": "destructive.production", "reason": reason, "tier": tier, "confirm_with": confirm_with} if {
	not input.operation.class == "read"
	not passes
	zone == "production"
}

default zone := "production"

zone := "sandbox" if input.environment.production == false

need := object.get(data.destructive.needs, [zone, object.get(input, ["operation", "class"], "unknown")], "high")

passes if need == "pass"

# A limit spares a person small amounts. Only a positive whole number can be small.
passes if {
	input.operation.class == "financial"
	limit := object.get(data.destructive.limits, [zone, input.operation.name], null)
	amount := input.operation.money.amount
	is_number(limit)
	is_number(amount)
	amount > 0
	amount == floor(amount)
	amount <= limit
}

default tier := "high"

tier := need if need in {"low", "medium"}

# What the operator types for a call of the highest tier: the amount where there is one, else the target, else the
# name of the operation.
default confirm_with := []

confirm_with := "/operation/money/amount" if {
	tier == "high"
	can_be_typed(input.operation.money.amount)
} else := "/operation/targets/0" if {
	tier == "high"
	can_be_typed(input.operation.targets[0])
} else := "/operation/name" if {
	tier == "high"
}

can_be_typed(value) if is_number(value)

can_be_typed(value) if {
	is_string(value)
	value != ""
}

reason := sprintf("%v (%v) in %v", [
	object.get(input, ["operation", "name"], "an unknown operation"),
	object.get(input, ["operation", "class"], "unknown"),
	object.get(input, ["environment", "name"], "an unknown environment"),
])
