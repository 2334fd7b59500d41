"""Real players on /media, through nginx: Chromium, ffprobe, curl and wget."""
import json
import os
import pathlib
import re
import signal
import subprocess

from client import Curl, get, wait_until
from harness import ROOT, Scenario, sha256
from topology import Topology

SECONDS = 60
HERE = pathlib.Path(__file__).resolve().parent


def make_video(path):
    """H.264 in MP4, the index in front, about 40 MB: more than a browser reads
    ahead, so that a seek has to ask for another range."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i",
         f"testsrc2=size=640x360:rate=25:duration={SECONDS}", "-vf", "noise=alls=30",
         "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "6M", "-maxrate", "6M",
         "-bufsize", "6M", "-g", "25", "-pix_fmt", "yuv420p",
         "-movflags", "+faststart", str(path)], check=True, timeout=300)


class Players(Scenario):

    @classmethod
    def setUpClass(cls):
        cls.video = ROOT / "dist" / "browser" / f"video-{SECONDS}.mp4"
        cls.video.parent.mkdir(parents=True, exist_ok=True)
        if not cls.video.exists():
            part = cls.video.with_suffix(".part.mp4")
            make_video(part)
            part.rename(cls.video)

    def setUp(self):
        super().setUp()
        self.topology = Topology(self.folder, BROADCASTER_THREADS=1,
                                 READER_THREADS=1)
        self.addCleanup(self.remove_database)
        try:
            self.topology.start()
        finally:
            self.programs += self.topology.programs()
        base = f"http://127.0.0.1:{self.topology.front.port}"
        answer = Curl("-T", self.video, "-H", "Content-Type: video/mp4",
                      f"{base}/broadcast/")
        self.assertEqual(answer.status, 201, answer)
        self.url = f"{base}/media/{answer.data['id']}"
        self.size = self.video.stat().st_size

    def remove_database(self):
        if self.topology.server:
            self.topology.server.remove()

    def run_tool(self, *args):
        done = subprocess.run([str(a) for a in args], capture_output=True,
                              text=True, timeout=120, check=False, cwd=HERE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_a_video_element_in_chromium_seeks_by_ranges_and_plays(self):
        seen = json.loads(self.run_tool("node", "play.mjs", "/usr/bin/chromium",
                                        self.url, SECONDS))
        self.assertAlmostEqual(seen["metadata"]["duration"], SECONDS, delta=0.5)
        self.assertEqual(seen["metadata"]["width"], 640)
        for seek, part in zip(seen["seeks"], (0.9, 0.1, 0.5)):
            self.assertAlmostEqual(seek["at"], SECONDS * part, delta=0.5)
            self.assertGreaterEqual(seek["ready"], 2)
        self.assertGreater(seen["played"], 1)
        self.assert_ranges(seen["asked"])

    def assert_ranges(self, asked):
        """Every answer is the range that was asked for; the seek to 90 % asked
        for one far behind the first."""
        self.assertTrue(asked)
        starts = []
        for one in asked:
            self.assertEqual(one["status"], 206, one)
            self.assertEqual(one["type"], "video/mp4")
            first = int(re.match(r"bytes=(\d+)-", one["range"]).group(1))
            self.assertTrue(one["content"].startswith(f"bytes {first}-"), one)
            self.assertTrue(one["content"].endswith(f"/{self.size}"), one)
            starts.append(first)
        self.assertGreater(max(starts), self.size // 2, starts)

    def test_the_page_plays_and_saves_behind_a_token(self):
        front = self.broadcaster(self.topology.readers,
                                 BROADCASTER_TOKEN="secret")
        seen = json.loads(self.run_tool(
            "node", "page.mjs", "/usr/bin/chromium",
            f"http://127.0.0.1:{front.port}", "secret"))
        self.assertIn("token", seen["refused"])
        self.assertEqual(seen["width"], 640)
        self.assertEqual(seen["saved"], self.size)
        self.assertEqual(seen["name"], self.video.name)

    def test_ffprobe_reads_the_streams_of_the_url(self):
        found = json.loads(self.run_tool(
            "ffprobe", "-v", "error", "-of", "json", "-show_streams",
            "-show_format", self.url))
        self.assertEqual(found["streams"][0]["codec_name"], "h264")
        self.assertAlmostEqual(float(found["format"]["duration"]), SECONDS,
                               delta=0.5)
        self.assertEqual(int(found["format"]["size"]), self.size)

    def test_ffmpeg_takes_a_frame_from_the_end(self):
        self.run_tool("ffmpeg", "-v", "error", "-ss", SECONDS - 2, "-i", self.url,
                      "-frames:v", 1, self.folder / "frame.png")
        self.assertGreater((self.folder / "frame.png").stat().st_size, 1000)

    def test_curl_and_wget_go_on_with_half_a_file(self):
        whole = sha256(self.video.read_bytes())
        for name, tool in (("curl", ("curl", "-sS", "--noproxy", "*", "-C", "-",
                                     "-o")),
                           ("wget", ("wget", "-q", "--no-proxy", "-c", "-O"))):
            with self.subTest(tool=name):
                path = self.folder / name
                path.write_bytes(self.video.read_bytes()[:self.size // 2])
                self.run_tool(*tool, path, self.url)
                self.assertEqual(sha256(path.read_bytes()), whole)

    def test_wget_downloads_while_the_instances_are_killed(self):
        """wget asks for the rest when a connection breaks, as players do."""
        path, log = self.folder / "slow", self.folder / "wget.log"
        wget = subprocess.Popen(
            ["wget", "-o", str(log), "--progress=dot:giga", "--no-proxy",
             "--limit-rate=10m", "--tries=20", "--waitretry=1",
             "--retry-on-http-error=502,503", "-O", str(path), self.url],
            env={**os.environ, "LC_ALL": "C"})
        try:
            wait_until(lambda: path.exists() and path.stat().st_size > 0,
                       "bytes come")
            wget.send_signal(signal.SIGSTOP)    # it cannot be done before
            for broadcaster in self.topology.broadcasters:
                broadcaster.kill()
                broadcaster.restart().wait_ready()
                self.assertEqual(get(self.topology.front.port,
                                     "/readyz").status, 200)
            wget.send_signal(signal.SIGCONT)
            self.assertEqual(wget.wait(120), 0)
        finally:
            wget.kill()
            wget.wait()
        self.assertRegex(log.read_text(), r"(closed|error) at byte [1-9]")
        self.assertIn("206 Partial Content", log.read_text())
        self.assertEqual(sha256(path.read_bytes()),
                         sha256(self.video.read_bytes()))
