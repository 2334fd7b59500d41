"""s3_rgw.py - a private Ceph: one monitor, one OSD, and radosgw processes

    rgw = Rgw()
    rgw.start()                  monitor, OSD, and the first gateway
    rgw.gateway(rgw_max_concurrent_requests=1)     one more, with options
    rgw.suspend("name"), rgw.osd.pause(), gateway.kill(), gateway.start()

Gateways share users and buckets: what is stored by one is seen by all. Data is
kept in memory (memstore), or with store="bluestore" in a file of the folder.
"""
import json
import pathlib
import subprocess
import uuid

from s3_client import S3
from s3_daemons import Failed, Service, free_ports, wait_for

CONFIG = """\
[global]
fsid = {fsid}
mon_host = [v1:127.0.0.1:{mon_port}]
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
run_dir = {folder}/run
log_file = {folder}/log/$name.log
mon_cluster_log_file = {folder}/log/cluster.log
admin_socket = {folder}/run/$name.asok
keyring = {folder}/keyring
mon_data = {folder}/mon
osd_data = {folder}/osd
osd_objectstore = {store}
osd_class_dir = {classes}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
osd_class_update_on_start = false
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
mon_data_avail_crit = 1
mon_data_avail_warn = 1
paxos_propose_interval = 0.05
paxos_min_wait = 0.02
memstore_device_bytes = {capacity}
bluestore_block_size = {capacity}
bluestore_block_create = true
osd_memory_target = 1073741824
rgw_run_sync_thread = false
# A gateway that was killed would hold up every change of a user for 30 s, for
# as long as it is believed to have that user in its cache.
rgw_cache_enabled = false
rgw_dns_name = s3.localhost
rgw_thread_pool_size = 64
# What was deleted or aborted gives its room back soon: it may be memory.
rgw_gc_obj_min_wait = 2
rgw_gc_processor_period = 3
rgw_gc_processor_max_time = 3
"""


class Gateway:
    """One radosgw process, on a port for HTTP and one for HTTPS."""

    def __init__(self, rgw, name, options):
        self.rgw = rgw
        self.key, self.secret = rgw.key, rgw.secret
        self.port, self.tls_port = free_ports(2)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.tls_endpoint = f"https://127.0.0.1:{self.tls_port}"
        data = rgw.make_folder(name)
        options = {"rgw_data": data, "rgw_frontends":
                   f"beast endpoint=127.0.0.1:{self.port} "
                   f"ssl_endpoint=127.0.0.1:{self.tls_port} "
                   f"ssl_certificate={rgw.folder}/server.pem", **options}
        self.daemon = rgw.daemon(
            name, "radosgw", "-f", "-c", rgw.config, "-n", f"client.rgw.{name}",
            *[f"--{option}={value}" for option, value in options.items()])

    @property
    def named_endpoint(self):
        """For virtual-host style: buckets are names below it."""
        return f"http://s3.localhost:{self.port}"

    @property
    def named_tls_endpoint(self):
        return f"https://s3.localhost:{self.tls_port}"

    def start(self):
        self.daemon.start().wait_port(self.port)
        return self

    def kill(self):
        self.daemon.kill()

    def client(self, key=None, secret=None):
        return S3(self.endpoint, key or self.key, secret or self.secret)


class Rgw(Service):
    """The cluster. `gate` is the first gateway."""

    kind = "rgw"
    programs = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph",
                "openssl")
    packages = "radosgw ceph-mon ceph-osd"
    key = "AKIDEXAMPLE"
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12"

    def __init__(self, folder=None, detached=False, store="memstore",
                 capacity=8 << 30):
        super().__init__(folder, detached)
        self.config = self.folder / "ceph.conf"
        self.store = store
        self.capacity = capacity
        self.mon_port = free_ports(1)[0]
        self.mon = self.daemon("mon", "ceph-mon", "-f", "-c", self.config,
                               "-i", "a")
        self.osd = self.daemon("osd", "ceph-osd", "-f", "-c", self.config,
                               "-i", "0")
        self.gate = None

    # ---- coming up ----------------------------------------------------------------

    def start(self):
        self.write_config()
        self.make_certificates()
        self.start_monitor()
        self.start_osd()
        self.gate = self.gateway()
        self.make_user("test", self.key, self.secret)
        return self

    def write_config(self):
        classes = list(pathlib.Path("/usr/lib").glob("*/rados-classes"))
        if not classes:
            raise Failed("no rados-classes below /usr/lib")
        self.fsid = uuid.uuid4()
        self.config.write_text(CONFIG.format(
            fsid=self.fsid, mon_port=self.mon_port, folder=self.folder,
            store=self.store, classes=classes[0], capacity=self.capacity))

    def make_certificates(self):
        """A CA for clients to trust, and the gateways' certificate."""
        self.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                 "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
        self.run("openssl", "req", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                 "/CN=localhost", "-keyout", "server.key", "-out", "server.csr",
                 "-addext",
                 "subjectAltName=DNS:localhost,DNS:s3.localhost,"
                 "DNS:*.s3.localhost,IP:127.0.0.1")
        self.run("openssl", "x509", "-req", "-in", "server.csr", "-days", "30",
                 "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-copy_extensions", "copy", "-out", "server.crt")
        pair = [self.folder / "server.key", self.folder / "server.crt"]
        (self.folder / "server.pem").write_text(
            "".join(path.read_text() for path in pair))

    def start_monitor(self):
        for name in ("mon", "osd"):
            self.make_folder(name)
        keyring = self.folder / "keyring"
        self.run("ceph-authtool", "--create-keyring", keyring, "--gen-key",
                 "-n", "mon.", "--cap", "mon", "allow *")
        self.run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin",
                 "--cap", "mon", "allow *", "--cap", "osd", "allow *")
        self.run("monmaptool", "--create", "--clobber", "--fsid", self.fsid,
                 "--addv", "a", f"[v1:127.0.0.1:{self.mon_port}]", "monmap")
        self.run("ceph-mon", "-c", self.config, "--mkfs", "-i", "a",
                 "--monmap", "monmap", "--keyring", keyring)
        self.mon.start().wait_port(self.mon_port)

    def start_osd(self):
        name = uuid.uuid4()
        self.ceph("osd", "new", name)
        self.run("ceph-osd", "-c", self.config, "-i", "0", "--mkfs",
                 "--osd-uuid", name)
        self.ceph("osd", "crush", "add", "osd.0", "1.0", "root=default",
                  "host=here")
        self.osd.start()
        wait_for(lambda: "1 up" in self.ceph("osd", "stat"),
                 "the OSD is up")

    def gateway(self, **options):
        """One more radosgw, with these settings; running."""
        number = len(self.daemons) - 1
        return Gateway(self, f"gate{number}", options).start()

    # ---- administration -------------------------------------------------------------

    def ceph(self, *words):
        return self.run("ceph", "-c", self.config, "--connect-timeout", "30",
                        *words)

    def admin(self, *words):
        """radosgw-admin; what it printed, as JSON where it is that."""
        text = self.run("radosgw-admin", "-c", self.config, *words)
        try:
            return json.loads(text)
        except ValueError:
            return text

    def make_user(self, name, key, secret):
        self.admin("user", "create", f"--uid={name}", f"--display-name={name}",
                   f"--access-key={key}", f"--secret-key={secret}")

    def suspend(self, name):
        self.admin("user", "suspend", f"--uid={name}")

    def enable(self, name):
        self.admin("user", "enable", f"--uid={name}")

    def limit(self, name, max_bytes):
        """What all of the user's buckets together may hold; None: no limit."""
        scope = ["--quota-scope=user", f"--uid={name}"]
        if max_bytes is None:
            self.admin("quota", "disable", *scope)
            return
        self.admin("quota", "set", f"--max-size={max_bytes}", *scope)
        self.admin("quota", "enable", *scope)

    # ---- for others -------------------------------------------------------------------

    @property
    def endpoint(self):
        return self.gate.endpoint

    @property
    def tls_endpoint(self):
        return self.gate.tls_endpoint

    @property
    def ca(self):
        """The file that makes tls_endpoint trusted."""
        return self.folder / "ca.pem"

    def client(self):
        return self.gate.client()


def admin_of(folder, words):
    """radosgw-admin for a cluster that somebody else started; its status."""
    config = pathlib.Path(folder).resolve() / "ceph.conf"
    return subprocess.run(["radosgw-admin", "-c", config, *words],
                          check=False).returncode
