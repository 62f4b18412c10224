# Scoped permissions. A call is allowed where a scope of its principal covers it. A scope is SERVER/CLASS or
# SERVER/OPERATION; `*` alone stands for every server or every operation, and a `*` inside OPERATION for any letters.
# The name of a class means the class and never an operation of that name, so an upstream gains nothing by calling a
# tool `read`.
package countersign.policy.scopes

allow contains {"rule": "scopes.covered", "reason": concat(" ", ["covered by scope", scope])} if {
	some scope in input.principal.scopes
	[server, what] := split(scope, "/")
	server in ["*", input.server.name]
	what in [input.operation.class, input.operation.name, "*"]
	not another_class(what)
}

allow contains {"rule": "scopes.pattern", "reason": concat(" ", ["covered by scope", scope])} if {
	some scope in input.principal.scopes
	contains(scope, "*")
	[server, what] := split(scope, "/")
	contains(what, "*")
	what != "*"
	server in ["*", input.server.name]
	glob.match(what, null, input.operation.name)
}

# A list may show a tool whose class depends on its arguments; the call itself is judged by its own class.
allow contains {"rule": "scopes.listed", "reason": "a scope may cover a call of it"} if {
	input.phase == "list"
	input.operation.class == "unknown"
	some scope in input.principal.scopes
	split(scope, "/")[0] in ["*", input.server.name]
}

another_class(what) if {
	what != input.operation.class
	what in {"read", "write", "financial", "destructive", "unknown"}
}
