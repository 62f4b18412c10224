# A principal that data names works for its own customers only: every target begins with one of its prefixes, and a
# change has a target.
package countersign.policy.customers

deny contains {"rule": "customers.foreign", "reason": sprintf("%v is not a customer of this principal", [target])} if {
	input.phase == "call"
	some target in input.operation.targets
	not is_own(target)
}

deny contains {"rule": "customers.nobody", "reason": "the call does not say for whom it is"} if {
	input.phase == "call"
	data.customers[input.principal.name]
	not input.operation.class == "read"
	count(object.get(input.operation, "targets", [])) == 0
}

is_own(_) if not data.customers[input.principal.name]

is_own(target) if {
	some prefix in data.customers[input.principal.name]
	startswith(target, prefix)
}
