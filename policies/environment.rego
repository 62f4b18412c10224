# Environment binding. A server works in one environment, which the operator declared and, where its key or its answer
# shows it, proved. A call that reaches for another one is denied, whatever else allows it.
package countersign.policy.environment

deny contains {"rule": "environment.conflict", "reason": reason} if {
	conflict := input.environment.conflict
	reason := sprintf("the environment of server %v contradicts itself: %v", [server, conflict])
}

# `input.operation.environment` is what the arguments name, in the words of the catalog. A mode that is neither
# `production` nor `test` fits no environment, and an account has to be bound: by the configuration, by data, or because
# the server said that it is the key's own. What means every environment at once fits production alone: it cannot reach
# further than there.
deny contains {"rule": "environment.elsewhere", "reason": reason} if {
	named := input.operation.environment
	not is_bound(named)
	reason := sprintf("the arguments reach for %v, but server %v is not bound to it", [words(named), server])
}

# One session works in one place: the first call that was let through and named a mode or accounts says which.
deny contains {"rule": "environment.session", "reason": reason} if {
	input.operation.environment
	leaves_session
	reason := sprintf("the arguments reach for %v, but this session works in %v; begin a new session for it", [
		words(input.operation.environment),
		words(input.session),
	])
}

# A place in words; one of another form as it is spelled.
words(place) := concat(", ", parts(place)) if count(parts(place)) > 0

words(place) := json.marshal(place) if count(parts(place)) == 0

parts(place) := [] if not is_object(place)

parts(place) := array.concat(array.concat(mode, all), array.concat(accounts, environments)) if {
	is_object(place)
	mode := [text | place.mode; text := sprintf("mode %v", [json.marshal(place.mode)])]
	all := ["every environment" | place.everywhere == true]
	accounts := named("account", object.get(place, "accounts", []))
	environments := named("environment", object.get(place, "environments", []))
}

named(word, names) := [text | is_array(names); some name in names; text := sprintf("%v %v", [word, json.marshal(name)])]

leaves_session if {
	input.operation.environment.mode != input.session.mode
}

leaves_session if {
	input.session.accounts[0]
	some account in input.operation.environment.accounts
	not account in input.session.accounts
}

is_bound(named) if {
	is_object(named)
	is_array(named.accounts)
	is_array(named.environments)
	fits_mode(named)
	not names_another(named)
	fits_everywhere(named)
}

names_another(named) if {
	some account in named.accounts
	not account in object.get(data.environment.accounts, server, [])
	not account in object.get(input, ["environment", "accounts"], [])
}

names_another(named) if {
	some name in named.environments
	not name == input.environment.name
	not is_declared(name)
}

# Another environment that the operator has declared for the server; out of a sandbox, no more than another sandbox.
is_declared(name) if {
	name in data.environment.environments[input.server.name]
	input.environment.production == true
}

is_declared(name) if {
	name in data.environment.environments[input.server.name]
	name in ["sandbox", "test", "development", "staging"]
}

fits_mode(named) if not "mode" in object.keys(named)

fits_mode(named) if {
	named.mode == "production"
	input.environment.production == true
}

fits_mode(named) if {
	named.mode == "test"
	input.environment.production == false
}

fits_everywhere(named) if named.everywhere == false

fits_everywhere(named) if {
	named.everywhere == true
	input.environment.production == true
}

# Keys have no business in arguments, in what a client answers to a server's questions or in `_meta`, and a live one may be
# the way out of a sandbox. The first look is cheap, since nearly every call ends there.
deny contains {"rule": "environment.live_key", "reason": "the arguments, answers or _meta contain what looks like a live key"} if {
	has_live_key
}

has_live_key if {
	input.arguments
	text := json.marshal(input.arguments)
	contains(text, "k_live_")
	is_live_key(text)
}

has_live_key if {
	input.responses
	text := json.marshal(input.responses)
	contains(text, "k_live_")
	is_live_key(text)
}

has_live_key if {
	input.meta
	text := json.marshal(input.meta)
	contains(text, "k_live_")
	is_live_key(text)
}

is_live_key(text) if regex.match(`[rs]k_live_[0-9A-Za-z]`, text)

server := object.get(input, ["server", "name"], "that is not named")
