"""Stores for tests of remote targets: S3, FTP and web servers on loopback, in their own processes.

Each server ends when its standard input does, so none outlives the tests, however they end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
USER, PASSWORD = "user", "secret-of-ftp"
BUCKET = "bucket"


class S3(NamedTuple):
    """A server with one empty bucket."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What processes need to find it, without a word in the pipeline."""
        return {
            "FSSPEC_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def options(self) -> dict[str, object]:
        """The same as storage options. Parts of uploads are as small as S3 allows."""
        return {
            "endpoint_url": self.endpoint,
            "key": "testing",
            "secret": "testing",
            "default_block_size": 5 << 20,
        }

    def client(self):
        """Return boto3's client, to look past flow at what is there."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
        )

    def visible(self) -> list[str]:
        """Name every object that readers can see."""
        found = self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [each["Key"] for each in found]

    def unfinished(self) -> list[str]:
        """Name the uploads that were begun and neither completed nor aborted."""
        found = self.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return [each["Key"] for each in found]


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    """Run moto's S3 server."""
    with _server("s3") as port:
        server = S3(f"http://127.0.0.1:{port}")
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@contextlib.contextmanager
def ftp_server(root: Path, *, idle_s: int = 300) -> Iterator[str]:
    """Serve a directory by FTP; the URL has the user and the password in it."""
    with _server("ftp", str(root), str(idle_s)) as port:
        yield f"ftp://{USER}:{PASSWORD}@127.0.0.1:{port}"


@contextlib.contextmanager
def sftp_server(root: Path) -> Iterator[str]:
    """Serve a directory by SFTP; the URL has the user and the password in it."""
    with _server("sftp", str(root)) as port:
        yield f"sftp://{USER}:{PASSWORD}@127.0.0.1:{port}"


@contextlib.contextmanager
def http_server(root: Path) -> Iterator[str]:
    """Serve a directory by HTTP; paths that begin with ``/broken`` answer 500."""
    with _server("http", str(root)) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _server(*words: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.remote_servers", *words],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()  # ends at once if the server does
        assert line, f"the {words[0]} server did not start: exit code {process.wait()}"
        yield int(line)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _serve_s3() -> int:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    return int(server.get_host_and_port()[1])


def _serve_ftp(root: str, idle_s: str) -> int:
    import threading

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

    users = DummyAuthorizer()
    users.add_user(USER, PASSWORD, root, perm="elradfmwMT")

    class Handler(FTPHandler):
        authorizer = users
        timeout = int(idle_s)

    server = FTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.address[1])


def _serve_sftp(root: str) -> int:
    import asyncio
    import threading

    import asyncssh

    class Server(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel) -> None:
            super().__init__(channel, chroot=root)

    ready: list[int] = []
    started = threading.Event()

    async def serve() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], sftp_factory=Files
        )
        ready.append(server.get_port())
        started.set()
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    started.wait()
    return ready[0]


def _serve_http(root: str) -> int:
    import functools
    import http.server
    import threading

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_head(self):
            if self.path.startswith("/broken"):
                self.send_error(500)
                return None
            return super().send_head()

    handler = functools.partial(Handler, directory=root)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


if __name__ == "__main__":
    servers: dict[str, Callable[..., int]] = {
        "s3": _serve_s3,
        "ftp": _serve_ftp,
        "http": _serve_http,
        "sftp": _serve_sftp,
    }
    print(servers[sys.argv[1]](*sys.argv[2:]), flush=True)
    sys.stdin.read()
    os._exit(0)
