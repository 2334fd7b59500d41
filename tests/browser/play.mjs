// play.mjs - a <video> element in headless Chromium plays and seeks
//
//   node play.mjs CHROMIUM URL-OF-VIDEO SECONDS
//
// Prints one line of JSON: what the player saw, and the ranges it asked for. The
// page is served under the video's own origin, without touching the server.
import { chromium } from 'playwright-core';

const [executablePath, url, seconds] = process.argv.slice(2);
const duration = Number(seconds);

const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
    '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--mute-audio',
    '--autoplay-policy=no-user-gesture-required'],
});

// Until the element has a frame of that second, or fails.
async function seek(page, second) {
  return page.evaluate((to) => new Promise((resolve, reject) => {
    const video = document.querySelector('video');
    video.onerror = () => reject(new Error(`media error ${video.error.code}: ` +
      video.error.message));
    video.onseeked = () => resolve({ at: video.currentTime,
      ready: video.readyState, width: video.videoWidth });
    video.currentTime = to;
  }), second);
}

try {
  const page = await browser.newPage();
  const asked = [];
  page.on('response', (response) => {
    if (response.url() === url) {
      asked.push({ range: response.request().headers().range ?? null,
        status: response.status(),
        content: response.headers()['content-range'] ?? null,
        type: response.headers()['content-type'] });
    }
  });
  const origin = new URL(url).origin;
  await page.route(`${origin}/player`, (route) => route.fulfill({
    contentType: 'text/html',
    body: `<!doctype html><video preload="metadata" src="${url}"></video>` }));
  await page.goto(`${origin}/player`);
  const metadata = await page.evaluate(() => new Promise((resolve, reject) => {
    const video = document.querySelector('video');
    const done = () => resolve({ duration: video.duration,
      width: video.videoWidth, height: video.videoHeight });
    video.onerror = () => reject(new Error(`media error ${video.error.code}`));
    if (video.readyState >= 1) done(); else video.onloadedmetadata = done;
  }));
  const seeks = [];
  for (const part of [0.9, 0.1, 0.5]) {
    seeks.push(await seek(page, duration * part));
  }
  const played = await page.evaluate(async () => {
    const video = document.querySelector('video');
    const from = video.currentTime;
    await video.play();
    await new Promise((resolve) => {
      video.ontimeupdate = () => { if (video.currentTime > from + 1) resolve(); };
    });
    return video.currentTime - from;
  });
  console.log(JSON.stringify({ metadata, seeks, played, asked }));
} finally {
  await browser.close();
}
