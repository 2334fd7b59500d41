"""Every size by every way that curl has, up to 100 MB and 3 bytes."""
from client import Curl
from harness import Scenario, payload, sha256

SIZES = [0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65536, 65537,
         (1 << 20) - 1, 1 << 20, (1 << 20) + 1]
LARGE = 100_000_003


class EveryWay(Scenario):

    def ways(self, front, path):
        """Name -> curl, of one file; the body is read by curl itself."""
        url = f"http://127.0.0.1:{front.port}/broadcast"
        return {
            "-T": lambda: Curl("-T", path, url + "/"),
            "-T -": lambda: Curl("-T", "-", url + "/x",
                                 stdin=path.read_bytes()),
            "--data-binary": lambda: Curl("--data-binary", f"@{path}", url),
            "-F": lambda: Curl("-F", f"file=@{path}", url),
        }

    def check(self, curl, size, digest, readers):
        self.assertEqual(curl.status, 201, curl)
        self.assertEqual(curl.data["size"], size)
        self.assertEqual(curl.data["sha256"], digest)
        for reader in readers:
            entry = curl.response.target(reader.name)
            self.assertEqual((entry["state"], entry["bytes"], entry["sha256"]),
                             ("committed", size, digest))
            if reader.settings["READER_STORE"] == "file":
                found = reader.store.glob(f"objects/*/{curl.data['id']}/data")
                self.assertEqual(sha256(next(found).read_bytes()), digest)

    def go(self, front, readers, sizes):
        path = self.folder / "file.bin"
        for size in sizes:
            data = payload(size, seed=size + 1)
            path.write_bytes(data)
            for way, upload in self.ways(front, path).items():
                with self.subTest(way=way, size=size):
                    self.check(upload(), size, sha256(data), readers)

    def test_all_sizes_through_the_smallest_ring(self):
        two = self.readers(2)
        self.go(self.broadcaster(two, BROADCASTER_BUFFER_SIZE=1024), two, SIZES)

    def test_all_sizes_through_the_usual_ring(self):
        one = self.readers(1)
        self.go(self.broadcaster(one), one, SIZES)

    def test_100_million_and_3_bytes_to_a_file_and_a_discard_store(self):
        two = [self.reader(), self.reader(READER_STORE="discard")]
        self.go(self.broadcaster(two), two, [LARGE])

    def test_odd_sizes_to_eight_readers_through_an_odd_ring(self):
        eight = [self.reader()] + self.readers(7, READER_STORE="discard")
        front = self.broadcaster(eight, BROADCASTER_BUFFER_SIZE=100_003)
        self.go(front, eight, [99_999, 100_003, 3_000_001])
