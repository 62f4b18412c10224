// A server in the manner of a vendor's code mode: `execute` runs the agent's JavaScript with a client of the vendor's API,
// which has its address and its key from the environment, as vendors' SDKs do. Nothing holds the code back.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const AsyncFunction = (async () => {}).constructor;

class Client {
  constructor({ apiKey, baseURL }) {
    this.apiKey = apiKey;
    this.baseURL = baseURL;
  }

  async request(method, path, { body, headers = {}, signal } = {}) {
    const answer = await fetch(this.baseURL + path, {
      method,
      headers: { "X-API-KEY": this.apiKey, "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
      signal,
      redirect: "manual",
    });
    const text = await answer.text();
    let parsed = text;
    try {
      parsed = JSON.parse(text);
    } catch {}
    return { status: answer.status, headers: Object.fromEntries(answer.headers), body: parsed };
  }
}

async function execute({ code }) {
  const client = new Client({ apiKey: process.env.STIGG_API_KEY, baseURL: process.env.STIGG_BASE_URL });
  const run = new AsyncFunction("client", "require", `${code}\nreturn await run(client);`);
  return run(client, createRequire(import.meta.url));
}

const TOOLS = [
  {
    name: "execute",
    description: "Runs code against the API",
    inputSchema: {
      type: "object",
      properties: { code: { type: "string" }, intent: { type: "string" } },
      required: ["code"],
    },
  },
  {
    name: "search_docs",
    description: "Searches the documentation",
    inputSchema: { type: "object", properties: { query: { type: "string" } }, required: ["query"] },
    annotations: { readOnlyHint: true },
  },
  { name: "retrieve_balance", description: "The account's money", inputSchema: { type: "object" } },
];

async function answer({ method, params }) {
  if (method === "initialize") {
    return {
      protocolVersion: params.protocolVersion,
      capabilities: { tools: {} },
      serverInfo: { name: "code-mode", version: "1" },
    };
  }
  if (method === "tools/list") return { tools: TOOLS };
  if (method === "tools/call" && params.name === "execute") {
    try {
      const result = await execute(params.arguments);
      return { content: [{ type: "text", text: JSON.stringify(result ?? null) }] };
    } catch (error) {
      const cause = error.cause ? ` (${error.cause.message ?? error.cause})` : "";
      return { content: [{ type: "text", text: `${error.message}${cause}` }], isError: true };
    }
  }
  if (method === "tools/call" && params.name === "retrieve_balance") {
    const { STIGG_API_KEY: apiKey, STIGG_BASE_URL: baseURL } = process.env;
    const headers = { Authorization: `Bearer ${apiKey}` };
    const [method, path] = (process.env.BALANCE ?? "GET /v1/balance").split(" ");
    const { status, body } = await new Client({ apiKey, baseURL }).request(method, path, { headers });
    return { content: [{ type: "text", text: JSON.stringify(body) }], isError: status !== 200 };
  }
  if (method === "tools/call") return { content: [{ type: "text", text: "done" }] };
  return {};
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.id === undefined) continue;
  // Calls run beside each other.
  answer(message).then((result) => {
    process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", id: message.id, result })}\n`);
  });
}
process.exit(0);
