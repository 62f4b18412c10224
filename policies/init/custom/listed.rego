# Only tools that somebody has looked at are called: those in data.yaml. A tool that the server adds later is denied
# until it is listed there.
package countersign.policy.listed

deny contains {"rule": "listed.only", "reason": "nobody has listed this tool in data.yaml"} if {
	input.method == "tools/call"
	not is_listed
}

is_listed if input.tool.name in object.get(data.listed, input.server.name, [])
