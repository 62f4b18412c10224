# Scoped permissions. A call is allowed where a scope of its principal covers it. A scope is SERVER/CLASS or
# SERVER/OPERATION; `*` alone stands for every server or every operation, and a `*` inside OPERATION for any letters.
# The name of a class means the class and never an operation of that name, so an upstream gains nothing by calling a
# tool `read`. A scope may have conditions, and budgets limit how often and how much.
package countersign.policy.scopes

allow contains {"rule": "scopes.covered", "reason": concat(" ", ["covered by scope", scope])} if {
	some scope in input.principal.scopes
	names(scope)
}

allow contains {"rule": "scopes.pattern", "reason": concat(" ", ["covered by scope", scope])} if {
	some scope in input.principal.scopes
	contains(substring(scope, 2, -1), "*") # What stands after `*/` at the least: a quick no to most scopes.
	is_like(scope)
}

allow contains {"rule": "scopes.conditional", "reason": concat(" ", ["covered under conditions by scope", entry.scope])} if {
	some entry in input.principal.conditional_scopes
	covers(entry.scope)
	not fails(entry)
}

# A list may show a tool whose class depends on its arguments; the call itself is judged by its own class.
allow contains {"rule": "scopes.listed", "reason": "a scope may cover a call of it"} if {
	input.phase == "list"
	input.operation.class == "unknown"
	some scope in scopes_of_any_kind
	split(scope, "/")[0] in ["*", input.server.name]
}

scopes_of_any_kind contains scope if some scope in input.principal.scopes

scopes_of_any_kind contains scope if {
	some entry in input.principal.conditional_scopes
	scope := entry.scope
}

covers(scope) if names(scope)

covers(scope) if is_like(scope)

# An operation may have `/` in its name, a server has none.
names(scope) if {
	parts := split(scope, "/")
	count(parts) > 1
	parts[0] in ["*", input.server.name]
	what := substring(scope, count(parts[0]) + 1, -1)
	what in [input.operation.class, input.operation.name, "*"]
	not another_class(what)
}

is_like(scope) if {
	contains(scope, "*")
	parts := split(scope, "/")
	count(parts) > 1
	parts[0] in ["*", input.server.name]
	what := substring(scope, count(parts[0]) + 1, -1)
	contains(what, "*")
	what != "*"
	glob.match(what, null, input.operation.name)
}

another_class(what) if {
	what != input.operation.class
	what in classes
}

classes := {"read", "write", "financial", "destructive", "unknown"}

# Conditions. What is there has to be met; a list, which has no arguments and shows what may be covered later, asks for
# the environment and the end alone.
fails(entry) if {
	some test in entry.where
	not passes(test)
	not input.phase == "list"
}

fails(entry) if {
	"amount" in object.keys(entry)
	not is_within(entry.amount)
	not input.phase == "list"
}

fails(entry) if {
	"hours" in object.keys(entry)
	not is_open(entry.hours)
	not input.phase == "list"
}

fails(entry) if {
	"environments" in object.keys(entry)
	not is_here(entry.environments)
}

fails(entry) if {
	"until" in object.keys(entry)
	not is_current(entry)
}

passes(test) if {
	test.is == "max"
	is_amount(at(test), test)
	is_number(test.value)
	at(test) <= test.value
}

passes(test) if {
	test.is == "min"
	is_amount(at(test), test)
	is_number(test.value)
	at(test) >= test.value
}

passes(test) if {
	test.is == "in"
	at(test) in test.value
}

passes(test) if {
	test.is == "prefix"
	is_string(at(test))
	startswith(at(test), test.value)
}

passes(test) if {
	test.is == "glob"
	is_string(at(test))
	glob.match(test.value, null, at(test))
}

passes(test) if {
	test.is == "present"
	not at(test) == null
}

# It is not there, not even as null, where the default makes the whole difference.
passes(test) if {
	test.is == "absent"
	object.get(input.arguments, test.at, 0) == 0
	object.get(input.arguments, test.at, 1) == 1
}

at(test) := object.get(input.arguments, test.at, null)

is_within(limit) if {
	is_all
	amount := input.operation.money.amount
	is_amount(amount, limit)
	amount > 0
	is_number(limit.max)
	amount <= limit.max
	is_in_currency(limit)
}

# The amount is all that the call does: nothing in it does more, and no quantity or percentage stands beside it.
is_all if {
	is_measured
	not is_several
}

is_all if {
	is_measured
	input.operation.magnitude.unit == "count"
	input.operation.magnitude.value == 1
}

is_several if input.operation.magnitude.unit in {"count", "percent"}

is_measured if {
	not input.operation.unmeasured
	input.operation.class != "unknown"
}

is_in_currency(limit) if not "currency" in object.keys(limit)

is_in_currency(limit) if {
	is_string(input.operation.money.currency)
	lower(input.operation.money.currency) == limit.currency
}

# A number that is not negative, and whole where the limit is.
is_amount(value, limit) if {
	is_number(value)
	value >= 0
	is_whole_enough(value, limit)
}

is_whole_enough(value, limit) if not limit.whole

is_whole_enough(value, _) if value == floor(value)

is_here(environments) if input.environment.name in environments

is_current(entry) if {
	is_number(input.now)
	is_number(entry.until)
	input.now < entry.until
}

is_open(hours) if {
	[hour, minute, _] := time.clock([input.now, hours.zone])
	minutes := (hour * 60) + minute
	is_number(hours.from)
	is_number(hours.to)
	minutes >= hours.from
	minutes < hours.to
	time.weekday([input.now, hours.zone]) in hours.days
}

# Budgets: how often, and how much money, in the last minute, hour and day. `data.budgets` states them for a server by
# operation, by pattern or by class; `input.history` is what this principal has been let through lately, and `adds`
# what this call would add to it.
deny contains {"rule": "scopes.budget", "reason": reason} if {
	data.budgets[input.server.name]
	some over in overspent
	reason := sprintf("the budget `%v` of this principal %v%v", [over.name, over.why, over.again])
}

overspent contains {"name": name, "why": "cannot be looked up, so nothing is spent", "again": ""} if {
	some name in concerned
	not is_known
}

overspent contains {"name": asked.name, "why": why, "again": again(asked.past)} if {
	some asked in limits
	spent := sum([past.count | some past in asked.past; is_number(past.count)])
	spent + input.history.adds.count > asked.limit.count
	why := sprintf("is %v calls per %v, and %v are spent", [asked.limit.count, asked.window, spent])
}

overspent contains {"name": asked.name, "why": why, "again": ""} if {
	some asked in limits
	"sum" in object.keys(asked.limit)
	input.history.adds.unknown > 0
	why := sprintf("is a sum per %v, and the call names no amount that can be counted", [asked.window])
}

overspent contains {"name": asked.name, "why": why, "again": ""} if {
	some asked in limits
	"sum" in object.keys(asked.limit)
	some currency, _ in input.history.adds.sum
	not currency in object.keys(asked.limit.sum)
	not "any" in object.keys(asked.limit.sum)
	why := sprintf("has nothing for the call's currency (%v) per %v", [currency, asked.window])
}

overspent contains {"name": asked.name, "why": why, "again": again(asked.past)} if {
	some asked in limits
	"sum" in object.keys(asked.limit)
	some past in asked.past
	past.unknown > 0
	why := sprintf("is a sum per %v, and a call before had no amount that could be counted", [asked.window])
}

overspent contains {"name": asked.name, "why": why, "again": again(asked.past)} if {
	some asked in limits
	some currency, most in asked.limit.sum
	not currency in {"any", "none"}
	some past in asked.past
	past.sum.none > 0
	why := sprintf("is %v %v per %v, and a call before named no currency", [most, currency, asked.window])
}

overspent contains {"name": asked.name, "why": why, "again": again(asked.past)} if {
	some asked in limits
	some currency, most in asked.limit.sum
	spent := sum([amount | some past in asked.past; some other, amount in past.sum; currency in {other, "any"}])
	adds := sum([amount | some other, amount in input.history.adds.sum; currency in {other, "any"}])
	spent + adds > most
	why := sprintf("is %v (%v) per %v; %v are spent, and this would add %v", [most, currency, asked.window, spent, adds])
}

limits contains {"name": name, "window": window, "limit": limit, "past": past} if {
	is_known
	some name in concerned
	some window in ["minute", "hour", "day"]
	limit := data.budgets[input.server.name][name][window]
	past := [counted[window] | some counted in counters(name); is_object(counted[window])]
}

concerned contains name if {
	not input.phase == "list"
	some name, budget in data.budgets[input.server.name]
	some what in parts(name, budget)
	is_part(what, object.get(input, ["operation", "name"], ""), object.get(input, ["operation", "class"], "unknown"))
}

is_known if {
	is_number(input.history.adds.count)
	is_object(input.history.principal.operations)
	is_object(input.history.principal.classes)
}

parts(name, budget) := array.concat([name], object.get(budget, "with", []))

counters(name) := [input.history.principal.classes[name]] if name in classes

counters(name) := all if {
	not name in classes
	all := [counted | some operation, counted in input.history.principal.operations; is_any_part(name, operation)]
}

is_any_part(name, operation) if {
	some what in parts(name, data.budgets[input.server.name][name])
	is_part(what, operation, "")
}

is_part(what, _, class) if {
	what in classes
	what == class
}

is_part(what, operation, _) if {
	not what in classes
	what == operation
}

is_part(what, operation, _) if {
	contains(what, "*")
	glob.match(what, null, operation)
}

# When the oldest of what is spent no longer counts.
again(past) := "" if count(times(past)) == 0

again(past) := concat("", ["; free again not before ", min(times(past))]) if count(times(past)) > 0

times(past) := {counted.free | some counted in past; is_string(counted.free)}
