"""The page's own web server, for one person on this machine.

Every request needs the token of the printed URL, and a Host header that is an address or `localhost`, so that neither
other users of the machine nor pages of other sites in the same browser can read or change anything. Nothing is loaded
from elsewhere.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import logging
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from beingh_core.data.annotate import labels as files
from beingh_core.data.annotate import view
from beingh_core.data.annotate.workbench import Changed, Workbench
from beingh_core.errors import BeingHError

PAGE = Path(__file__).with_name("page.html")
TOKEN = "X-Beingh-Token"
LARGEST_BODY = 1 << 20
_MOST_UNREAD, _BLOCK = 16 << 20, 1 << 16
_MOST_CONNECTIONS = 64
_IDLE_S = 20.0
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is answered with a status, a line of text and what else the page needs."""

    def __init__(self, status: HTTPStatus, text: str, **more: object) -> None:
        super().__init__(text)
        self.status, self.body = status, {"error": text, **more}


class PageServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves a workbench until `shutdown`.

    Args:
        bench: What is shown and changed.
        host: Address to listen on.
        port: 0 takes a free one.

    Attributes:
        token: Who does not know it gets nothing.
        url: With the token.

    Raises:
        BeingHError: The address cannot be used.
    """

    daemon_threads, allow_reuse_address, block_on_close = True, True, False
    request_queue_size = 64

    def __init__(self, bench: Workbench, host: str = "127.0.0.1", port: int = 0) -> None:
        self.bench, self.token = bench, secrets.token_urlsafe(24)
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            if not host:
                raise OSError("no address")
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise BeingHError(
                f"cannot listen at {host} port {port}: {getattr(error, 'strerror', None) or error}",
                where="--host, --port", remedy="choose another port, or 0 for a free one",
            ) from None  # fmt: skip
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.server_address[1]}/?token={self.token}"

    def process_request(self, request, client_address) -> None:
        """A thread for each connection, up to a bound."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address) -> None:
        """Handles a connection and gives its slot back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request, client_address) -> None:
        """A connection that broke off is no news; anything else is a fault of this program."""
        log.debug("a connection ended with an error", exc_info=True)


def is_own_host(host: str) -> bool:
    """Whether a Host header names an address or `localhost`; a name of another site that was made to point here does not.

    The port may be another one: that of an SSH tunnel's end.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost":
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: PageServer
    server_version, sys_version = "beingh", ""

    def do_GET(self) -> None:
        """The page, what it shows, and pictures."""
        self._answer({
            "/": self._page, "/api/episodes": self._episodes, "/api/episode": self._episode,
            "/api/mark": self._mark, "/api/picture": self._picture,
        })  # fmt: skip

    def do_POST(self) -> None:
        """A change of labels."""
        self._answer({"/api/labels": self._save})

    def log_message(self, *_args) -> None:
        """Requests hold the token; none is logged."""

    def _answer(self, routes: dict[str, Callable[[dict[str, str]], None]]) -> None:
        self.close_connection = True  # idle connections of many tabs would take the slots of others
        length = self.headers.get("Content-Length", "")
        self._unread = int(length) if length.isascii() and length.isdigit() and len(length) < 10 else 0
        try:
            url = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(url.query, max_num_fields=20).items()}
            self._check(query)
            if url.path not in routes:
                raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
            routes[url.path](query)
        except Refused as refused:
            self._send_json(refused.body, refused.status)
        except BeingHError as error:
            self._send_json({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except ValueError as error:
            self._send_json({"error": f"no such request ({error})"}, HTTPStatus.BAD_REQUEST)
        except (ConnectionError, TimeoutError):
            return
        except Exception as error:  # noqa: BLE001 - the page must learn that nothing was saved
            log.exception("a request failed")
            self._send_json({"error": f"{type(error).__name__}: {error}"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _check(self, query: dict[str, str]) -> None:
        """Refuses whoever is not the page."""
        if not is_own_host(self.headers.get("Host", "")):
            raise Refused(HTTPStatus.FORBIDDEN, "this is not the name of this machine")
        given = (self.headers.get(TOKEN) or query.get("token", "")).encode("utf-8", "replace")
        if not hmac.compare_digest(given, self.server.token.encode()):
            raise Refused(
                HTTPStatus.FORBIDDEN, "open the address that `beingh annotate --serve` has printed, with its token"
            )
        if self.command == "POST" and not self.headers.get(TOKEN):  # which no form of another site can send
            raise Refused(HTTPStatus.FORBIDDEN, "the token is not in the header")
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
            raise Refused(HTTPStatus.FORBIDDEN, "the request comes from another site")

    def _page(self, _query: dict[str, str]) -> None:
        nonce = secrets.token_urlsafe(16)
        text = PAGE.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
        self._send(text.encode(), "text/html; charset=utf-8", policy=_POLICY.format(nonce=nonce))

    def _episodes(self, _query: dict[str, str]) -> None:
        bench, found = self.server.bench, []
        for name in bench.names:
            entry: dict[str, Any] = {"name": name, "segments": 0, "accepted": 0, "open": 0, "error": ""}
            try:
                labels = files.load(bench.path(name))
                entry |= {"segments": len(labels.segments), "accepted": labels.count(files.ACCEPTED)}
                entry["open"] = labels.count(files.PROPOSED)
            except BeingHError as error:
                entry["error"] = str(error)
            found.append(entry)
        self._send_json({"episodes": found})

    def _episode(self, query: dict[str, str]) -> None:
        bench, name = self.server.bench, query.get("name", "")
        recording = bench.recording(name)
        told = view.episode(recording)
        try:
            seen = bench.load(name)
            labels = seen.labels.counted_from(recording.origin_ns)
            told |= {"labels": labels.model_dump(mode="json"), "mark": seen.mark, "error": ""}
        except BeingHError as error:
            told |= {"labels": None, "mark": bench.mark(name), "error": str(error)}
        self._send_json(told)

    def _mark(self, query: dict[str, str]) -> None:
        self._send_json({"mark": self.server.bench.mark(query.get("name", ""))})

    def _picture(self, query: dict[str, str]) -> None:
        index = query.get("index", "")
        if not (index.isascii() and index.isdigit() and len(index) < 10):
            raise Refused(HTTPStatus.BAD_REQUEST, "the index is a number")
        jpeg = self.server.bench.jpeg(query.get("name", ""), query.get("view", ""), int(index))
        self._send(jpeg, "image/jpeg", cache="private, max-age=3600")

    def _save(self, query: dict[str, str]) -> None:
        name, body = query.get("name", ""), self._body()
        if not isinstance(body, dict) or not isinstance(body.get("mark"), str):
            raise Refused(HTTPStatus.BAD_REQUEST, "the request has no labels")
        labels = files.parse(body.get("labels"), name)
        try:
            mark = self.server.bench.save(name, labels, body["mark"], keep_both=body.get("keep_both") is True)
        except Changed as changed:
            raise Refused(HTTPStatus.CONFLICT, str(changed), mark=changed.mark) from None
        self._send_json({"mark": mark})

    def _body(self) -> object:
        if not self._unread:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the request does not say its length")
        if self._unread > LARGEST_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST_BODY} bytes")
        length, self._unread = self._unread, 0
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "the request is no JSON") from None

    def _send_json(self, content: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status=status)

    def _send(
        self, data: bytes, kind: str, *, status: HTTPStatus = HTTPStatus.OK, cache: str = "no-store", policy: str = ""
    ) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            # What is closed unread is reset, and the answer with it.
            for _ in range(min(self._unread, _MOST_UNREAD) // _BLOCK + 1):
                self._unread -= len(self.rfile.read(min(_BLOCK, max(0, self._unread))))
            self.send_response(status)
            more = {"Content-Type": kind, "Content-Length": str(len(data)), "Cache-Control": cache}
            more["Content-Security-Policy"] = policy or "default-src 'none'; frame-ancestors 'none'"
            more["Connection"] = "close"
            for name, value in (_HEADERS | more).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
