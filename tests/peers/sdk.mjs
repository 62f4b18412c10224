// Drives a server with an official TypeScript client and prints what came back, as JSON.
//
//     sdk.mjs v1|v2|modern everything|fixture|patient stdio COMMAND [ARG...]
//     sdk.mjs v1|v2|modern everything|fixture|patient http URL         (bearer token from PEER_TOKEN, where it is set)
//
// `v1` is @modelcontextprotocol/sdk, `v2` is @modelcontextprotocol/client as it is by default, `modern` is the same with
// the negotiation of the revision turned on. `PEERS` names a file beside the node_modules. Two runs that reach the same
// server print the same text: what differs from run to run is left out. What is awaited is an event with a deadline.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const [version, script, kind, ...target] = process.argv.slice(2);
const modules = join(dirname(process.env.PEERS), "node_modules/@modelcontextprotocol");
const load = (path) => import(pathToFileURL(join(modules, path)).href);
const DEADLINE = 20_000;
const SESSION_ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|undefined/g;

const v1 = version === "v1";
const sdk = v1
	? {
			...(await load("sdk/dist/esm/client/index.js")),
			...(await load("sdk/dist/esm/client/stdio.js")),
			...(await load("sdk/dist/esm/client/streamableHttp.js")),
		}
	: { ...(await load("client/dist/index.mjs")), ...(await load("client/dist/stdio.mjs")) };
const types = v1 ? await load("sdk/dist/esm/types.js") : undefined;

function transport() {
	if (kind === "http") {
		const token = process.env.PEER_TOKEN;
		const headers = token ? { Authorization: `Bearer ${token}` } : {};
		return new sdk.StreamableHTTPClientTransport(new URL(target[0]), { requestInit: { headers } });
	}
	const handed = Object.entries(process.env).filter(([name]) => name.startsWith("COUNTERSIGN_"));
	return new sdk.StdioClientTransport({ command: target[0], args: target.slice(1), env: Object.fromEntries(handed) });
}

/// Both versions name what they listen to in their own way.
function listen(client, name, handler) {
	const names = {
		"sampling/createMessage": ["setRequestHandler", "CreateMessageRequestSchema"],
		"elicitation/create": ["setRequestHandler", "ElicitRequestSchema"],
		"roots/list": ["setRequestHandler", "ListRootsRequestSchema"],
		"notifications/message": ["setNotificationHandler", "LoggingMessageNotificationSchema"],
		"notifications/resources/updated": ["setNotificationHandler", "ResourceUpdatedNotificationSchema"],
		"notifications/tools/list_changed": ["setNotificationHandler", "ToolListChangedNotificationSchema"],
	};
	const [method, schema] = names[name];
	client[method](v1 ? types[schema] : name, handler);
}

const call = (client, tool, args, options) =>
	v1 ? client.callTool({ name: tool, arguments: args }, undefined, options) : client.callTool({ name: tool, arguments: args }, options);

/// The result, or what an error says.
async function outcome(promise) {
	try {
		return await promise;
	} catch (error) {
		return { code: error.code, message: error.message, data: error.data };
	}
}

const said = {};
const events = {};
for (const name of ["logging", "updated"]) {
	events[name] = new Promise((happened) => {
		events[`${name} happened`] = (value) => {
			said[name] ??= value;
			happened(true);
		};
	});
}

const name = script === "patient" ? "patient-agent" : "typescript-agent";
const client = new sdk.Client(
	{ name, version: "1.0.0" },
	{
		capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } },
		...(version === "modern" ? { versionNegotiation: { mode: "auto" } } : {}),
	},
);
listen(client, "sampling/createMessage", (request) => {
	said["sampling asked"] = request.params;
	const content = { type: "text", text: "sampled" };
	return { role: "assistant", content, model: "none", stopReason: "endTurn" };
});
listen(client, "elicitation/create", (request) => {
	said["elicitation asked"] = request.params;
	return { action: "accept", content: { name: "Ada", check: true, integer: 7 } };
});
listen(client, "roots/list", () => ({ roots: [{ uri: "file:///home/agent/ledger", name: "ledger" }] }));
// The level and the words are the server's whim.
listen(client, "notifications/message", (note) => events["logging happened"](Object.keys(note.params).sort()));
listen(client, "notifications/resources/updated", (note) => events["updated happened"](note.params));
await client.connect(transport());

/// The reference server: every request, notification and request of the server.
async function everything() {
	said.protocol = client.getNegotiatedProtocolVersion?.();
	said.server = client.getServerVersion();
	said.capabilities = client.getServerCapabilities();
	said.instructions = client.getInstructions();
	said.tools = (await client.listTools()).tools;
	said.echo = await call(client, "echo", { message: "two\nlines, \u00e9 and \u202e" });
	said.sum = await call(client, "get-sum", { a: 2, b: 40 });
	said.structured = await call(client, "get-structured-content", { location: "Chicago" });
	said["unknown tool"] = await outcome(call(client, "no-such-tool", {}));
	said.image = await call(client, "get-tiny-image", {});
	said.resources = (await client.listResources()).resources;
	said.templates = (await client.listResourceTemplates()).resourceTemplates;
	const uri = said.resources[0].uri;
	said.resource = await client.readResource({ uri });
	said["unknown resource"] = await outcome(client.readResource({ uri: "demo://nowhere" }));
	said.prompts = (await client.listPrompts()).prompts;
	const city = { city: "Chicago", state: "Illinois" };
	said.prompt = await client.getPrompt({ name: "args-prompt", arguments: city });
	const ref = { type: "ref/prompt", name: "completable-prompt" };
	said.completion = await client.complete({ ref, argument: { name: "department", value: "E" } });
	const steps = [];
	const options = { onprogress: (step) => steps.push(step) };
	said.long = await call(client, "trigger-long-running-operation", { duration: 0.3, steps: 3 }, options);
	// The last one may come together with the answer, after which this client no longer listens.
	said.progress = steps.slice(0, 2);
	said.sampling = await call(client, "trigger-sampling-request", { prompt: "hello", maxTokens: 5 });
	said.elicitation = await call(client, "trigger-elicitation-request", {});
	said.roots = await call(client, "get-roots-list", {});
	await client.setLoggingLevel("debug");
	await client.subscribeResource({ uri });
	// Over HTTP these arrive on the stream that the client opens in the background: ask until it is there.
	const late = Date.now() + DEADLINE;
	for (const [tool, event] of [["toggle-simulated-logging", "logging"], ["toggle-subscriber-updates", "updated"]]) {
		for (let there = false; !there; ) {
			if (Date.now() > late) throw new Error(`no ${event} came`);
			await call(client, tool, {});
			there = await Promise.race([events[event], new Promise((wait) => setTimeout(wait, 300, false))]);
		}
	}
	await client.unsubscribeResource({ uri });
	await client.ping();
}

/// The fixture server, which speaks every revision.
async function fixture() {
	said.protocol = client.getNegotiatedProtocolVersion?.();
	said.server = client.getServerVersion();
	said.capabilities = client.getServerCapabilities();
	said.instructions = client.getInstructions();
	said.tools = (await client.listTools()).tools;
	for (const tool of ["test_simple_text", "test_image_content", "test_multiple_content_types", "test_error_handling"]) {
		said[tool] = await call(client, tool, {});
	}
	said.greet = await call(client, "greet", { name: "two\nlines, \u00e9 and \u202e" });
	said.header = await call(client, "test_header_parameter", { region: "us west, \u00e9" });
	said["unknown tool"] = await outcome(call(client, "no-such-tool", {}));
	const steps = [];
	said.long = await call(client, "test_tool_with_progress", {}, { onprogress: (step) => steps.push(step) });
	// The last one may come together with the answer, after which this client no longer listens.
	said.progress = steps.slice(0, 2);
	for (const tool of ["elicitation", "sampling", "list_roots", "request_state", "multi_round"]) {
		if (version === "modern") {
			said[tool] = await outcome(call(client, `test_input_required_result_${tool}`, {}));
		}
	}
	said.resources = (await client.listResources()).resources;
	said.templates = (await client.listResourceTemplates()).resourceTemplates;
	said.resource = await client.readResource({ uri: "test://template/7/data" });
	said["unknown resource"] = await outcome(client.readResource({ uri: "test://nowhere" }));
	said.prompts = (await client.listPrompts()).prompts;
	said.prompt = await client.getPrompt({ name: "test_prompt_with_arguments", arguments: { arg1: "a", arg2: "b" } });
	const ref = { type: "ref/prompt", name: "test_prompt_with_arguments" };
	said.completion = await client.complete({ ref, argument: { name: "arg1", value: "par" } });
}

/// One call that takes its time; progress keeps this client waiting.
async function patient() {
	const steps = [];
	const options = { onprogress: (step) => steps.push(step), resetTimeoutOnProgress: true };
	const started = Date.now();
	said.echo = await call(client, "echo", { message: "worth the wait" }, options);
	said.seconds = Math.round((Date.now() - started) / 1000);
	said.progress = steps;
}

await { everything, fixture, patient }[script]();
await client.close();
process.stdout.write(JSON.stringify(said).replaceAll(SESSION_ID, "SESSION"));
