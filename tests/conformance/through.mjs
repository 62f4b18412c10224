// Puts Countersign between the suite's server and the client that the suite examines: starts it toward the URL that
// the suite gives, runs the client against it, stops it and ends as the client did. Where the suite is about signing in,
// Countersign is who signs in, by `auth login` and a person who consents to everything, or by itself where the suite
// gives it a client of its own, and the client only uses it.
//
//     through.mjs URL       (COUNTERSIGN: the program; CLIENT: the client's file)
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const TOKEN = "tok_conformance_4hWq8ZrT1nXc";
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const signsIn = (process.env.MCP_CONFORMANCE_SCENARIO ?? "").startsWith("auth/");
const alone = /^auth\/(client-credentials-|wif-|enterprise-)/.test(process.env.MCP_CONFORMANCE_SCENARIO ?? "");
const secrets = { token: { env: "TOKEN" } };
const upstream = { url: process.argv[2], allow_plain_http: true };
const dir = mkdtempSync(join(tmpdir(), "cs-conf-"));
if (alone) {
	// What an operator knows of the client that was made for it.
	const metadata = new URL(`/.well-known/oauth-protected-resource${new URL(upstream.url).pathname}`, upstream.url);
	const { authorization_servers: [issuer] } = await (await fetch(metadata)).json();
	const oauth = { grant: "client_credentials", client_id: context.client_id, issuer };
	secrets.client = { env: "CLIENT" };
	if (context.valid_jwt) {
		secrets.client = { file: join(dir, "assertion") };
		writeFileSync(secrets.client.file, context.valid_jwt, { mode: 0o600 });
		oauth.grant = "jwt_bearer";
		oauth.assertion = { secret: "client" };
	} else if (context.idp_id_token) {
		secrets.person = { file: join(dir, "id-token") };
		writeFileSync(secrets.person.file, context.idp_id_token, { mode: 0o600 });
		oauth.grant = "id_jag";
		oauth.client_secret = { secret: "client" };
		oauth.idp = { issuer: context.idp_issuer, client_id: context.idp_client_id, id_token: { secret: "person" } };
	} else if (context.private_key_pem) oauth.private_key = { secret: "client" };
	else oauth.client_secret = { secret: "client" };
	upstream.auth = { oauth };
} else if (signsIn) {
	const oauth = { client_metadata_url: "https://conformance-test.local/client-metadata.json" };
	if (context.client_id) {
		delete oauth.client_metadata_url;
		oauth.client_id = context.client_id;
		if (context.client_secret) {
			secrets.client = { env: "CLIENT" };
			oauth.client_secret = { secret: "client" };
		}
	}
	upstream.auth = { oauth };
}
mkdirSync(join(dir, "policies"), { mode: 0o700 });
writeFileSync(
	join(dir, "policies", "all.rego"),
	'package countersign.policy.all\n\nallow contains {"rule": "all", "reason": "what is passed on is examined"} if input.method\n',
);
const config = {
	version: 1,
	state_dir: join(dir, "state"),
	runtime_dir: join(dir, "run"),
	listen: { http: "127.0.0.1:0" },
	secrets,
	servers: { suite: { environment: "test", upstream: { http: upstream } } },
	principals: [{ name: "client", match: { token: { secret: "token" } }, scopes: ["*/read"] }],
	// Unoptimized and beside other tests an evaluation may take long.
	policy: { builtin: [], paths: [join(dir, "policies")], time_limit_ms: 5000 },
};
const file = join(dir, "countersign.yaml");
writeFileSync(file, JSON.stringify(config), { mode: 0o600 });

const env = { PATH: process.env.PATH, HOME: dir, TOKEN, CLIENT: (context.client_secret ?? context.private_key_pem ?? "").trim() };

/// A person at a browser, who is logged in already; the page sends it back to Countersign. Whether that is a sign-in.
async function signIn() {
	const login = spawn(process.env.COUNTERSIGN, ["auth", "login", "suite", "--no-browser", "--config", file], {
		env,
		stdio: ["ignore", "ignore", "pipe"],
	});
	const ended = new Promise((done) => login.on("exit", done));
	createInterface({ input: login.stderr }).on("line", async (line) => {
		console.error(line);
		const page = /^ {2}(http\S+)$/.exec(line);
		if (!page) return;
		const answer = await fetch(page[1], { redirect: "manual" });
		await fetch(answer.headers.get("location"));
	});
	return (await ended) === 0;
}
// The client asks for a sign-in here when it is told that one is needed.
const desk = createServer(async (_, response) => {
	response.statusCode = (await signIn()) ? 200 : 500;
	response.end();
});
await new Promise((done) => desk.listen(0, "127.0.0.1", done));
if (signsIn && !alone && !(await signIn())) process.exit(1);

const daemon = spawn(process.env.COUNTERSIGN, ["serve", "--config", file], {
	env,
	stdio: ["ignore", "ignore", "pipe"],
});
// However this ends, nothing is left behind.
process.on("exit", () => {
	daemon.kill("SIGKILL");
	rmSync(dir, { recursive: true, force: true });
});
process.on("SIGTERM", () => process.exit(1));
daemon.on("exit", (code) => {
	console.error(`countersign ended with ${code}`);
	process.exit(1);
});
const address = await new Promise((found) => {
	createInterface({ input: daemon.stderr }).on("line", (line) => {
		console.error(line);
		const listening = /^listening http=(\S+)/.exec(line);
		if (listening) found(listening[1]);
	});
});
const client = spawn(process.execPath, [process.env.CLIENT, `http://${address}/mcp/suite`], {
	env: { ...process.env, PEER_TOKEN: TOKEN, SIGN_IN: `http://127.0.0.1:${desk.address().port}/` },
	stdio: "inherit",
});
client.on("exit", (code) => process.exit(code ?? 1));
