# Characters that nobody can see have no business in a call: they hide words from whoever approves it. (Pictures that
# are joined of several have one of them between their parts, and are denied too.)
package countersign.policy.hidden

deny contains {"rule": "hidden.characters", "reason": "the call contains characters that cannot be seen"} if {
	some text in texts
	regex.match(`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\p{Cf}\p{Co}]`, text)
}

said := [object.get(input, "arguments", {}), object.get(input, "responses", {})]

texts contains value if {
	walk(said, [_, value])
	is_string(value)
}

# The names of members are text as well.
texts contains name if {
	walk(said, [path, _])
	some name in path
	is_string(name)
}
