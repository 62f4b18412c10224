package countersign.policy.webhooks_test

import data.countersign.policy.webhooks

hook(url) := {
	"phase": "call",
	"operation": {"name": "PostWebhookEndpoints"},
	"arguments": {"stripe_api_operation_id": "PostWebhookEndpoints", "parameters": {"url": url}},
}

test_our_hosts_pass if {
	webhooks.deny == set() with input as hook("https://hooks.example.com/stripe") with data.webhooks.hosts as ["hooks.example.com"]
}

test_everything_else_is_denied if {
	every url in [
		"https://evil.example/", "http://hooks.example.com/", "https://hooks.example.com.evil.example/",
		"https://hooks.example.com@evil.example/", "https://hooks.example.com", "HTTPS://HOOKS.EXAMPLE.COM/", "", null, 7,
	] {
		count(webhooks.deny) == 1 with input as hook(url) with data.webhooks.hosts as ["hooks.example.com"]
	}
}

test_an_update_without_an_address_is_denied if {
	bare := json.remove(hook("x"), ["arguments/parameters/url"])
	count(webhooks.deny) == 1 with input as bare with data.webhooks.hosts as ["hooks.example.com"]
}
