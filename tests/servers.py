"""A web server on this machine that serves one file, well or with a flaw."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site(ThreadingHTTPServer):
    """Serves `data` at every path but /gone, and notes the ranges it was asked for."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.data = data
        self.ranges: list[str | None] = []
        """One for each request; None when the whole file was asked for."""
        self.takes_ranges = True
        self.breaks_off_after: int | None = None
        """Bytes sent in one answer before the connection ends."""
        self.pause_seconds = 0.0
        """Between two pieces of 1,000 bytes."""
        self.flaw = ""
        """404; chunked (cut in a chunk); other (bytes); silent (closes at once); garbage (no HTTP); deaf (never
        answers); stalled (nothing more after the first 1,000 bytes)."""
        self.released = threading.Event()
        """Ends the wait of a server that is deaf or stalled."""

    @property
    def num_asked(self) -> int:
        """How many requests there were."""
        return len(self.ranges)

    def address(self, name: str) -> str:
        """Where the file is, under the name given."""
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Page(BaseHTTPRequestHandler):
    """One request."""

    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site, wanted = self.server, self.headers["Range"]
        site.ranges.append(wanted)
        self.close_connection = True
        match site.flaw:
            case "deaf":
                site.released.wait(30)
            case "garbage":
                self.wfile.write(b"220 ftp ready\r\n\r\n")
            case "chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%b" % (len(site.data), site.data[:1000]))
            case "404":
                self.send_error(404)
            case "silent":
                pass
            case _:
                self.send_file(wanted)

    def send_file(self, wanted: str | None) -> None:
        """Answer as a file server does, as far as the flaw lets it."""
        site = self.server
        data, start = site.data[::-1] if site.flaw == "other" else site.data, 0
        if self.path == "/gone":
            return self.send_error(404)
        if wanted and site.takes_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(data):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data) if site.breaks_off_after is None else start + site.breaks_off_after
        return self.send_pieces(data[start:end])

    def send_pieces(self, data: bytes) -> None:
        """Send at once, or slowly, or not to the end."""
        site = self.server
        if site.flaw == "stalled":
            self.wfile.write(data[:1000])
            site.released.wait(30)
            return
        size = 1000 if site.pause_seconds else len(data) or 1
        for first in range(0, len(data), size):
            self.wfile.write(data[first : first + size])
            site.released.wait(site.pause_seconds)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@contextmanager
def serving(data: bytes) -> Iterator[Site]:
    """Run a site in a thread of its own."""
    site = Site(data)
    site.handle_error = lambda *args: None  # a client that hangs up is the point of some tests
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        site.shutdown()
        thread.join()
        site.server_close()
