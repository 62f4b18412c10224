# Environment binding. A server works in one environment, which the operator declared and, where the key shows it,
# the key proves. A call that reaches for another one is denied, whatever else allows it.
package countersign.policy.environment

deny contains {"rule": "environment.conflict", "reason": reason} if {
	conflict := input.environment.conflict
	reason := sprintf("the environment of server %v contradicts itself: %v", [server, conflict])
}

# `input.operation.environment` is MODE/ACCOUNT: what the arguments name, in the words of the catalog. Either part may
# be empty. A mode that is neither `production` nor `test` fits no environment, and an account has to be listed in data.
deny contains {"rule": "environment.elsewhere", "reason": reason} if {
	named := input.operation.environment
	not is_bound(named)
	reason := sprintf("the arguments reach for %q, but server %v is not bound to it", [named, server])
}

is_bound(named) if {
	at := indexof(named, "/")
	fits_mode(substring(named, 0, at))
	fits_account(substring(named, at + 1, -1))
}

fits_mode(mode) if mode == ""

fits_mode("production") if input.environment.production == true

fits_mode("test") if input.environment.production == false

fits_account(account) if account == ""

fits_account(account) if account in object.get(data.environment.accounts, input.server.name, [])

# Keys have no business in arguments, nor in what a client answers to a server's questions, and a live one may be the way
# out of a sandbox. The first look is cheap, since nearly every call ends there.
deny contains {"rule": "environment.live_key", "reason": "the arguments or answers contain what looks like a live key"} if {
	text := json.marshal([object.get(input, "arguments", {}), object.get(input, "responses", {})])
	contains(text, "k_live_")
	regex.match(`[rs]k_live_[0-9A-Za-z]`, text)
}

server := object.get(input, ["server", "name"], "that is not named")
