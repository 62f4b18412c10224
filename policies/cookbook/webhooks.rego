# Webhooks send what happens in an account to an address. Only hosts of data may get it, and only over https.
package countersign.policy.webhooks

deny contains {"rule": "webhooks.foreign", "reason": "webhooks go to hosts of ours only"} if {
	input.phase == "call"
	input.operation.name in {"PostWebhookEndpoints", "PostWebhookEndpointsWebhookEndpoint"}
	not is_ours
}

# The whole beginning of the address is compared: what follows a host has to begin with a slash.
is_ours if {
	url := input.arguments.parameters.url
	is_string(url)
	some host in data.webhooks.hosts
	startswith(url, sprintf("https://%v/", [host]))
}
