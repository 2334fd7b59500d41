"""The postgres store against bare COPY, nginx, single-row SELECTs and psql."""
import hashlib
import os
import pathlib
import random
import re
import subprocess
import sys
import time
import uuid

import rig as r
from rig import GB, GIB, MIB, ROOT, TOOLS, CpuMeter, median

sys.path.insert(0, str(ROOT / "tests" / "scenario"))

import postgres                 # noqa: E402 (the path is set above)
from client import get, wait_until      # noqa: E402

CHUNK = 8112
SHAPES = (("8112", "plain"), ("8000", "plain"), ("65536", "external"),
          ("262144", "external"), ("1048576", "external"))
N_TITLES = 1_000_000
WORDS = ("love night summer river dance golden shadow light dream city heart "
         "winter road fire ocean blue silver rain star moon garden stone wild "
         "paper glass echo velvet thunder honey crystal morning midnight broken "
         "secret distant hollow electric crimson empty burning").split()


class Server:
    """A cluster that syncs, a database, and readers of it."""

    def __init__(self, rig):
        self.rig = rig
        self.cluster = postgres.Cluster(
            fsync="on", full_page_writes="on", shared_buffers="512MB",
            max_wal_size="8GB", checkpoint_timeout="30min").start()
        self.database = self.cluster.create_database()
        self.reader = rig.reader(READER_STORE="postgres",
                                 **self.database.env())

    def libpq(self):
        env = self.database.env()
        return {**os.environ, "PGHOST": env["DB_HOST"],
                "PGPORT": env["DB_PORT"], "PGDATABASE": env["DB_NAME"],
                "PGUSER": env["DB_USER"], "PGPASSWORD": env["DB_PASSWORD"]}

    def settle(self):
        """What was written before is not the next one's burden."""
        self.cluster.query("CHECKPOINT")
        os.sync()

    def delete(self, object_id):
        """Until its bytes are gone, and their room: what is next begins afresh."""
        subprocess.run(["curl", "-sS", "-X", "DELETE", self.url(object_id)],
                       check=True)
        wait_until(lambda: self.database.value(
            "SELECT count(*) FROM stream_broadcast.object WHERE state = 4")
            == "0", "its bytes are removed", timeout=600)
        self.database.query("TRUNCATE stream_broadcast.chunk")

    def url(self, object_id):
        return f"http://127.0.0.1:{self.reader.port}/objects/{object_id}"


def new_id():
    return str(uuid.uuid4())


# ---- 1: the rate of a store ---------------------------------------------------


def bare_copy(server, size, shape):
    """(MB/s, bytes on disk a byte) of one COPY of `size` bytes from memory."""
    row, storage = shape
    server.settle()
    done = subprocess.run(
        [str(TOOLS / "pg_copy"), str(size // 10**6), row, storage, "pk",
         "131072"], env=server.libpq(), check=True, text=True,
        stdout=subprocess.PIPE)
    words = done.stdout.split()
    return float(words[0]), float(words[3])


def stage(server, size):
    """(MB/s, user seconds, total seconds) of an upload into the store."""
    object_id = new_id()
    server.settle()
    with CpuMeter(server.reader.pid) as cpu:
        began = time.monotonic()
        r.send(server.reader.address, size, path=f"/objects/{object_id}")
        took = time.monotonic() - began
    server.delete(object_id)
    return size / 1e6 / took, cpu.user, cpu.total


def hash_seconds(size):
    """CPU seconds of the digest alone."""
    data = bytes(MIB)
    digest = hashlib.sha256()
    began = time.process_time()
    for _ in range(size // MIB):
        digest.update(data)
    return time.process_time() - began


def store_rate(report, server, options):
    size = options.size or 2 * GB
    size -= size % 10**6
    bare = {shape: [] for shape in SHAPES}
    ours, user, total = [], [], []
    for _ in range(options.runs):
        for shape in SHAPES:
            bare[shape].append(bare_copy(server, size, shape))
        rate, u, t = stage(server, size)
        ours.append(rate)
        user.append(u)
        total.append(t)
    report.title(f"postgres: {size / GB:.1f} GB staged, {options.runs} runs each")
    spaces = {shape: f"{median(s for _, s in runs):.3f}"
              for shape, runs in bare.items()}
    bare = {shape: [rate for rate, _ in runs] for shape, runs in bare.items()}
    rows = [[f"COPY, rows of {row} bytes, {storage}",
             *(f"{f(rates):.0f}" for f in (median, min, max)),
             spaces[row, storage]]
            for (row, storage), rates in bare.items()]
    rows.append(["reader", *(f"{f(ours):.0f}" for f in (median, min, max)), ""])
    report.table(["", "MB/s", "min", "max", "disk/byte"], rows)
    digest = hash_seconds(size) / size * GB
    report.line(f"reader: user {median(user) / size * GB:.2f} s/GB, of which "
                f"about {digest:.2f} for SHA-256; total "
                f"{median(total) / size * GB:.2f} s/GB")
    best = max(median(rates) for rates in bare.values())
    report.target("rate, reader / fastest bare COPY", median(ours) / best,
                  0.95, f"{median(ours) / best:.2f}", at_most=False)


def memory(report, server):
    """The highest RSS after a small object, and after a large one."""
    highest = []
    for size in (10**7, 4 * GIB):
        reader = server.rig.reader(READER_STORE="postgres",
                                   **server.database.env())
        object_id = new_id()
        r.send(reader.address, size, path=f"/objects/{object_id}")
        highest.append(reader.rss("VmHWM"))
        server.delete(object_id)
        server.rig.stop(reader)
    report.line(f"reader: highest RSS {highest[0] / MIB:.1f} MiB after 10 MB, "
                f"{highest[1] / MIB:.1f} MiB after 4 GiB")
    report.target("RSS, 4 GiB - 10 MB, MiB", (highest[1] - highest[0]) / MIB,
                  1, f"{(highest[1] - highest[0]) / MIB:.2f}")


# ---- 2: playback ----------------------------------------------------------------


def commit(server, object_id):
    head = subprocess.run(["curl", "-sSI", server.url(object_id)], check=True,
                          text=True, stdout=subprocess.PIPE).stdout
    field = re.search(r"(?im)^repr-digest: (.*?)\r?$", head).group(1)
    subprocess.run(["curl", "-sS", "-o", "/dev/null", "-X", "POST", "-H",
                    f"Repr-Digest: {field}", server.url(object_id) + "/commit"],
                   check=True)


def drop_caches():
    """False where only root may."""
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1\n")
        return True
    except OSError:
        return False


def bare_read(server, key, size, **env):
    """MB/s of the slices of an object over three connections, nothing else."""
    done = subprocess.run([str(TOOLS / "pg_read"), "3", "64", key, str(size)],
                          env={**server.libpq(), **env}, check=True, text=True,
                          stdout=subprocess.PIPE)
    return float(done.stdout)


def fill_object(server, path, size):
    """The id of an object in the store, and in a file, of random bytes."""
    with open(path, "wb") as out:
        for _ in range(size // MIB):
            out.write(os.urandom(MIB))
    object_id = new_id()
    subprocess.run(["curl", "-sS", "-o", "/dev/null", "-T", path,
                    server.url(object_id)], check=True)
    commit(server, object_id)
    return object_id


def playback_rates(server, options, size, object_id, path, key):
    """{(who, from disk?): MB/s of each run}; lots decide on each round's order."""
    socket = {"PGHOST": str(server.cluster.folder)}
    local = server.rig.reader(READER_STORE="postgres",
                              **server.database.local_env())
    nginx = r.Nginx(server.rig, "server { listen 127.0.0.1:PORT; "
                    f"root {path.parent}; }}")
    ways = {
        "nginx": lambda: r.download(f"http://{nginx.address}/{path.name}"),
        "bare SELECTs": lambda: bare_read(server, key, size),
        "reader": lambda: r.download(server.url(object_id)),
        "bare SELECTs, Unix socket":
            lambda: bare_read(server, key, size, **socket),
        "reader, Unix socket": lambda: r.download(
            f"http://127.0.0.1:{local.port}/objects/{object_id}"),
    }
    rates = {(who, cold): [] for cold in (True, False) for who in ways}
    try:
        for cold in (True, False):
            for _ in range(options.runs):
                for who, run_once in random.sample([*ways.items()], len(ways)):
                    if cold and not drop_caches():
                        continue
                    rates[who, cold].append(run_once())
    finally:
        nginx.stop()
        server.rig.stop(local)
    return {key: measured for key, measured in rates.items() if measured}


def compare_playback(report, rates):
    """Of what is measured in the same turn, and then the median. The target of
    design 0011 is for the socket, which the deployments here use."""
    def ratio(who, other, cold):
        return median(a / b for a, b in
                      zip(rates[who, cold], rates[other, cold]))

    if ("nginx", True) not in rates:
        report.fact("from disk: only root may empty the page cache", False)
    for cold in sorted({cold for _, cold in rates}, reverse=True):
        where = "from disk" if cold else "from memory"
        for tail in ("", ", Unix socket"):
            reader = "reader" + tail
            to_bare = ratio(reader, "bare SELECTs" + tail, cold)
            to_nginx = ratio(reader, "nginx", cold)
            report.target(f"rate, {reader} / bare SELECTs{tail}, {where}",
                          to_bare, 0.7, f"{to_bare:.2f}", at_most=False)
            if cold and tail:
                report.target(f"rate, {reader} / nginx, {where}", to_nginx,
                              0.5, f"{to_nginx:.2f}", at_most=False)
            else:
                report.line(f"rate, {reader} / nginx, {where} (no target): "
                            f"{to_nginx:.2f}")


def playback(report, server, options):
    size = options.size or 4 * GIB
    path = server.rig.scratch("files") / "object"
    object_id = fill_object(server, path, size)
    key = server.database.value("SELECT key FROM stream_broadcast.object "
                                f"WHERE id = '{object_id}'")
    drop_caches()
    first = r.download(server.url(object_id))
    server.settle()
    rates = playback_rates(server, options, size, object_id, path, key)
    report.title(f"playback: {size / GIB:.1f} GiB, {options.runs} runs each")
    report.line("first playback of all, in which the server also notes in each "
                f"row that it is committed: {first:.0f} MB/s")
    report.table(["", "MB/s", "min", "max"],
                 [[f"{who}, {'from disk' if cold else 'from memory'}",
                   *(f"{f(v):.0f}" for f in (median, min, max))]
                  for (who, cold), v in rates.items()])
    compare_playback(report, rates)
    first_byte(report, server, object_id, key, size)
    players(report, server, object_id)
    server.delete(object_id)


def first_byte(report, server, object_id, key, size, n=1000):
    def run(*args):
        done = subprocess.run([str(TOOLS / "first_byte"), *map(str, args)],
                              env=server.libpq(), check=True, text=True,
                              stdout=subprocess.PIPE)
        return [float(word) for word in done.stdout.split()]
    http, sql = [], []
    for _ in range(5):
        http.append(run("http", server.reader.port, object_id, size, n))
        sql.append(run("sql", key, size // CHUNK, n))
    a, b = (median(pair[0] for pair in runs) for runs in (http, sql))
    report.line(f"first byte at a random place: {a:.0f} us; SELECT of one row: "
                f"{b:.0f} us (medians of {n}, five runs)")
    report.target("first byte / single-row SELECT", a / b, 3, f"{a / b:.2f}")


def players(report, server, object_id, n=100):
    [grown] = r.growth_by_players([server.reader], server.url(object_id), n)
    each = grown / n
    report.line(f"{n} players: {each / 1024:.0f} KiB of memory each")
    report.target("memory of a player, KiB", each / 1024, 1280,
                  f"{each / 1024:.0f}")


# ---- 3: search ---------------------------------------------------------------------

# What the reader asks for a page by relevance, with the values in it.
SEARCH = """SELECT key, id::text, name, content_type, size, sha256,
 (extract(epoch FROM created_at) * 1000)::bigint, title, creator, metadata::text,
 score, (-o.score)::text FROM (
 WITH fit AS NOT MATERIALIZED (SELECT * FROM object WHERE state = 3),
 exact AS MATERIALIZED (SELECT *, 1::real AS score FROM fit
 WHERE search LIKE '%{q}%' ORDER BY id LIMIT 101),
 alike AS (SELECT *, least(word_similarity('{q}', search), 0.99::real) AS score
 FROM fit WHERE '{q}' ~ '[[:alnum:]]{{3}}' AND show_trgm('{q}') <> '{{}}'
 AND search %> '{q}' AND NOT search LIKE '%{q}%'
 AND (SELECT count(*) FROM exact) < 101 LIMIT 20000)
 SELECT * FROM exact UNION ALL SELECT * FROM alike) AS o
 ORDER BY -o.score, o.id LIMIT 101"""
SESSION = ("SET search_path = stream_broadcast, public; "
           "SET max_parallel_workers_per_gather = 0; "
           "SET pg_trgm.word_similarity_threshold = 0.45; ")


def fill_titles(server):
    """Titles first, the index afterwards: it is built in seconds then."""
    words = "ARRAY['" + "','".join(WORDS) + "']"
    n = len(WORDS)
    pick = f"({words})[1 + floor(random() * {n})::int]"
    index = server.database.value(
        "SELECT pg_get_indexdef('stream_broadcast.object_search'::regclass)")
    server.database.query("DROP INDEX stream_broadcast.object_search")
    step = N_TITLES // 20       # a statement has its time, too
    for first in range(1, N_TITLES, step):
        server.database.query(
            "INSERT INTO stream_broadcast.object (id, state, owner, name, "
            "content_type, size, sha256, title, creator) SELECT "
            "gen_random_uuid(), 3, 0, 'track ' || i || '.mp3', 'audio/mpeg', "
            f"i, '', {pick} || ' ' || {pick} || ' ' || {pick} || ' ' || "
            f"substr(md5(i::text), 1, 6), {pick} || ' ' || "
            "substr(md5((i % 5000)::text), 1, 8) "
            f"FROM generate_series({first}, {first + step - 1}) AS i")
    server.database.query(f"SET maintenance_work_mem = '1GB'; {index}")
    server.database.query("ANALYZE stream_broadcast.object")


def queries():
    """Whole words, parts, words with a mistake, numbers: two hundred."""
    hexes = [hashlib.md5(str(i).encode()).hexdigest() for i in range(1, 9000, 90)]
    found = [h[:6] for h in hexes[:60]] + [h[1:5] for h in hexes[:40]]
    found += [f"{a} {hexes[i][:5]}" for i, a in enumerate(WORDS)]
    found += [w[:3] + w[4:] + " " + hexes[i][:6] for i, w in
              enumerate(WORDS) if len(w) > 5]
    found += [f"track {i}.mp3" for i in range(1000, 5000, 100)]
    return found[:200]


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def by_hand(server, asked):
    """Milliseconds of each, as psql says."""
    script = f"{SESSION}\n\\timing on\n\\o /dev/null\n" + "".join(
            SEARCH.format(q=q).replace("\n", " ") + ";\n" for q in asked)
    done = subprocess.run([str(postgres.bindir() / "psql"), "-Xq", "-v",
                           "ON_ERROR_STOP=1"],
                          input=script, env=server.libpq(), check=True,
                          text=True, stdout=subprocess.PIPE)
    times = [float(t) for t in re.findall(r"Time: ([\d.]+) ms", done.stdout)]
    return times[-len(asked):]


def over_http(server, asked):
    times = []
    for q in asked:
        began = time.monotonic()
        answer = get(server.reader.port, "/objects?limit=100&sort=relevance&q="
                     + q.replace(" ", "%20"))
        times.append((time.monotonic() - began) * 1000)
        if answer.status != 200:
            raise SystemExit(f"bench: search for {q}: {answer}")
    return times


def search(report, server, options):
    fill_titles(server)
    plan = server.database.query(f"{SESSION}EXPLAIN " +
                                 SEARCH.format(q="midnight 1a2b"))
    asked = queries()
    hand, http = [], []
    for _ in range(min(options.runs, 3)):
        hand += by_hand(server, asked)
        http += over_http(server, asked)
    report.title(f"search: {N_TITLES:,} titles, {len(asked)} queries")
    report.table(["", "median ms", "p99 ms"],
                 [[who, f"{median(v):.1f}", f"{percentile(v, .99):.1f}"]
                  for who, v in (("psql", hand), ("reader", http))])
    report.fact("the plan uses the trigram index",
                any("object_search" in line for [line] in plan))
    ratio = percentile(http, .99) / percentile(hand, .99)
    report.target("p99, reader / psql", ratio, 2, f"{ratio:.2f}")


def run(report, rig, options):
    server = Server(rig)
    parts = os.environ.get("PG_STORE_PARTS", "store,playback,search").split(",")
    try:
        if "store" in parts:
            store_rate(report, server, options)
            memory(report, server)
        if "playback" in parts:
            playback(report, server, options)
        if "search" in parts:
            search(report, server, options)
    finally:
        rig.stop(server.reader)
        server.cluster.remove()
