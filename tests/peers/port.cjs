// Preloaded into a server that was told to listen on port 0: says on stderr which port it got.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  this.once("listening", () => process.stderr.write(`port=${this.address().port}\n`));
  return listen.apply(this, args);
};
