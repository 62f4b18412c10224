# Scoped permissions. A call is allowed where a scope of its principal covers it; a scope is SERVER/CLASS or
# SERVER/OPERATION. SERVER and OPERATION may be globs. The name of a class means the class and never an operation
# of that name, so an upstream gains nothing by calling a tool `read`.
package countersign.policy.scopes

allow contains {"rule": "scopes.covered", "reason": sprintf("scope %v of the principal covers it", [scope])} if {
	some scope in input.principal.scopes
	cut := indexof(scope, "/")
	cut > 0
	glob.match(substring(scope, 0, cut), null, input.server.name)
	covers(substring(scope, cut + 1, -1))
}

covers(what) if what == input.operation.class

covers(what) if {
	not what in classes
	glob.match(what, null, input.operation.name)
}

# A list may show a tool whose class depends on its arguments; the call itself is judged by its own class.
covers(_) if {
	input.phase == "list"
	input.operation.class == "unknown"
}

classes := {"read", "write", "financial", "destructive", "unknown"}
