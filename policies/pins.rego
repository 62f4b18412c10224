# Tool pins. The operator trusts one definition of each tool: the one that its server listed first, or that he has
# pinned since. What a call of a tool needs whose definition is not that one is a table in data, `pins.needs`: `pass`,
# the tier of a hold, or `deny`, which also takes the tool off lists. What the table does not have is denied.
package countersign.policy.pins

deny contains {"rule": "pins.denied", "reason": reason} if {
	not input.tool.pin == "match"
	not need in {"pass", "low", "medium", "high"}
	about_a_tool
}

hold contains {"rule": "pins.held", "reason": reason, "tier": need} if {
	not input.tool.pin == "match"
	need in {"low", "medium", "high"}
	about_a_tool
}

# Arguments that do not fit the tool's schema never come here. These could not be compared with it.
deny contains {"rule": "pins.schema_denied", "reason": unchecked} if {
	not schema_need in {"pass", "low", "medium", "high"}
	about_a_tool
}

hold contains {"rule": "pins.schema_held", "reason": unchecked, "tier": schema_need} if {
	schema_need in {"low", "medium", "high"}
	about_a_tool
}

# Resources, prompts, requests to an API and the like have no definition that could be pinned.
about_a_tool if not about_something_else

about_something_else if {
	input.method in {
		"resources/read", "resources/subscribe", "prompts/get", "completion/complete", "subscriptions/listen",
		"roots/list", "api/request",
	}
}

pin := object.get(input, ["tool", "pin"], "none")

need := object.get(data.pins, ["needs", pin], "deny")

schema_need := object.get(data.pins, ["schema", object.get(input, ["tool", "schema"], "none")], "deny")

name := object.get(input, ["tool", "name"], "that has no name")

server := object.get(input, ["server", "name"], "that has no name")

default reason := "nothing is known of the definition of this tool"

reason := sprintf("the definition of tool %v is not the one that the operator trusts; `countersign tools diff %v` shows the operator what has changed", [name, server]) if {
	pin == "changed"
}

reason := sprintf("no operator has pinned tool %v yet; `countersign tools ls %v` shows what is new", [name, server]) if {
	pin == "unpinned"
}

reason := sprintf("the definition of tool %v is not known; list the tools first", [name]) if {
	pin == "unknown"
}

unchecked := sprintf("the arguments cannot be checked: the input schema of tool %v is too large, too costly or not understood", [name])
