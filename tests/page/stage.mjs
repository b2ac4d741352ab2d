// A real gate with sample applications and load, and a real browser to look at it.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(process.env.PAGE_MODULES);
const { chromium } = require("playwright-core");
export const axeSource = require("axe-core").source;

/** Waits until `look` returns something true, and says what for when it does not. */
export async function until(what, look, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited ${seconds} s for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const children = new Set();
// Whatever ends this process ends what it started.
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));

/** Ends what a story that failed has left. */
export const strikeAll = () => children.forEach((child) => child.kill("SIGKILL"));

/** Starts the command; resolves with its first `lines` lines. */
async function start(args, lines) {
  const child = spawn(process.env.BLUEBACK, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  ended.then(() => children.delete(child));
  const said = [];
  const enough = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      said.push(line);
      if (said.length === lines) resolve(said);
    });
    ended.then((code) => reject(new Error(`blueback ${args[0]} ended with ${code}`)));
    child.once("error", reject);
  });
  enough.catch(() => {});
  return { said: await enough, stop: () => (child.kill("SIGTERM"), ended) };
}

const address = (line) => line.match(/(\d+\.\d+\.\d+\.\d+:\d+)/)[1];

function request(url, method, body, agent) {
  return new Promise((resolve) => {
    const sent = http.request(url, { method, agent }, (answer) => {
      let text = "";
      answer.on("data", (part) => (text += part));
      answer.on("end", () => resolve({ status: answer.statusCode, text }));
      answer.on("error", () => resolve({ status: 0, text }));
    });
    sent.on("error", () => resolve({ status: 0, text: "" }));
    sent.end(body);
  });
}

/** Two sample applications, `blueback guard` in front of them, and requests through it. */
export async function stage(flags = []) {
  const sample = (name, seed) =>
    start(["sample-app", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--name", name, "--seed", seed], 2);
  const [blue, green] = await Promise.all([sample("blue", "1"), sample("green", "2")]);
  const [blueAt, greenAt, greenControl] = [blue.said[0], green.said[0], green.said[1]].map(address);
  const guard = await start(
    ["guard", "--name", "shop", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--blue", blueAt, "--green", greenAt, "--workers", "1", ...flags],
    2,
  );
  const [front, api] = guard.said.map(address);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  let isLoaded = true;
  const load = (async () => {
    while (isLoaded) {
      const next = new Promise((resolve) => setTimeout(resolve, 10));
      request(`http://${front}/`, "GET", undefined, agent);
      await next;
    }
  })();
  const url = `http://${api}`;
  const post = async (place, body, token) => {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const answer = await fetch(`${url}${place}`, { method: "POST", body: JSON.stringify(body), headers });
    if (!answer.ok) throw new Error(`${place}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const get = async (place) => (await fetch(`${url}${place}`)).json();
  await until("both backends are ready and traffic flows", async () => {
    const [service] = await get("/v1/services");
    return service?.backends.length === 2 && service.backends.every((one) => one.ready) && service.requests_per_second > 20;
  });
  return {
    url,
    get,
    post,
    switchToGreen: (token) => post("/v1/services/shop/switch", { to: "green", by: "ada" }, token),
    breakGreen: (fault) => request(`http://${greenControl}/fault`, "POST", JSON.stringify(fault)),
    async strike() {
      isLoaded = false;
      await load;
      agent.destroy();
      await guard.stop();
      await Promise.all([blue.stop(), green.stop()]);
    },
  };
}

/** A browser with nothing in it. */
export async function browser() {
  const folder = await mkdtemp(path.join(tmpdir(), "blueback-page-"));
  const started = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return {
    /** A window in which anything that goes wrong is kept. */
    async open(url, { width = 1280, height = 900, scheme = "light", script = true } = {}) {
      const context = await started.newContext({
        viewport: { width, height },
        colorScheme: scheme,
        javaScriptEnabled: script,
        bypassCSP: false,
      });
      const page = await context.newPage();
      const wrong = [];
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) wrong.push(message.text());
      });
      page.on("pageerror", (error) => wrong.push(String(error)));
      page.on("requestfailed", (failed) => {
        // What a page was still fetching, its stream of events say, ends with it when the reader goes on to another.
        const why = failed.failure()?.errorText;
        if (why !== "net::ERR_ABORTED") wrong.push(`${failed.url()} ${why}`);
      });
      await page.goto(url);
      return { page, wrong, close: () => context.close() };
    },
    async close() {
      await started.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** What axe finds, a line each. It is evaluated from outside, as the page's policy admits no script but its own. */
export async function violations(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join(" | ").slice(0, 400)}`);
}
