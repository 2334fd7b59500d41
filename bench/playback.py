"""Playback through the broadcaster: its reader directly, nginx, 100 players"""
from rig import GB, GIB, KIB, MIB, CpuMeter, Nginx, download, growth_by_players
from rig import median, send

RING = 256 * KIB        # BROADCASTER_BUFFER_SIZE
PLAYERS = 100
# broadcaster/README.md, with one thread and one reader.
ALLOWED = 352 * KIB + PLAYERS * (RING + 16 * KIB + KIB)


class Way:
    """One way to get the object, and who works for it."""

    def __init__(self, url, *pids):
        self.url = url
        self.pids = pids
        self.rates, self.users, self.totals = [], [], []

    def play(self, size):
        meters = [CpuMeter(pid) for pid in self.pids]
        for meter in meters:
            meter.__enter__()
        self.rates.append(download(self.url))
        for meter in meters:
            meter.__exit__()
        self.users.append(sum(m.user for m in meters) / size * GB)
        self.totals.append(sum(m.total for m in meters) / size * GB)

    def row(self, name):
        return [name, *[f"{f(self.rates):.0f}" for f in (median, min, max)],
                f"{median(self.users):.3f}", f"{median(self.totals):.3f}"]


def ratio(ways, a, b):
    return median(x / y for x, y in zip(ways[a].rates, ways[b].rates))


def compare(report, ways, size, n_runs):
    for way in ways.values():       # once for the caches
        download(way.url)
    for _ in range(n_runs):
        for way in ways.values():
            way.play(size)
    report.title(f"playback: {size / GIB:g} GiB from memory, {n_runs} runs each")
    report.table(["", "MB/s", "min", "max", "user s/GB", "total s/GB"],
                 [way.row(name) for name, way in ways.items()])
    for other in ("reader, direct", "nginx, sendfile"):
        report.line(f"rate, broadcaster and reader / {other}, median of the "
                    f"pairs: {ratio(ways, 'broadcaster and reader', other):.2f}")


def players(report, front, reader, url):
    front_grew, reader_grew = growth_by_players([front, reader], url, PLAYERS)
    report.line(f"{PLAYERS} players of 1 MB/s: broadcaster "
                f"{front_grew / MIB:.1f} MiB more, its reader "
                f"{reader_grew / MIB:.1f} MiB more")
    report.target(f"memory of the broadcaster for {PLAYERS} players, MiB",
                  front_grew / MIB, round(ALLOWED / MIB, 1),
                  f"{front_grew / MIB:.1f}")


def run(report, rig, options):
    size = options.size or 4 * GIB
    reader = rig.file_reader()
    front = rig.broadcaster([reader], BROADCASTER_BUFFER_SIZE=RING)
    send(front.address, size)
    [object_id] = reader.objects()
    [data] = reader.settings["READER_FILE_DIR"].glob(f"objects/*/{object_id}/data")
    nginx = Nginx(rig, "server { listen 127.0.0.1:PORT; "
                       f"root {data.parent}; }}")
    played = f"http://{front.address}/media/{object_id}"
    try:
        compare(report, {
            "broadcaster and reader": Way(played, front.pid, reader.pid),
            "reader, direct": Way(f"http://{reader.address}/objects/{object_id}",
                                  reader.pid),
            "nginx, sendfile": Way(f"http://{nginx.address}/data",
                                   nginx.worker()),
        }, size, options.runs)
        players(report, front, reader, played)
    finally:
        nginx.stop()
