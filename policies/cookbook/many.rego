# Whatever is done to more than a few things at once needs a person who reads the list.
package countersign.policy.many

hold contains {"rule": "many.targets", "reason": "this is done to many things at once", "tier": "high"} if {
	not input.operation.class == "read"
	count(object.get(input, ["operation", "targets"], [])) > data.many.most
}
