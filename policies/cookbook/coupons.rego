# No coupon takes off more than the percentage of data, or a fixed amount.
package countersign.policy.coupons

deny contains {"rule": "coupons.too_much", "reason": "agents give discounts of a small percentage only"} if {
	input.phase == "call"
	input.operation.name in {"create_coupon", "PostCoupons"}
	not is_small
}

is_small if {
	is_number(terms.percent_off)
	terms.percent_off > 0
	terms.percent_off <= data.coupons.most_percent
	not "amount_off" in object.keys(terms)
}

# The arguments of the tool of that name, or of the operation inside of another tool.
terms := input.arguments.parameters if input.operation.name == "PostCoupons"

terms := input.arguments if input.operation.name == "create_coupon"
