"""The live page: the report of a study while it runs, served on 127.0.0.1 only and renewing itself."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from secateur.errors import SecateurError
from secateur.reports.page import page
from secateur.reports.study import Reported, ReportedStudy

ADDRESS = "127.0.0.1"
_LOCAL_NAMES = {"127.0.0.1", "localhost"}


class LivePage:
    """A server of one page, made anew from `read()` at most once in `poll` seconds, and only while somebody looks.

    Use as a context manager, or call `serve_forever` and stop with Ctrl-C. Only this machine is answered: the socket is bound to
    127.0.0.1, and a request that names another host (a web site that points its name here) is refused.
    """

    def __init__(self, read: Callable[[], ReportedStudy | Sequence[ReportedStudy]], port: int = 0, poll: float = 5.0) -> None:
        self._read = read
        self._poll = poll
        self._lock = threading.Lock()
        self._made_at = -1e9
        self._html = b""
        self._version = ""
        live = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                live._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Requests are not logged: the terminal belongs to the study."""

        self._server = ThreadingHTTPServer((ADDRESS, port), Handler)
        self._server.daemon_threads = True
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self._server.server_port}/"

    def serve_forever(self) -> None:
        """Serve until interrupted."""
        try:
            self._server.serve_forever()
        finally:
            self._server.server_close()

    def __enter__(self) -> LivePage:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        if self._thread is not None:
            self._thread.join()

    def _current(self) -> tuple[bytes, str]:
        with self._lock:
            if time.monotonic() - self._made_at >= self._poll:
                given = self._read()
                studies = list(given) if isinstance(given, Sequence) else [given]
                html = page([Reported(study) for study in studies], poll=self._poll)
                self._version = hashlib.sha256(html.encode()).hexdigest()
                # the page knows its own version, so that news between its making and its first question is not missed
                self._html = html.replace(" data-poll=", f' data-version="{self._version}" data-poll=', 1).encode()
                self._made_at = time.monotonic()
            return self._html, self._version

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        host = request.headers.get("Host", "").rpartition(":")[0] or request.headers.get("Host", "")
        if host not in _LOCAL_NAMES:
            return _send(request, HTTPStatus.FORBIDDEN, "text/plain", b"only this machine is answered\n")
        if request.path not in ("/", "/version"):
            return _send(request, HTTPStatus.NOT_FOUND, "text/plain", b"there is / and /version\n")
        try:
            html, version = self._current()
        except SecateurError as error:
            return _send(request, HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", f"{error}\n".encode())
        if request.path == "/version":
            return _send(request, HTTPStatus.OK, "text/plain", version.encode())
        return _send(request, HTTPStatus.OK, "text/html; charset=utf-8", html)


def _send(request: BaseHTTPRequestHandler, status: HTTPStatus, kind: str, body: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Cache-Control", "no-store")
    request.send_header("X-Content-Type-Options", "nosniff")
    request.end_headers()
    request.wfile.write(body)
