# Dangerous calls need a person. What a class of operation needs in an environment is a table in data, and so are the
# amounts that pass or that need two operators. Everything is written so that a missing or odd value tightens: what is
# not known to pass is held.
package countersign.policy.destructive

hold contains {"rule": "destructive.sandbox", "reason": reason, "tier": tier, "confirm_with": confirm_with} if {
	not passes
	zone == "sandbox"
}

hold contains {"rule": "destructive.production", "reason": reason, "tier": tier, "confirm_with": confirm_with} if {
	not passes
	zone == "production"
}

passes if need == "pass"

passes if {
	data.destructive.limits != {}
	is_within(small)
}

# What cannot be undone takes two operators, unless it is within what data says that one may let through.
hold contains {"rule": "destructive.two_operators", "reason": two, "tier": tier, "approvals": 2} if {
	data.destructive.one_operator != {}
	not input.operation.reversible == true
	one != {}
	not is_within(one)
	two := concat(" ", [reason, "is more than one operator may let through alone"])
}

# A vendor's token says that a person agreed at the vendor's. It counts for nothing here, and one that the server has
# not given for these arguments was made up or belongs to another call.
deny contains {"rule": "destructive.token", "reason": text} if {
	some word in input.operation.confirmations
	not word.by == "agent"
	not word.issued == true
	text := sprintf("%v says that somebody agreed, but the server has given no such token for these arguments: leave it out", [object.get(word, "at", "the call")])
}

# The row of a table: that of the environment's own name, else that of its zone.
default zone := "production"

zone := "sandbox" if input.environment.production == false

in_row(table, key, default_value) := object.get(
	table, [object.get(input, ["environment", "name"], ""), key],
	object.get(table, [zone, key], default_value),
)

need := in_row(data.destructive.needs, class, "high")

class := object.get(input, ["operation", "class"], "unknown")

# The entry of a table of limits: that of the operation, else that of its class. A class is never an operation's name.
small := in_row(data.destructive.limits, operation, in_row(data.destructive.limits, class, {}))

one := in_row(data.destructive.one_operator, operation, in_row(data.destructive.one_operator, class, {}))

default operation := ""

operation := input.operation.name if {
	not input.operation.name in {"read", "write", "financial", "destructive", "unknown"}
}

# A call is within a limit where everything that says how much it does is a positive whole number and no more than the
# limit. What it leaves out, or says in a unit or currency that the limit does not name, is more; and so is a call that
# does something besides, or of which nothing is known.
is_within(limit) if {
	is_object(limit)
	limit != {}
	is_measured
	says["money"]
	is_small("money", "amount", limit)
	is_small("magnitude", "value", limit)
}

is_within(limit) if {
	is_object(limit)
	limit != {}
	is_measured
	says["magnitude"]
	is_small("money", "amount", limit)
	is_small("magnitude", "value", limit)
}

is_measured if {
	not input.operation.unmeasured
	not class == "unknown"
}

says contains name if {
	some name in ["money", "magnitude"]
	object.get(input, ["operation", name], null) != null
}

is_small(name, _, _) if not name in says

is_small(name, number, limit) if {
	measure := input.operation[name]
	fits(measure[number], object.get(limit, measure.unit, null))
}

is_small(name, number, limit) if {
	measure := input.operation[name]
	is_string(measure.currency)
	fits(measure[number], object.get(limit, [measure.unit, lower(measure.currency)], null))
}

fits(value, most) if {
	is_number(value)
	is_number(most)
	value > 0
	value == floor(value)
	value <= most
}

default tier := "high"

tier := need if need in {"low", "medium"}

# What the operator types for a call of the highest tier: the amount where there is one, else the target, else the
# name of the operation.
default confirm_with := []

confirm_with := "/operation/money/amount" if {
	tier == "high"
	amount := input.operation.money.amount
	type_name(amount) in {"number", "string"}
	amount != ""
} else := "/operation/targets/0" if {
	tier == "high"
	input.operation.targets[0] != ""
} else := "/operation/name" if {
	tier == "high"
}

reason := sprintf("%v (%v) in %v", [
	object.get(input, ["operation", "name"], "an unknown operation"),
	object.get(input, ["operation", "class"], "unknown"),
	object.get(input, ["environment", "name"], "an unknown environment"),
])
