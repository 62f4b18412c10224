# The principals of data never reach production, whatever their scopes say.
package countersign.policy.sandbox_only

deny contains {"rule": "sandbox_only.production", "reason": "this principal works in sandboxes only"} if {
	input.principal.name in data.sandbox_only
	not input.environment.production == false
}
