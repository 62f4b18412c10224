package countersign.policy.scopes_test

import data.countersign.policy.scopes

call(name, class, scopes) := {
	"phase": "call",
	"principal": {"name": "agent", "scopes": scopes},
	"server": {"name": "stripe"},
	"operation": {"name": name, "class": class},
}

allowed(name, class, scope) if {
	count(scopes.allow) == 1 with input as call(name, class, [scope])
}

test_a_class_covers_its_operations_and_no_other if {
	allowed("list_customers", "read", "stripe/read")
	every class in ["write", "financial", "destructive", "unknown"] {
		not allowed("list_customers", class, "stripe/read")
	}
}

test_an_operation_is_covered_by_its_name if {
	allowed("create_refund", "financial", "stripe/create_refund")
	not allowed("create_refund_all", "financial", "stripe/create_refund")
	not allowed("refund", "financial", "stripe/create_refund")
}

test_servers_do_not_mix if {
	not allowed("list_customers", "read", "stigg/read")
	not allowed("list_customers", "read", "stripe2/read")
	allowed("list_customers", "read", "*/read")
	not allowed("list_customers", "read", "str*/read")
}

test_globs_cover_operations if {
	allowed("create_refund", "financial", "stripe/create_*")
	not allowed("delete_customer", "destructive", "stripe/create_*")
	allowed("delete_customer", "destructive", "stripe/*")
	allowed("resources/read", "read", "stripe/*")
}

test_a_glob_does_not_match_a_class if {
	not allowed("cancel_subscription", "destructive", "stripe/des*")
	not allowed("list_customers", "read", "stripe/r?ad")
	not allowed("list_customers", "read", "stripe/rea*")
}

test_a_tool_that_is_called_like_a_class_gains_nothing if {
	not allowed("read", "destructive", "stripe/read")
	not allowed("read", "unknown", "*/read")
	not allowed("write", "financial", "stripe/write")
}

test_other_methods_are_reads if {
	allowed("resources/read", "read", "stripe/read")
	allowed("prompts/get", "read", "*/read")
}

test_odd_scopes_cover_nothing if {
	every scope in ["", "*", "read", "/read", "stripe", "stripe/", "Stripe/read", " stripe/read", "stripe/read ", "/", "//"] {
		not allowed("list_customers", "read", scope)
	}
}

test_no_scopes_allow_nothing if {
	scopes.allow == set() with input as call("list_customers", "read", [])
	scopes.allow == set() with input as {}
	scopes.allow == set() with input as json.remove(call("list_customers", "read", ["*/*"]), ["server"])
	scopes.allow == set() with input as json.remove(call("list_customers", "read", ["*/*"]), ["operation"])
}

test_every_scope_that_covers_is_named if {
	found := scopes.allow with input as call("create_refund", "financial", ["*/read", "stripe/financial", "stripe/create_refund"])
	count(found) == 2
}

test_a_list_shows_what_depends_on_arguments if {
	listed := object.union(call("stripe_api_write", "unknown", ["stripe/PostRefunds"]), {"phase": "list"})
	count(scopes.allow) == 1 with input as listed
	scopes.allow == set() with input as object.union(listed, {"phase": "call"})
	scopes.allow == set() with input as object.union(listed, {"server": {"name": "other"}})
}

test_a_list_hides_what_no_scope_covers if {
	listed := object.union(call("delete_customer", "destructive", ["stripe/read"]), {"phase": "list"})
	scopes.allow == set() with input as listed
}
