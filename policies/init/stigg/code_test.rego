package countersign.policy.code_test

import data.countersign.policy.code

execute(text) := {"phase": "call", "tool": {"name": "execute"}, "arguments": {"code": text}}

forbidden := ["apiKey", "X-ENVIRONMENT-ID"]

test_plain_code_is_left_to_the_other_rules if {
	code.deny == set() with input as execute("return client.v1.customers.retrieve('c')") with data.code.forbidden as forbidden
}

test_code_that_names_the_key_is_denied if {
	every text in ["return client.apiKey", "client['APIKEY']", {"x": ["apikey"]}] {
		count(code.deny) == 1 with input as execute(text) with data.code.forbidden as forbidden
	}
}

test_code_that_names_another_environment_is_denied if {
	count(code.deny) == 1 with input as execute("{'x-environment-id': 'e'}") with data.code.forbidden as forbidden
}

test_other_tools_are_left_alone if {
	search := {"phase": "call", "tool": {"name": "search_docs"}, "arguments": {"query": "apiKey"}}
	code.deny == set() with input as search with data.code.forbidden as forbidden
}
