// Preloaded into the vendor's server: requests to the vendor's API go to a loopback stand-in instead, in plain HTTP.
// Every other host is refused, so that a test can never reach the network.
const http = require("node:http");
const https = require("node:https");

const target = Number(process.env.FAKE_API_PORT);
const redirected = new Set(["api.stripe.com"]);

function elsewhere(host) {
  if (!redirected.has(host)) throw new Error(`redirect.cjs: ${host} is not the API under test`);
}

https.request = function (url, options, callback) {
  if (typeof url !== "string" && !(url instanceof URL)) [options, callback, url] = [url, options, undefined];
  if (typeof options === "function") [callback, options] = [options, {}];
  const from = url === undefined ? {} : https_options(new URL(url));
  const merged = { ...from, ...options };
  elsewhere(merged.hostname ?? merged.host);
  const { agent, servername, ...rest } = merged;
  const request = http.request({ ...rest, protocol: "http:", host: "127.0.0.1", hostname: "127.0.0.1", port: target }, callback);
  // The vendor's client writes its body when the socket says `secureConnect`; a plain socket says `connect`.
  request.prependListener("socket", (socket) => {
    const once = socket.once.bind(socket);
    socket.once = (event, listener) => once(event === "secureConnect" ? "connect" : event, listener);
  });
  return request;
};

function https_options(url) {
  return { hostname: url.hostname, path: url.pathname + url.search, port: url.port };
}

const plainFetch = globalThis.fetch;
globalThis.fetch = async function (input, init) {
  const url = new URL(input instanceof Request ? input.url : input);
  if (url.hostname !== "127.0.0.1") {
    elsewhere(url.hostname);
    url.protocol = "http:";
    url.host = `127.0.0.1:${target}`;
  }
  return plainFetch(input instanceof Request ? new Request(url, input) : url, init);
};
