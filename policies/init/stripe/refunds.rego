# Agents refund up to a limit. What is above it, or says no clear amount, is denied: nobody is asked. Below it the
# built-in rules decide whether a person looks. The limit is in data.yaml.
package countersign.policy.refunds

deny contains {"rule": "refunds.too_large", "reason": reason} if {
	input.phase == "call"
	input.operation.name in {"create_refund", "PostRefunds"}
	not is_small
}

# A refund without an amount is for all that was paid.
is_small if {
	amount := input.operation.money.amount
	is_number(amount)
	amount > 0
	amount <= data.refunds.most
}

reason := sprintf("an agent refunds at most %v, and says how much", [data.refunds.most])
