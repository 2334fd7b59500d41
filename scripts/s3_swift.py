"""s3_swift.py - a private Swift whose s3api answers like S3

    swift = Swift()
    swift.start()

Stricter than RGW in places: it refuses a wrong region and parts in a wrong
order. Slower to come up, and most of its time goes into Python.
"""
from s3_client import S3
from s3_daemons import Service, free_ports

RINGS = ("account", "container", "object")

COMMON = """\
[swift-hash]
swift_hash_path_suffix = suffix
swift_hash_path_prefix = prefix
[storage-policy:0]
name = one
default = yes
"""

BACKEND = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = nobody
swift_dir = {folder}/etc
devices = {folder}/node
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
workers = 0
log_level = WARNING
recon_cache_path = {folder}/cache
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = nobody
swift_dir = {folder}/etc
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = {pipeline} proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
"""

# The proxy's filters, in their order, with what each is told.
FILTERS = {
    "catch_errors": "", "gatekeeper": "", "healthcheck": "",
    "cache": "use = egg:swift#memcache\n"
             "memcache_servers = 127.0.0.1:{memcached}\n",
    "listing_formats": "", "bulk": "",
    "s3api": "location = us-east-1\ns3_acl = false\n",
    "tempauth": "user_test_tester = testing .admin\n",
    "copy": "", "slo": "", "dlo": "",
    "versioned_writes": "allow_object_versioning = true\n", "symlink": "",
}


class Swift(Service):
    """Memcached, three back ends and the proxy in front of them."""

    kind = "swift"
    programs = ("swift-proxy-server", "swift-account-server",
                "swift-container-server", "swift-object-server",
                "swift-ring-builder", "memcached")
    packages = ("swift-proxy swift-account swift-container swift-object "
                "memcached")
    key = "test:tester"
    secret = "testing"

    def __init__(self, folder=None, detached=False):
        super().__init__(folder, detached)
        names = ("proxy", *RINGS, "memcached")
        self.ports = dict(zip(names, free_ports(len(names))))
        self.endpoint = f"http://127.0.0.1:{self.ports['proxy']}"

    def start(self):
        for name in ("etc", "node/sdb1", "cache"):
            self.make_folder(name)
        self.write("swift.conf", COMMON)
        for name in RINGS:
            self.make_ring(name)
            self.write(f"{name}.conf", BACKEND.format(
                name=name, port=self.ports[name], folder=self.folder))
        self.write("proxy.conf", self.proxy_config())
        self.start_daemons()
        return self

    def write(self, name, text):
        (self.folder / "etc" / name).write_text(text)

    def make_ring(self, name):
        """One partitioned disk: ours."""
        builder = self.folder / "etc" / f"{name}.builder"
        self.run("swift-ring-builder", builder, "create", 4, 1, 0)
        self.run("swift-ring-builder", builder, "add",
                 f"r1z1-127.0.0.1:{self.ports[name]}/sdb1", 1)
        # It ends with 1, a warning, since there is only one disk to balance.
        self.run("swift-ring-builder", builder, "rebalance", check=False)

    def proxy_config(self):
        text = PROXY.format(port=self.ports["proxy"], folder=self.folder,
                            pipeline=" ".join(FILTERS))
        for name, options in FILTERS.items():
            if "use = " not in options:
                options = f"use = egg:swift#{name}\n{options}"
            text += f"[filter:{name}]\n" + options.format(
                memcached=self.ports["memcached"])
        return text

    def start_daemons(self):
        self.daemon("memcached", "memcached", "-l", "127.0.0.1", "-m", 64,
                    "-p", self.ports["memcached"])
        for name in (*RINGS, "proxy"):
            self.daemon(name, f"swift-{name}-server",
                        self.folder / "etc" / f"{name}.conf")
        for daemon in self.daemons:
            daemon.start()
        for daemon in self.daemons:
            daemon.wait_port(self.ports[daemon.name])

    def client(self):
        return S3(self.endpoint, self.key, self.secret)
