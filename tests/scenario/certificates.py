"""certificates.py - an authority of our own, in a folder

    authority = certificates.Authority(folder)
    server = authority.issue("server")          folder/server.pem, server.key
    authority.certificate                       what clients trust
"""
import subprocess

LOCAL = "DNS:localhost,IP:127.0.0.1"


class Authority:
    """Keys are RSA of 2048 bits; certificates last two days."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.pem"
        self.openssl("req", "-x509", *self.new_key(self.key), "-out",
                     self.certificate, "-subj", f"/CN={name}", "-days", "2")

    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True,
                       cwd=self.folder, capture_output=True)

    @staticmethod
    def new_key(path):
        return "-newkey", "rsa:2048", "-nodes", "-keyout", path

    def issue(self, name, host=LOCAL):
        """The certificate's path; its key is beside it, as .key."""
        request, extensions, certificate, key = (
            self.folder / f"{name}.{suffix}"
            for suffix in ("csr", "ext", "pem", "key"))
        self.openssl("req", "-new", *self.new_key(key), "-out", request,
                     "-subj", "/CN=x")
        extensions.write_text(f"subjectAltName={host}\n")
        self.openssl("x509", "-req", "-in", request, "-CA", self.certificate,
                     "-CAkey", self.key, "-CAcreateserial", "-days", "2",
                     "-extfile", extensions, "-out", certificate)
        return certificate
