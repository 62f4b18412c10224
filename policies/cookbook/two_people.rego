# A refund over the limit of data needs two operators, and so does one that says no amount.
package countersign.policy.two_people

hold contains {
	"rule": "two_people.refund",
	"reason": "a large refund needs two people",
	"tier": "high",
	"approvals": 2,
} if {
	input.operation.name in {"create_refund", "PostRefunds"}
	not is_small
}

is_small if {
	amount := input.operation.money.amount
	is_number(amount)
	amount > 0
	amount <= data.two_people.from
}
