# Refunds: billing agents may make them, an operator rules on the large ones, and nobody refunds without a reason.
package countersign.policy.refunds

allow contains {"rule": "refunds.agents", "reason": "billing agents may refund"} if {
	input.operation.name == "create_refund"
	startswith(input.principal.name, "billing-")
}

hold contains {
	"rule": "refunds.over_limit",
	"reason": sprintf("a refund over %v needs a person", [data.refunds.limit]),
	"tier": "high",
	"confirm_with": what_to_type,
	"ttl_seconds": 600,
} if {
	input.operation.name == "create_refund"
	not small
}

# A list has no arguments yet: only a call can be denied for them.
deny contains {"rule": "refunds.reason", "reason": "give a reason: duplicate, fraudulent or requested_by_customer"} if {
	input.phase == "call"
	input.operation.name == "create_refund"
	not input.arguments.reason in {"duplicate", "fraudulent", "requested_by_customer"}
}

# Written so that a missing, negative, fractional or quoted amount is not small. Without an amount all is refunded.
small if {
	amount := input.arguments.amount
	is_number(amount)
	amount > 0
	amount == floor(amount)
	amount <= data.refunds.limit
}

default what_to_type := "/operation/name"

what_to_type := "/arguments/amount" if is_number(input.arguments.amount)
