// The gate's page in a real browser: one story after another on real gates.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { browser, stage, strikeAll, until, violations } from "./stage.mjs";

let chrome;
before(async () => (chrome = await browser()));
after(async () => {
  strikeAll();
  await chrome.close();
});

const LOOKS = [
  { name: "light", width: 1280, scheme: "light" },
  { name: "dark", width: 1280, scheme: "dark" },
  { name: "phone-light", width: 320, height: 640, scheme: "light" },
  { name: "phone-dark", width: 320, height: 640, scheme: "dark" },
];

/** Every look at a page: no complaint of the console, none of axe, and nothing wider than the window. */
async function holds(url, state) {
  for (const look of LOOKS) {
    const { page, wrong, close } = await chrome.open(url, look);
    if (await page.locator("[data-live]").count()) {
      await until("the stream is open", async () => (await page.locator("#connection").textContent()) === "live");
    }
    assert.deepEqual(await violations(page), [], `${state} ${look.name}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${state} ${look.name}: ${wide} pixels wider than the window`);
    await page.screenshot({ path: path.join(process.env.SCREENSHOTS, `${state}-${look.name}.png`), fullPage: true });
    assert.deepEqual(wrong, [], `${state} ${look.name}`);
    await close();
  }
}

test("an incident is seen live, without a reload, and told afterwards", async () => {
  const shop = await stage();
  try {
    await holds(shop.url, "gates-before");
    const { id } = await shop.switchToGreen();
    const here = `${shop.url}/releases/${id}`;
    const { page, wrong, close } = await chrome.open(here);
    await page.evaluate(() => (window.sameDocument = true));
    const points = () => page.locator("#charts svg[role=img] polyline").evaluateAll((lines) => lines.map((line) => line.getAttribute("points")).join());
    const drawn = await points();
    await until("the charts move", async () => (await points()) !== drawn, 10);
    await until("the release has run for a while", async () => (await shop.get(`/v1/releases/${id}/evidence`)).now_ms > 15_000);
    await holds(here, "release-watching");
    await holds(shop.url, "gates-watching");

    await shop.breakGreen({ errorRate: 0.5 });
    await until("the page says that it is reverted", async () =>
      (await page.locator("#verdict .badge").textContent()).includes("reverted"));
    assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was not loaded again");
    const timeline = await page.locator("#timeline").textContent();
    for (const what of ["switched", "proven", "diverted", "reverted", "verified"]) assert.match(timeline, new RegExp(what));
    assert.match(await page.locator("#announcement").textContent(), /announced|verified|released|reverted/);
    assert.equal(await page.locator("#decide").isVisible(), false, "nothing is left to decide");
    const marks = await page.locator("#charts svg[role=img]").first().textContent();
    for (const mark of ["switch", "revert"]) assert.ok(marks.includes(mark), mark);
    assert.deepEqual(wrong, []);
    await close();
    await holds(here, "release-reverted");
    await holds(shop.url, "gates-reverted");

    const document = `${shop.url}/v1/releases/${id}/incident.html`;
    await holds(document, "incident");
    const markdown = await (await fetch(`${shop.url}/v1/releases/${id}/incident.md`)).text();
    assert.match(markdown, /^# shop-1 was reverted\n/);
    assert.match(markdown, /requests? on green failed since the switch/);
    const recording = await fetch(`${shop.url}/v1/releases/${id}/recording`);
    assert.equal(recording.status, 200);
  } finally {
    await shop.strike();
  }
});

test("a person reverts with the keyboard alone, and says why", async () => {
  const shop = await stage();
  try {
    const { id } = await shop.switchToGreen();
    const { page, wrong, close } = await chrome.open(shop.url);
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id);
    const tabTo = async (what, is) => {
      for (let presses = 0; presses < 40; presses++) {
        await page.keyboard.press("Tab");
        if (is(await focused())) return;
      }
      assert.fail(`${what} cannot be reached with Tab`);
    };
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "Skip to content");
    await page.keyboard.press("Enter");
    await tabTo("the gate", (text) => text === "shop");
    await page.keyboard.press("Enter");
    await page.waitForURL(`**/releases/${id}`);

    await tabTo("the reason", (text) => text === "why");
    const reason = "wrong prices <b>since</b> noon";
    await page.keyboard.type(reason);
    // The page goes on being live around whoever types.
    const drawn = await page.locator("#charts svg[role=img]").first().innerHTML();
    await until("the charts move", async () => (await page.locator("#charts svg[role=img]").first().innerHTML()) !== drawn, 10);
    assert.equal(await page.locator("#why").inputValue(), reason);
    await page.keyboard.press("Tab");
    await page.keyboard.type("ada");
    await tabTo("Hold", (text) => text === "Hold");
    await page.keyboard.press("Enter");
    await until("the release is held", async () => (await shop.get(`/v1/releases/${id}`)).phase === "held");
    await page.locator("#verdict .badge", { hasText: "held" }).waitFor();

    // Nothing happens without a reason.
    await page.locator("#by").fill("ada");
    await page.locator("button", { hasText: "Revert" }).press("Enter");
    assert.equal((await shop.get(`/v1/releases/${id}`)).phase, "held");
    await page.locator("#why").fill(reason);
    await page.locator("button", { hasText: "Revert" }).press("Enter");
    await until("it is reverted", async () => (await shop.get(`/v1/releases/${id}`)).phase === "reverted");
    await page.locator("#verdict .badge", { hasText: "reverted" }).waitFor();
    const told = await shop.get(`/v1/releases/${id}`);
    assert.match(told.verdict.text, /by ada: wrong prices <b>since<\/b> noon/);
    assert.equal(await page.locator("main b").count(), 0, "what people type is text");
    assert.deepEqual(wrong, []);
    await close();
  } finally {
    await shop.strike();
  }
});

test("with a token only its holder decides, and without script the page still works", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "blueback-token-"));
  const [token, file] = ["0123456789-abcdef", path.join(folder, "token")];
  await writeFile(file, `${token}\n`);
  const shop = await stage(["--token-file", file]);
  try {
    const { id } = await shop.switchToGreen(token);
    const here = `${shop.url}/releases/${id}`;
    const stranger = await chrome.open(here, { script: false });
    assert.equal(await stranger.page.locator("#why").count(), 0, "a stranger has no form");
    assert.match(await stranger.page.locator("#charts").innerHTML(), /<svg/);
    await stranger.page.locator("a", { hasText: "Log in" }).last().click();
    await stranger.page.locator("#token").fill("not the token at all");
    await stranger.page.locator("main button").click();
    await stranger.page.locator("[role=alert]").waitFor();
    await stranger.page.locator("#token").fill(token);
    await stranger.page.locator("main button").click();
    await stranger.page.waitForURL("**/releases/**");
    const [cookie] = await stranger.page.context().cookies();
    assert.equal(cookie.httpOnly && cookie.sameSite === "Strict", true, JSON.stringify(cookie));
    await stranger.page.goto(`${here}/decide`);
    await stranger.page.locator("#why").fill("it is the weekend");
    await stranger.page.locator("#by").fill("ben");
    await stranger.page.locator("button", { hasText: "Revert" }).click();
    await until("it is reverted", async () => (await shop.get(`/v1/releases/${id}`)).phase === "reverted");
    assert.match((await shop.get(`/v1/releases/${id}`)).verdict.text, /by ben: it is the weekend/);
    await stranger.close();

    await holds(`${shop.url}/login`, "login");
    // Another site's page may send what it likes.
    const forged = await fetch(`${shop.url}/services/shop/hold`, {
      method: "POST",
      headers: { origin: "http://evil.example", "content-type": "application/x-www-form-urlencoded", authorization: `Bearer ${token}` },
      body: "why=x&by=y",
    });
    assert.equal(forged.status, 403);
  } finally {
    await shop.strike();
    await rm(folder, { recursive: true });
  }
});
