// An organisation's authorization server (oidc-provider), and the official TypeScript client that signs in at it.
//
//     organisation.mjs v1|v2
//
// Prints `issuer=URL`, then reads lines of stdin: each is the URL of an MCP server, at which the client connects from
// nothing but that URL (metadata, registration, authorization code with PKCE, `resource`) and calls `get_balance`. For
// each line one line `said=JSON`: the answer, the token, and what the client asked for. `PEERS` names a file beside the
// node_modules.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const v1 = process.argv[2] === "v1";
const require = createRequire(process.env.PEERS);
const modules = join(dirname(process.env.PEERS), "node_modules/@modelcontextprotocol");
const load = (path) => import(pathToFileURL(join(modules, path)).href);
const sdk = v1
	? { ...(await load("sdk/dist/esm/client/index.js")), ...(await load("sdk/dist/esm/client/streamableHttp.js")) }
	: await load("client/dist/index.mjs");
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);
const SCOPES = ["mcp:fixture/get_balance", "mcp:fixture/delete_customer"];
const CALLBACK = "http://127.0.0.1:9/callback";

let provider;
const http = createServer((request, response) => answer(request, response));
await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${http.address().port}`;
provider = new Provider(issuer, {
	scopes: ["openid", ...SCOPES],
	cookies: { keys: ["of this run alone"] },
	findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
	// As organisations do it: who somebody is at work stands in the token.
	extraTokenClaims: () => ({ groups: ["billing", "everyone"] }),
	features: {
		devInteractions: { enabled: false },
		registration: { enabled: true },
		resourceIndicators: {
			enabled: true,
			getResourceServerInfo: (_, resource) => ({
				scope: SCOPES.join(" "),
				audience: resource,
				accessTokenTTL: 300,
				accessTokenFormat: "jwt",
			}),
		},
	},
	interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
});

/// The person at the browser says who she is, and yes to everything.
async function answer(request, response) {
	if (!request.url.startsWith("/interaction/")) return provider.callback()(request, response);
	const { prompt, params, session } = await provider.interactionDetails(request, response);
	if (prompt.name === "login") {
		return provider.interactionFinished(request, response, { login: { accountId: "alice" } });
	}
	const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
	grant.addOIDCScope(["openid", ...(prompt.details.missingOIDCScope ?? [])].join(" "));
	for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
		grant.addResourceScope(resource, scopes.join(" "));
	}
	const grantId = await grant.save();
	return provider.interactionFinished(request, response, { consent: { grantId } }, { mergeWithLastSubmission: true });
}

/// Follows an address as a browser does, up to the address of the client.
async function browse(url) {
	const cookies = new Map();
	for (let hops = 0; hops < 20; hops++) {
		const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
		const response = await fetch(url, { redirect: "manual", headers: { cookie } });
		for (const set of response.headers.getSetCookie()) {
	const [name, value] = set.split(";")[0].split("=");
			if (value) cookies.set(name, value);
			else cookies.delete(name);
		}
		const location = response.headers.get("location");
		if (!location) throw new Error(`${response.status} at ${url}: ${await response.text()}`);
		url = new URL(location, url).href;
		if (url.startsWith(CALLBACK)) return new URL(url);
	}
	throw new Error("it leads nowhere");
}

class Browser {
	redirectUrl = CALLBACK;
	clientMetadata = {
		client_name: "agent",
		redirect_uris: [CALLBACK],
		grant_types: ["authorization_code"],
		response_types: ["code"],
		token_endpoint_auth_method: "none",
		application_type: "native",
	};
	clientInformation = () => this.client;
	saveClientInformation = (client) => void (this.client = client);
	tokens = () => this.token;
	saveTokens = (token) => void (this.token = token);
	codeVerifier = () => this.verifier;
	saveCodeVerifier = (verifier) => void (this.verifier = verifier);
	redirectToAuthorization = (url) => void (this.asked = url);
}

async function signIn(url) {
	const browser = new Browser();
	const transport = () => new sdk.StreamableHTTPClientTransport(new URL(url), { authProvider: browser });
	const first = transport();
	const client = () => new sdk.Client({ name: "agent", version: "1.0.0" });
	await client().connect(first).then(
		() => Promise.reject(new Error("it was let in without a token")),
		(error) => {
			if (!browser.asked) throw error;
		},
	);
	const back = await browse(browser.asked.href);
	if (!back.searchParams.has("code")) throw new Error(back.href);
	await first.finishAuth(v1 ? back.searchParams.get("code") : back.searchParams);
	const signedIn = client();
	await signedIn.connect(transport());
	const answer = await signedIn.callTool({ name: "get_balance", arguments: {} });
	const tools = (await signedIn.listTools()).tools.map((tool) => tool.name);
	await signedIn.close();
	const asked = Object.fromEntries(browser.asked.searchParams);
	return { answer, tools, token: browser.token, asked };
}

console.log(`issuer=${issuer}`);
for await (const url of createInterface({ input: process.stdin })) {
	console.log(`said=${JSON.stringify(await signIn(url))}`);
}
http.close();
