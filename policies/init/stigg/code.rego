# Stigg's server runs code that the agent writes, with the key at hand. Code that names the key, another address or
# another environment is denied. This finds honest mistakes and lazy attacks, and code can hide a word from it: the real
# guard is that a person reads the code, which the built-in rules ask for.
package countersign.policy.code

deny contains {"rule": "code.forbidden", "reason": sprintf("the code says %q", [word])} if {
	input.phase == "call"
	input.tool.name == "execute"
	some word in data.code.forbidden
	contains(lower(json.marshal(input.arguments)), lower(word))
}
