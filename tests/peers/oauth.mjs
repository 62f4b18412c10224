// A real authorization server (oidc-provider) and an MCP server behind it that looks at every token.
//
//     oauth.mjs '{"unquoted": true, ...}'
//
// Prints one line of JSON when both listen: {issuer, mcp, control}. Its options:
//   path          the issuer has a path (`/idp`), so that its metadata is where each of the forms puts it
//   metadata      "oauth" or "oidc": only that form is served; else both
//   prm           "path", "root" or "challenge": the only place of the protected-resource metadata; else all
//   unquoted      the challenge does not quote the address of the metadata
//   ttl           life of an access token in seconds
//   noRefresh     no refresh tokens
//   clients       clients that are registered already
//   noRegistration
//   only          the one way for clients to authenticate that the metadata names
//   dpop          true, or "nonce" where both servers want theirs: tokens that count for a key alone, which the MCP server
//                 looks at; "said": the metadata say so and it is not done
//   documents     client-id metadata documents by their address: they are taken without a look at the network
// The control endpoint takes {"do": "revoke"} (all grants are destroyed, and "refuse"), {"do": "forget", "client": ID}
// (there is no such client any more), {"do": "issuer", "issuer": ...}
// (the protected-resource metadata names that one from now on), {"do": "nonce"} (the MCP server wants another one),
// {"do": "disprove"} (the MCP server takes no proof from now on), {"do": "unbind"} (the token endpoint calls its tokens
// bearer tokens from now on), {"do": "unsay"} (the metadata say nothing of DPoP any more), {"do": "refuse"} (the tokens
// that the MCP server has accepted count no more there), and answers {"do": "seen"} with all that the MCP server got, {"do": "tokens"} with the
// tokens that it accepted and {"do": "granted"} with what the authorization server gave out and revoked, by name.
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const peers = createRequire(process.env.PEERS);
const load = (name) => import(pathToFileURL(peers.resolve(name)).href);
const { Provider } = await load("oidc-provider");
const { EmbeddedJWK, calculateJwkThumbprint, createRemoteJWKSet, jwtVerify } = await load("jose");
const options = JSON.parse(process.argv[2] ?? "{}");

const listening = async (server) => {
	await new Promise((done) => server.listen(0, "127.0.0.1", done));
	return `http://127.0.0.1:${server.address().port}`;
};
const body = async (request) => {
	let text = "";
	for await (const part of request) text += part;
	return text;
};
const say = (response, status, value, headers = {}) => {
	response.writeHead(status, { "content-type": "application/json", ...headers });
	response.end(typeof value === "string" ? value : JSON.stringify(value));
};

const prefix = options.path ? "/idp" : "";
let answer;
const authorization = createServer((request, response) => answer(request, response));
const resourceServer = createServer((request, response) => serve(request, response));
const origin = await listening(authorization);
const base = await listening(resourceServer);
const issuer = origin + prefix;
const resource = `${base}/mcp`;

const proves = options.dpop === true || options.dpop === "nonce";
const provider = new Provider(issuer, {
	clients: options.clients ?? [],
	scopes: ["openid", "offline_access"],
	features: {
		registration: { enabled: !options.noRegistration },
		clientCredentials: { enabled: true },
		revocation: { enabled: true },
		dPoP: { enabled: proves, nonceSecret: randomBytes(32), requireNonce: () => options.dpop === "nonce" },
		resourceIndicators: {
			enabled: true,
			defaultResource: () => resource,
			useGrantedResource: () => true,
			getResourceServerInfo: () => ({
				scope: "read write",
				audience: resource,
				accessTokenTTL: options.ttl ?? 3600,
				accessTokenFormat: "jwt",
			}),
		},
	},
	issueRefreshToken: async () => !options.noRefresh,
	rotateRefreshToken: true,
	responseTypes: ["code"],
	pkce: { required: () => true },
});
const [quiet, changed] = [() => {}, new Set()];
provider.use(async (context, next) => {
	await next();
	if (changed.has("unbind") && context.body?.access_token) context.body.token_type = "Bearer";
});
provider.on("server_error", (_, error) => console.error(error));
provider.on("grant.error", quiet);

const discovery = async () => {
	const found = await (await fetch(`${issuer}/.well-known/openid-configuration`, { headers: { "x-inside": "1" } })).json();
	found.scopes_supported = ["openid", "offline_access", "read", "write"];
	if (options.only) found.token_endpoint_auth_methods_supported = [options.only];
	if (options.dpop === "said") found.dpop_signing_alg_values_supported = ["ES256"];
	if (changed.has("unsay")) delete found.dpop_signing_alg_values_supported;
	if (options.documents) found.client_id_metadata_document_supported = true;
	return found;
};
const forgotten = new Set();
const find = provider.Client.find.bind(provider.Client);
provider.Client.find = async (id) => {
	if (forgotten.has(id)) return undefined;
	// The documents are given, not fetched: no test reaches out.
	const document = options.documents?.[id];
	if (!document) return find(id);
	return new provider.Client({ ...document, client_id: id, token_endpoint_auth_method: "none" });
};

answer = async (request, response) => {
	const url = new URL(request.url, origin);
	const oauth = [`/.well-known/oauth-authorization-server${prefix}`];
	const oidc = [`/.well-known/openid-configuration${prefix}`, `${prefix}/.well-known/openid-configuration`];
	if (!request.headers["x-inside"] && url.pathname.includes("/.well-known/")) {
		const served = [...(options.metadata === "oidc" ? [] : oauth), ...(options.metadata === "oauth" ? [] : oidc)];
		return served.includes(url.pathname) ? say(response, 200, await discovery()) : say(response, 404, {});
	}
	if (!request.url.startsWith(`${prefix}/`)) return say(response, 404, {});
	request.originalUrl = request.url;
	request.url = request.url.slice(prefix.length);
	return provider.callback()(request, response);
};

const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
const seen = [];
const [tokens, refused] = [new Set(), new Set()];
const granted = [];
let named = issuer;
provider.on("grant.success", (context) => granted.push(context.oidc.params.grant_type));
provider.on("refresh_token.destroyed", () => granted.push("revocation"));
const metadata = () => ({ resource, authorization_servers: [named], scopes_supported: ["read"] });

let nonce = randomBytes(16).toString("hex");
const proofs = new Set();
/// Why a proof is none of who carries the token, where it is none (RFC 9449, 4.3 and 7).
async function unproved(request, token, claims) {
	const { payload, protectedHeader } = await jwtVerify(request.headers.dpop ?? "", EmbeddedJWK, {
		typ: "dpop+jwt",
		algorithms: ["ES256"],
		maxTokenAge: 60,
	});
	const hash = createHash("sha256").update(token).digest("base64url");
	if (payload.htm !== request.method || payload.htu !== resource || payload.ath !== hash) return "another request";
	if ((await calculateJwkThumbprint(protectedHeader.jwk)) !== claims.cnf?.jkt) return "another key";
	if (proofs.has(payload.jti)) return "again";
	if (changed.has("disprove")) return "invalid_dpop_proof";
	proofs.add(payload.jti);
	return options.dpop === "nonce" && payload.nonce !== nonce ? "use_dpop_nonce" : undefined;
}

async function judge(request) {
	const scheme = proves ? /^DPoP (\S+)$/ : /^Bearer (\S+)$/;
	const [, token] = scheme.exec(request.headers.authorization ?? "") ?? [];
	if (!token) return undefined;
	try {
		const { payload } = await jwtVerify(token, keys, { issuer, audience: resource });
		const why = proves && (await unproved(request, token, payload));
		if (why) return { why };
		if (refused.has(token)) return { why: "refused" };
		tokens.add(token);
		return payload;
	} catch (error) {
		return { why: String(error) };
	}
}

async function serve(request, response) {
	const url = new URL(request.url, base);
	const text = await body(request);
	const at = { path: "/.well-known/oauth-protected-resource/mcp", root: "/.well-known/oauth-protected-resource", challenge: "/metadata" };
	const places = options.prm ? [at[options.prm]] : Object.values(at);
	if (places.includes(url.pathname)) return say(response, 200, metadata());
	if (url.pathname !== "/mcp") return say(response, 404, {});
	const pointer = base + (options.prm === "challenge" ? at.challenge : at.path);
	const quoted = options.unquoted ? pointer : `"${pointer}"`;
	const point = options.prm && options.prm !== "challenge" ? "" : `, resource_metadata=${quoted}`;
	const claims = await judge(request);
	const ok = claims && !claims.why;
	seen.push({ method: request.method, headers: request.headers, body: text, ok: Boolean(ok) });
	if (!ok) {
		const stale = claims?.why === "use_dpop_nonce";
		const told = stale || claims?.why === "invalid_dpop_proof" ? claims.why : "invalid_token";
		const why = claims ? `, error="${told}"` : "";
		const fields = { "www-authenticate": `${proves ? "DPoP" : "Bearer"} realm="secret-realm"${why}${point}` };
		if (stale) fields["dpop-nonce"] = nonce;
		return say(response, 401, {}, fields);
	}
	if (request.method !== "POST") return say(response, 405, {});
	const message = JSON.parse(text);
	if (message.id === undefined) return say(response, 202, "");
	const result = (value) => say(response, 200, { jsonrpc: "2.0", id: message.id, result: value });
	const tool = (name) => ({ name, inputSchema: { type: "object" } });
	switch (message.method) {
		case "initialize":
			return result({
				protocolVersion: message.params.protocolVersion,
				capabilities: { tools: {} },
				serverInfo: { name: "behind-oauth", version: "1" },
			});
		case "tools/list":
			return result({ tools: [tool("get_thing"), tool("get_more")] });
		case "tools/call": {
			const scopes = (claims.scope ?? "").split(" ");
			if (message.params.name === "get_more" && !scopes.includes("write")) {
				const challenge = `Bearer error="insufficient_scope", scope="read write"${point}`;
				return say(response, 403, {}, { "www-authenticate": challenge });
			}
			// A server that says too much.
			const [, token] = request.headers.authorization.split(" ");
			const sum = createHash("sha256").update(token).digest("hex");
			return result({ content: [{ type: "text", text: `as ${claims.sub}, token ${token}, sum ${sum}` }] });
		}
		default:
			return say(response, 200, { jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "no" } });
	}
}

const control = createServer(async (request, response) => {
	const asked = JSON.parse(await body(request));
	if (asked.do === "revoke") {
		for (const id of grants) await provider.Grant.adapter.destroy(id);
		for (const id of refreshTokens) await provider.RefreshToken.adapter.destroy(id);
	}
	if (["disprove", "unbind", "unsay"].includes(asked.do)) changed.add(asked.do);
	if (asked.do === "forget") forgotten.add(asked.client);
	if (asked.do === "nonce") nonce = randomBytes(16).toString("hex");
	if (asked.do === "issuer") named = asked.issuer;
	if (asked.do === "refuse" || asked.do === "revoke") for (const token of tokens) refused.add(token);
	const told = { seen, granted, tokens: [...tokens] };
	say(response, 200, told[asked.do] ?? {});
});
const [grants, refreshTokens] = [new Set(), new Set()];
provider.on("grant.saved", (grant) => grants.add(grant.jti));
provider.on("refresh_token.saved", (token) => refreshTokens.add(token.jti));

console.log(JSON.stringify({ issuer, mcp: resource, control: await listening(control) }));
