// Prints what the libraries of npm do with each delivery, as rows of the table of docs/verify.md.
const fs = require("node:fs");
const path = require("node:path");

// Whether it takes the delivery, and not one with another body.
function verifies(verify, { secret, headers, body }) {
  body = Buffer.from(body, "base64");
  try {
    verify(secret, body, headers);
  } catch {
    return false;
  }
  try {
    verify(secret, Buffer.concat([body, Buffer.from(" ")]), headers);
  } catch {
    return true;
  }
  throw new Error("another body was taken");
}

async function library(name) {
  const file = path.join(process.env.NODE_PATH, name, "package.json");
  const { Webhook } = await import(require.resolve(name));
  return [Webhook, `npm \`${name}\` ${JSON.parse(fs.readFileSync(file)).version}`];
}

async function main() {
  const deliveries = JSON.parse(fs.readFileSync(process.argv[2]));
  const plain = deliveries.pop();
  const [Standard, standard] = await library("standardwebhooks");
  const [Svix, svix] = await library("svix");
  for (const [name, verify] of [
    [standard, (secret, body, headers) => new Standard(secret).verify(body, headers)],
    ["the same with `{ jsonParse: false }`",
      (secret, body, headers) => new Standard(secret).verify(body, headers, { jsonParse: false })],
    [svix, (secret, body, headers) => new Svix(secret).verify(body, headers)],
  ]) {
    const cells = deliveries.map((delivery) => (verifies(verify, delivery) ? "yes" : "no"));
    console.log(`| ${name} | ${cells.join(" | ")} |`);
    if (verifies(verify, plain)) throw new Error(`${name} took a secret without whsec_`);
  }
}

main();
