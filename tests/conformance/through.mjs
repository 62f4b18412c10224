// Puts Countersign between the suite's server and the client that the suite examines: starts it toward the URL that
// the suite gives, runs the client against it, stops it and ends as the client did.
//
//     through.mjs URL       (COUNTERSIGN: the program; CLIENT: the client's file)
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const TOKEN = "tok_conformance_4hWq8ZrT1nXc";
const dir = mkdtempSync(join(tmpdir(), "cs-conf-"));
mkdirSync(join(dir, "policies"), { mode: 0o700 });
writeFileSync(
	join(dir, "policies", "all.rego"),
	'package countersign.policy.all\n\nallow contains {"rule": "all", "reason": "what is passed on is examined"} if true\n',
);
const config = {
	version: 1,
	state_dir: join(dir, "state"),
	runtime_dir: join(dir, "run"),
	listen: { http: "127.0.0.1:0" },
	secrets: { token: { env: "TOKEN" } },
	servers: {
		suite: { environment: "test", upstream: { http: { url: process.argv[2], allow_plain_http: true } } },
	},
	principals: [{ name: "client", match: { token: { secret: "token" } }, scopes: ["*/read"] }],
	// Unoptimized and beside other tests an evaluation may take long.
	policy: { builtin: [], paths: [join(dir, "policies")], time_limit_ms: 5000 },
};
const file = join(dir, "countersign.yaml");
writeFileSync(file, JSON.stringify(config), { mode: 0o600 });

const daemon = spawn(process.env.COUNTERSIGN, ["serve", "--config", file], {
	env: { PATH: process.env.PATH, HOME: dir, TOKEN },
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
	env: { ...process.env, PEER_TOKEN: TOKEN },
	stdio: "inherit",
});
client.on("exit", (code) => process.exit(code ?? 1));
