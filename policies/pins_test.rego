package countersign.policy.pins_test

import data.countersign.policy.pins

call(pin, schema) := {
	"phase": "call",
	"method": "tools/call",
	"server": {"name": "stripe"},
	"tool": {"name": "create_refund", "pin": pin, "schema": schema},
}

test_the_pinned_definition_passes if {
	every schema in ["checked", "partial", "none"] {
		count(pins.deny) == 0 with input as call("match", schema)
		count(pins.hold) == 0 with input as call("match", schema)
	}
}

test_a_changed_definition_is_denied if {
	some entry in pins.deny with input as call("changed", "checked")
	entry.rule == "pins.denied"
	contains(entry.reason, "countersign tools diff stripe")
}

test_a_changed_tool_is_not_listed if {
	count(pins.deny) == 1 with input as object.union(call("changed", "none"), {"phase": "list"})
}

test_a_new_tool_is_held_and_listed if {
	some entry in pins.hold with input as call("unpinned", "checked")
	entry.tier == "high"
	count(pins.deny) == 0 with input as object.union(call("unpinned", "none"), {"phase": "list"})
}

test_a_tool_that_nobody_listed_passes if {
	count(pins.deny) == 0 with input as call("unknown", "none")
	count(pins.hold) == 0 with input as call("unknown", "none")
}

test_what_is_not_in_the_table_is_denied if {
	count(pins.deny) == 1 with input as call("odd", "checked")
	count(pins.deny) == 1 with input as call("match", "odd")
	count(pins.deny) == 1 with input as {"method": "tools/call", "tool": {"name": "x"}}
	count(pins.deny) == 1 with input as call("unpinned", "checked") with data.pins.needs.unpinned as "alow"
}

test_a_schema_that_cannot_be_used_is_denied if {
	some entry in pins.deny with input as call("match", "unusable")
	entry.rule == "pins.schema_denied"
}

test_the_table_decides if {
	count(pins.hold) == 1 with input as call("changed", "none") with data.pins.needs.changed as "high"
	count(pins.deny) == 1 with input as call("unknown", "none") with data.pins.needs.unknown as "deny"
	count(pins.hold) == 1 with input as call("match", "unusable") with data.pins.schema.unusable as "low"
	count(pins.hold) + count(pins.deny) == 0 with input as call("unpinned", "none") with data.pins.needs.unpinned as "pass"
}

test_only_tools_have_pins if {
	every method in ["resources/read", "resources/subscribe", "prompts/get", "completion/complete", "subscriptions/listen", "roots/list"] {
		count(pins.deny) == 0 with input as {"method": method, "tool": {"name": "x", "pin": "changed"}}
	}
	every method in ["tools/call", "tasks/update", "elicitation/create", "sampling/createMessage", "tasks/result"] {
		count(pins.deny) == 1 with input as object.union(call("changed", "none"), {"method": method})
	}
}
