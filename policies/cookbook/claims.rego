# A server that calls a tool read-only which is not: somebody is mistaken, and a person looks before it is called.
package countersign.policy.claims

hold contains {"rule": "claims.read_only", "reason": "the server calls this tool read-only, and it is not", "tier": "high"} if {
	input.tool.annotations.readOnlyHint == true
	not input.operation.class == "read"
}
