"""Small uploads: rate and latency, against nginx and a reader alone"""
from rig import GIB, Nginx, median, send, thousands

SIZE = 4096
CONNECTIONS = 16
LIMIT = 0.25        # of nginx's rate

PROXY = """\
    client_max_body_size 0;
    upstream reader {
        server READER;
        keepalive 64;
        keepalive_requests 100000000;
    }
    server {
        listen 127.0.0.1:PORT reuseport;
        location / {
            proxy_pass http://reader;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
        }
    }
"""


def show(report, runs):
    rows = []
    for who, results in runs.items():
        rates = [r["uploads_a_second"] for r in results]
        rows.append([who, thousands(median(rates)), thousands(min(rates)),
                     thousands(max(rates)),
                     *[thousands(median(r[key] for r in results))
                       for key in ("p50_us", "p99_us")]])
    report.table(["", "uploads/s", "min", "max", "p50 µs", "p99 µs"], rows)


def run(report, rig, options):
    count = 5000 if (options.size or GIB) >= GIB else 500
    report.title(f"small: {count:,} uploads of {SIZE:,} bytes over "
                 f"{CONNECTIONS} kept connections, {options.runs} runs each")
    a, b = rig.readers(2, READER_MAX_STAGED=10000000)
    broadcaster = rig.broadcaster([a, b])
    nginx = Nginx(rig, PROXY.replace("READER", a.address))
    ways = {"broadcaster, 2 readers": (broadcaster.address, "/broadcast/x"),
            "nginx, 1 reader": (nginx.address, "/objects/{uuid}"),
            "1 reader, direct": (a.address, "/objects/{uuid}")}
    runs = {who: [] for who in ways}
    try:
        for address, path in ways.values():
            send(address, SIZE, CONNECTIONS * 4, CONNECTIONS, path)
        for _ in range(options.runs):
            for who, (address, path) in ways.items():
                runs[who].append(send(address, SIZE, count, CONNECTIONS, path))
    finally:
        nginx.stop()
    show(report, runs)
    ratio = median(x["uploads_a_second"] / y["uploads_a_second"]
                   for x, y in zip(runs["broadcaster, 2 readers"],
                                   runs["nginx, 1 reader"]))
    report.target("rate of the broadcaster / of nginx, median of the pairs",
                  ratio, LIMIT, f"{ratio:.2f}", at_most=False)
