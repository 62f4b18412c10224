# Environment binding. A server works in one environment, which the operator declared and, where the key shows it,
# the key proves. A call that reaches for another one is denied, whatever else allows it.
package countersign.policy.environment

deny contains {"rule": "environment.conflict", "reason": reason} if {
	conflict := input.environment.conflict
	reason := sprintf("the environment of server %v contradicts itself: %v", [server, conflict])
}

# `input.operation.environment` is MODE/ACCOUNT: what the arguments name, in the words of the catalog. Either part may
# be empty. A mode that is neither `production` nor `test` fits no environment.
deny contains {"rule": "environment.other_mode", "reason": reason} if {
	mode := split(input.operation.environment, "/")[0]
	mode != ""
	not modes[mode] == input.environment.production
	reason := sprintf("the arguments ask for mode %q, but server %v is bound to another one", [mode, server])
}

deny contains {"rule": "environment.other_account", "reason": reason} if {
	named := input.operation.environment
	account := substring(named, indexof(named, "/") + 1, -1)
	account != ""
	not account in data.environment.accounts[input.server.name]
	reason := sprintf("the arguments name account %q, which is not bound to server %v", [account, server])
}

# Keys have no business in arguments, and a live one may be the way out of a sandbox.
deny contains {"rule": "environment.live_key", "reason": "the arguments contain what looks like a live key"} if {
	regex.match(`[rs]k_live_[0-9A-Za-z]`, json.marshal(input.arguments))
}

modes := {"production": true, "test": false}

server := object.get(input, ["server", "name"], "that is not named")
