// The client that the conformance suite examines: the official TypeScript client, which does what a user of it would.
//
//     client.mjs URL        (MCP_CONFORMANCE_SCENARIO, _PROTOCOL_VERSION and _CONTEXT come from the suite; with
//                            PEER_TOKEN the client carries that bearer token and logs in nowhere; where it is told
//                            that a person has to sign in somewhere else, it says so at SIGN_IN and goes on after)
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const peers = createRequire(process.env.PEERS);
const sdk = await import(pathToFileURL(peers.resolve("@modelcontextprotocol/client")).href.replace(/\.cjs$/, ".mjs"));

const url = new URL(process.argv[2]);
const token = process.env.PEER_TOKEN;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const modern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === "2026-07-28";

/// A person who is logged in already and consents to everything.
class Consenting {
	redirectUrl = "http://localhost:3000/callback";
	clientMetadataUrl = "https://conformance-test.local/client-metadata.json";
	clientMetadata = { client_name: "conformance", redirect_uris: [this.redirectUrl], application_type: "native" };
	#registered = context.client_id && { client_id: context.client_id, client_secret: context.client_secret };
	#tokens;
	#verifier;

	clientInformation() {
		return this.#registered;
	}
	saveClientInformation(registered) {
		this.#registered = registered;
	}
	tokens() {
		return this.#tokens;
	}
	saveTokens(tokens) {
		this.#tokens = tokens;
	}
	codeVerifier() {
		return this.#verifier;
	}
	saveCodeVerifier(verifier) {
		this.#verifier = verifier;
	}
	invalidateCredentials(scope) {
		if (scope === "all" || scope === "client") this.#registered = undefined;
		if (scope === "all" || scope === "tokens") this.#tokens = undefined;
	}
	async redirectToAuthorization(page) {
		const answer = await fetch(page, { redirect: "manual" });
		this.answer = new URL(answer.headers.get("location")).searchParams;
	}
}

function provider() {
	if (token) return undefined;
	if (context.private_key_pem) {
		const { client_id: clientId, private_key_pem: privateKey, signing_algorithm: algorithm } = context;
		return new sdk.PrivateKeyJwtProvider({ clientId, privateKey, algorithm: algorithm ?? "ES256" });
	}
	if (process.env.MCP_CONFORMANCE_SCENARIO === "auth/client-credentials-basic") {
		return new sdk.ClientCredentialsProvider({ clientId: context.client_id, clientSecret: context.client_secret });
	}
	return new Consenting();
}

const authProvider = provider();
let transport;

async function connected() {
	const client = new sdk.Client(
		{ name: "conformance-client", version: "1.0.0" },
		{
			capabilities: { elicitation: { form: { applyDefaults: true } } },
			versionNegotiation: { mode: modern ? "auto" : "legacy" },
		},
	);
	client.setRequestHandler("elicitation/create", async () => ({ action: "accept", content: {} }));
	const headers = token ? { Authorization: `Bearer ${token}` } : {};
	transport = new sdk.StreamableHTTPClientTransport(url, { authProvider, requestInit: { headers } });
	await client.connect(transport);
	return client;
}

/// Where a login is asked for, on the way or for a wider scope, it is gone through and the step is done again.
async function step(action) {
	for (let logins = 0; ; logins += 1) {
		try {
			return await action();
		} catch (error) {
			if (token && error.code === 4513 && logins < 2) continue;
			if (token && error.code === 4512 && logins < 2) {
				const signedIn = await fetch(process.env.SIGN_IN, { method: "POST" });
				if (!signedIn.ok) throw error;
				continue;
			}
			const answer = authProvider?.answer;
			if (!answer || logins === 2) throw error;
			authProvider.answer = undefined;
			await transport.finishAuth(answer);
		}
	}
}

/// Something that fits a schema.
function example(schema) {
	const values = { string: "text", number: 5, integer: 5, boolean: true, array: [], object: {} };
	const properties = Object.entries(schema?.properties ?? {});
	return Object.fromEntries(properties.map(([name, property]) => [name, values[property.type] ?? null]));
}

const client = await step(connected);
const offered = client.getServerCapabilities() ?? {};
const { tools } = await step(() => client.listTools());
if (context.toolCalls) {
	for (const call of context.toolCalls) await step(() => client.callTool(call));
} else {
	for (const { name, inputSchema } of tools) {
		const call = { name, arguments: example(inputSchema) };
		// The suite compares the schema that a client was told with what the client makes of it.
		if (inputSchema?.properties?.schema) call.arguments = { schema: tools[0].inputSchema };
		await step(() => client.callTool(call));
	}
}
if (offered.resources) {
	const { resources } = await client.listResources();
	for (const { uri } of resources) await client.readResource({ uri });
}
if (offered.prompts) {
	const { prompts } = await client.listPrompts();
	for (const { name } of prompts) await client.getPrompt({ name });
}
await client.close();
process.exit(0);
