package countersign.policy.listed_test

import data.countersign.policy.listed

call(server, tool) := {"method": "tools/call", "server": {"name": server}, "tool": {"name": tool}}

tools := {"crm": ["get_contact", "get_deal"]}

test_a_listed_tool_is_left_to_the_other_rules if {
	listed.deny == set() with input as call("crm", "get_deal") with data.listed as tools
}

test_other_tools_are_denied if {
	every tool in ["delete_contact", "", "GET_DEAL", null] {
		count(listed.deny) == 1 with input as call("crm", tool) with data.listed as tools
	}
}

test_a_tool_of_another_server_is_denied if {
	count(listed.deny) == 1 with input as call("erp", "get_deal") with data.listed as tools
}

test_what_is_no_call_of_a_tool_is_left_alone if {
	listed.deny == set() with input as {"method": "prompts/get", "tool": {"name": "x"}} with data.listed as tools
}
