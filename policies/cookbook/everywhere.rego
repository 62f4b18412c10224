# Nothing is changed in all environments at once, not even by leaving the environment out.
package countersign.policy.everywhere

deny contains {"rule": "everywhere.change", "reason": "name the environments that this is for"} if {
	input.operation.environment.everywhere == true
	not input.operation.class == "read"
}
