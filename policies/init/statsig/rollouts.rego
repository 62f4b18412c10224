# A change that gives a feature to more than a few users needs a person. The share is in data.yaml.
package countersign.policy.rollouts

hold contains {"rule": "rollouts.wide", "reason": reason, "tier": "high"} if {
	input.phase == "call"
	not input.operation.class == "read"
	some share in shares
	not is_narrow(share)
}

# Wherever it stands: in rules, in rules of rules, in the body of a request.
shares contains value if {
	walk(input.arguments, [path, value])
	path[count(path) - 1] == "passPercentage"
}

is_narrow(share) if {
	is_number(share)
	share >= 0
	share <= data.rollouts.most_percent
}

reason := sprintf("a rollout to more than %v %% of users needs a person", [data.rollouts.most_percent])
