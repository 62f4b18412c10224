# A switch: while `frozen` in data is anything but false, only reads pass. The daemon follows the file within seconds.
package countersign.policy.freeze

deny contains {"rule": "freeze.on", "reason": "changes are frozen"} if {
	not data.freeze.frozen == false
	not input.operation.class == "read"
}
