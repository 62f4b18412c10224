package countersign.policy.hidden_test

import data.countersign.policy.hidden

test_hidden_characters_are_denied if {
	every text in ["a\u200bb", "\u202eabc", "\ufeff", "\u0000", "x\u001b[2J", "\u007f", "\ue000", "\u00ad"] {
		count(hidden.deny) == 1 with input as {"arguments": {"note": text}}
		count(hidden.deny) == 1 with input as {"arguments": {"deep": [{text: 1}]}}
		count(hidden.deny) == 1 with input as {"responses": {"confirm": {"content": text}}}
	}
}

test_text_of_any_language_passes if {
	every text in ["plain", "line\nline\ttab", "C:\\bin\\u0012", "größe", "Привет", "日本語", "a \"quote\"", "café"] {
		hidden.deny == set() with input as {"arguments": {"note": text}}
	}
}
