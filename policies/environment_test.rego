package countersign.policy.environment_test

import data.countersign.policy.environment

production := {
	"server": {"name": "stripe"},
	"environment": {"name": "production", "production": true},
	"operation": {"name": "list_customers", "class": "read"},
	"arguments": {},
}

sandbox := object.union(production, {"environment": {"name": "sandbox", "production": false}})

names(what) := {"operation": {"environment": object.union(nothing, what)}}

nothing := {"accounts": [], "environments": [], "everywhere": false}

rules(denied) := {entry.rule | some entry in denied}

test_a_plain_call_is_not_denied if {
	environment.deny == set() with input as production
	environment.deny == set() with input as sandbox
}

test_a_conflict_denies_everything if {
	denied := environment.deny with input as object.union(production, {"environment": {"conflict": "the key is a test key"}})
	rules(denied) == {"environment.conflict"}
	some entry in denied
	contains(entry.reason, "the key is a test key")
}

test_the_bound_mode_passes if {
	environment.deny == set() with input as object.union(production, names({"mode": "production"}))
	environment.deny == set() with input as object.union(sandbox, names({"mode": "test"}))
}

test_the_other_mode_is_denied if {
	live := environment.deny with input as object.union(sandbox, names({"mode": "production"}))
	rules(live) == {"environment.elsewhere"}
	test := environment.deny with input as object.union(production, names({"mode": "test"}))
	rules(test) == {"environment.elsewhere"}
}

test_a_mode_that_is_not_understood_is_denied_everywhere if {
	every where in [production, sandbox] {
		denied := environment.deny with input as object.union(where, names({"mode": "unknown"}))
		rules(denied) == {"environment.elsewhere"}
	}
}

test_a_mode_without_a_known_environment_is_denied if {
	denied := environment.deny with input as {"operation": {"environment": {"mode": "production"}}, "arguments": {}}
	rules(denied) == {"environment.elsewhere"}
}

test_an_account_has_to_be_bound if {
	denied := environment.deny with input as object.union(production, names({"mode": "production", "accounts": ["acct_1"]}))
	rules(denied) == {"environment.elsewhere"}
}

test_a_bound_account_passes if {
	environment.deny == set() with input as object.union(production, names({"accounts": ["acct_1"]}))
		with data.environment.accounts as {"stripe": ["acct_1"]}
}

test_an_account_of_the_configuration_or_of_the_key_passes if {
	bound := object.union(production, {"environment": {"accounts": ["acct_1"]}})
	environment.deny == set() with input as object.union(bound, names({"accounts": ["acct_1"]}))
	denied := environment.deny with input as object.union(bound, names({"accounts": ["acct_1", "acct_2"]}))
	rules(denied) == {"environment.elsewhere"}
}

works(where) := {"session": object.union({"id": "s-1", "accounts": []}, where)}

test_a_session_stays_in_the_mode_that_it_works_in if {
	live := object.union(production, names({"mode": "production"}))
	environment.deny == set() with input as object.union(live, works({}))
	environment.deny == set() with input as object.union(live, works({"mode": "production"}))
	denied := environment.deny with input as object.union(live, works({"mode": "test"}))
	rules(denied) == {"environment.session"}
	some entry in denied
	contains(entry.reason, "this session works in")
	environment.deny == set() with input as object.union(production, works({"mode": "test"}))
}

in_account(name) := object.union(production, names({"accounts": [name]}))

test_a_session_stays_in_the_accounts_that_it_works_in if {
	every case in [["acct_1", set()], ["acct_2", {"environment.session"}]] {
		denied := environment.deny with input as object.union(in_account(case[0]), works({"accounts": ["acct_1"]}))
			with data.environment.accounts as {"stripe": ["acct_1", "acct_2"]}
		rules(denied) == case[1]
	}
	environment.deny == set() with input as object.union(production, works({"accounts": ["acct_1"]}))
}

test_an_account_of_another_server_is_denied if {
	denied := environment.deny with input as object.union(production, names({"accounts": ["acct_1"]}))
		with data.environment.accounts as {"other": ["acct_1"]}
	rules(denied) == {"environment.elsewhere"}
}

test_a_path_of_accounts_is_one_account if {
	denied := environment.deny with input as object.union(production, names({"mode": "production", "accounts": ["acct_1/acct_2"]}))
		with data.environment.accounts as {"stripe": ["acct_1", "acct_2"]}
	rules(denied) == {"environment.elsewhere"}
}

test_another_environment_by_name_is_denied if {
	denied := environment.deny with input as object.union(production, names({"environments": ["production", "staging"]}))
	rules(denied) == {"environment.elsewhere"}
	environment.deny == set() with input as object.union(production, names({"environments": ["production"]}))
}

declared := {"stripe": ["development", "staging", "production", "canary"]}

test_environments_that_are_declared_may_be_named if {
	every names_of in [["development"], ["production", "staging"], ["staging", "canary"]] {
		environment.deny == set() with input as object.union(production, names({"environments": names_of}))
			with data.environment.environments as declared
	}
	every other in ["live", "Staging", "", null, ["staging"]] {
		denied := environment.deny with input as object.union(production, names({"environments": ["staging", other]}))
			with data.environment.environments as declared
		rules(denied) == {"environment.elsewhere"}
	}
	another := environment.deny with input as object.union(production, names({"environments": ["staging"]}))
		with data.environment.environments as {"statsig": ["staging"]}
	rules(another) == {"environment.elsewhere"}
}

test_what_is_declared_leads_out_of_no_sandbox if {
	environment.deny == set() with input as object.union(sandbox, names({"environments": ["sandbox", "staging"]}))
		with data.environment.environments as declared
	every name in ["production", "canary"] {
		denied := environment.deny with input as object.union(sandbox, names({"environments": [name]}))
			with data.environment.environments as declared
		rules(denied) == {"environment.elsewhere"}
	}
}

reason(denied) := entry.reason if some entry in denied

test_a_reason_names_the_place_in_words if {
	reach := {"mode": "test", "accounts": ["acct_1", "acct_2"], "environments": ["staging"], "everywhere": true}
	denied := environment.deny with input as object.union(production, names(reach))
	contains(reason(denied), `reach for mode "test", every environment, account "acct_1", account "acct_2", environment "staging", but`)

	odd := environment.deny with input as object.union(production, {"operation": {"environment": {"accounts": "acct_1"}}})
	contains(reason(odd), `reach for {"accounts":"acct_1"}, but`)

	live := object.union(production, names({"mode": "production"}))
	moved := environment.deny with input as object.union(live, works({"mode": "test", "accounts": ["acct_1"]}))
	contains(reason(moved), `reach for mode "production", but this session works in mode "test", account "acct_1"; begin`)
}

test_everywhere_is_for_production_alone if {
	environment.deny == set() with input as object.union(production, names({"everywhere": true}))
	denied := environment.deny with input as object.union(sandbox, names({"everywhere": true}))
	rules(denied) == {"environment.elsewhere"}
}

test_a_place_of_another_form_is_denied if {
	every odd in ["production/", null, true, 7, [], {}, {"everywhere": "no"}, object.union(nothing, {"accounts": "acct_1"})] {
		denied := environment.deny with input as object.union(production, {"operation": {"environment": odd}})
		rules(denied) == {"environment.elsewhere"}
	}
}

test_a_live_key_is_found_anywhere_in_the_arguments if {
	every arguments in [
		{"note": "sk_live_abc"},
		{"a": {"b": ["x", {"c": "see rk_live_1 here"}]}},
		{"sk_live_9": 1},
		{"a": `line
sk_live_x`},
	] {
		denied := environment.deny with input as object.union(sandbox, {"arguments": arguments})
		rules(denied) == {"environment.live_key"}
	}
}

test_a_live_key_is_found_in_answers_as_in_arguments if {
	every where in [production, sandbox] {
		denied := environment.deny with input as object.union(where, {"responses": {"key": {"content": {"a": ["sk_live_abc"]}}}})
		rules(denied) == {"environment.live_key"}
		without := object.remove(where, ["arguments"])
		bare := environment.deny with input as object.union(without, {"responses": {"rk_live_1": {}}})
		rules(bare) == {"environment.live_key"}
		environment.deny == set() with input as object.union(where, {"responses": {"key": {"content": "sk_test_abc"}}})
	}
}

test_a_live_key_is_found_in_meta if {
	every where in [production, sandbox] {
		denied := environment.deny with input as object.union(where, {"meta": {"x/y": {"a": ["sk_live_abc"]}}})
		rules(denied) == {"environment.live_key"}
		environment.deny == set() with input as object.union(where, {"meta": {"progressToken": 5, "x/y": "sk_test_abc"}})
	}
}

# Neither half of a key is one.
test_a_key_does_not_reach_from_arguments_into_answers if {
	environment.deny == set() with input as object.union(sandbox, {"arguments": "sk_live_", "responses": "abc"})
}

test_other_keys_and_words_are_no_live_key if {
	every text in ["sk_test_abc", "what is sk_live_ for?", "sk_liver"] {
		environment.deny == set() with input as object.union(sandbox, {"arguments": {"q": text}})
	}
}
