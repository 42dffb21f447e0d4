// Drives the page in a headless browser: a slider, the map, the pad, the prior, keys and touch.
//
//     npm install --prefix /tmp/ort puppeteer-core
//     NODE_PATH=/tmp/ort/node_modules node examples/serving/explorer/check.mjs \
//         http://127.0.0.1:8000 /usr/bin/chromium outputs/explorer
//
// Screenshots of a phone and of a desktop go to the folder that is named last.

import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import assert from "node:assert/strict";

const require = createRequire(import.meta.url);
let puppeteer;
for (const place of [null, ...(process.env.NODE_PATH ?? "").split(":")]) {
  try {
    puppeteer = place === null ? require("puppeteer-core") : require(`${place}/puppeteer-core`);
    break;
  } catch {}
}
assert.ok(puppeteer, "npm install puppeteer-core");
const [address, browserPath, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await puppeteer.launch({
  executablePath: browserPath,
  args: ["--no-sandbox", "--disable-gpu"],
});
const SIZES = {
  phone: { width: 360, height: 740, isMobile: true, hasTouch: true },
  desktop: { width: 1280, height: 900 },
};
try {
  for (const [name, viewport] of Object.entries(SIZES)) {
    const page = await browser.newPage();
    const errors = [];
    const asked = new Set();
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (entry) => entry.type() === "error" && errors.push(entry.text()));
    page.on("request", (request) => asked.add(new URL(request.url()).protocol + new URL(request.url()).host));
    await page.setViewport(viewport);
    await page.goto(address);
    await page.waitForSelector("body[data-ready=yes]", { timeout: 60000 });
    const picture = () => page.$eval("#picture", (canvas) => canvas.toDataURL());
    const settled = async (before) => {
      await page.waitForFunction(
        (old) => document.getElementById("picture").toDataURL() !== old, { timeout: 20000 }, before);
      return picture();
    };
    let now = await picture();
    await page.focus("#sliders input");
    for (let k = 0; k < 12; k++) await page.keyboard.press("ArrowRight");
    now = await settled(now);
    const press = viewport.hasTouch ? (x, y) => page.touchscreen.tap(x, y) : (x, y) => page.mouse.click(x, y);
    const at = async (id, across, down) => {
      await page.$eval(id, (element) => element.scrollIntoView({ block: "center" }));
      const box = await (await page.$(id)).boundingBox();
      return [box.x + across * box.width, box.y + down * box.height];
    };
    const point = () => page.$eval("#map", (canvas) => canvas.dataset.point);
    await press(...(await at("#map", 0.8, 0.25)));
    now = await settled(now);
    const [across, up] = (await point()).split(",").map(Number);
    assert.ok(Math.abs(across - 1.8) < 0.1 && Math.abs(up - 1.5) < 0.1, await point());
    await page.focus("#map");
    await page.keyboard.press("ArrowLeft");
    now = await settled(now);
    await page.click("#prior");
    now = await settled(now);
    // A one, drawn down the middle.
    for (let row = 0; row < 8; row++) await press(...(await at("#pad", 0.45, (row + 0.5) / 8)));
    now = await settled(now);
    await page.focus("#pad");
    await page.keyboard.press("Space");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Space");
    await settled(now);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
    const small = await page.$$eval("button, select", (all) => all.filter((e) => e.offsetHeight < 44).length);
    assert.equal(small, 0, "a finger hits all buttons");
    assert.deepEqual(errors, []);
    assert.deepEqual([...asked].filter((host) => !address.includes(host.split(":")[1])), []);
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    console.log(`${name}: ${await page.$eval("#time", (element) => element.textContent)}`);
    await page.close();
  }
} finally {
  await browser.close();
}
