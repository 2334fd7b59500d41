// page.mjs - the broadcaster's own page in headless Chromium, behind a token
//
//   node page.mjs CHROMIUM ORIGIN TOKEN
//
// Gives the page the token, searches, plays the first row and saves it. Prints one
// line of JSON: what the player saw, and how many bytes were saved.
import { statSync } from 'node:fs';
import { chromium } from 'playwright-core';

const [executablePath, origin, token] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
    '--no-first-run', '--disable-background-networking', '--mute-audio',
    '--autoplay-policy=no-user-gesture-required'],
});

try {
  const page = await browser.newPage();
  await page.goto(`${origin}/`);
  const refused = await page.waitForFunction(() =>
    document.getElementById('found').textContent).then((h) => h.jsonValue());
  await page.fill('#token', token);
  await page.click('#search button');
  await page.click('#rows button:has-text("Play")');
  const width = await page.waitForFunction(() => {
    const video = document.getElementById('video');
    return video.currentTime > 0.2 && video.videoWidth;
  }).then((h) => h.jsonValue());
  const [download] = await Promise.all([page.waitForEvent('download'),
    page.click('#rows a')]);
  const saved = statSync(await download.path()).size;
  console.log(JSON.stringify({ refused, width, saved,
    name: download.suggestedFilename() }));
} finally {
  await browser.close();
}
