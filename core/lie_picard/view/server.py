"""A small server of one page and the newest scene, for `lie-picard view --topic`."""

from __future__ import annotations

import json
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from lie_picard.view.page import page
from lie_picard.view.scene import Scene

SCENE = "scene"
_EVERYWHERE = "0.0.0.0", "::", ""
_WAIT_S = 10.0  # a browser asks again after so long without news


class SceneServer:
    """Shows every browser that asks the newest scene, as soon as there is one it has not seen."""

    def __init__(self, title: str, host: str = "127.0.0.1", port: int = 0) -> None:
        """Begin to serve, on a free port where `port` is 0.

        Requests that name another host than this one are refused: a page from elsewhere, whose name is made to lead
        here, must not see what the camera sees. Where all addresses are served, any name will do.

        Raises:
            OSError: the port is taken. ValueError: there is no such port.
        """
        if not 0 <= port < 1 << 16:
            raise ValueError(f"port {port}: give one from 0 to 65535")
        self._hosts = None if host in _EVERYWHERE else {"localhost", "127.0.0.1", "::1", host}
        self._changed = threading.Condition()
        self._number, self._answer, self._closed = 0, b"", False
        self._page = page([], title, SCENE).encode()
        server = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 2 * _WAIT_S  # of a connection on which nothing comes

            def do_GET(self) -> None:
                server._serve(self)

            def log_message(self, *_: object) -> None:
                """Requests are no news."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

        self._http = Server((host, port), Handler)
        shown = "localhost" if host in ("127.0.0.1", "::1", *_EVERYWHERE) else f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._http.server_address[1]}/"
        threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True).start()

    def show(self, scene: Scene) -> None:
        """From now on this is the newest one."""
        with self._changed:
            self._number += 1
            self._answer = json.dumps({"number": self._number, "scene": scene}, allow_nan=False).encode()
            self._changed.notify_all()

    def close(self) -> None:
        """Serve no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._http.shutdown()
        self._http.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        try:
            address, host = urlsplit(request.path), urlsplit(f"//{request.headers.get('Host', '')}").hostname
        except ValueError:
            _send(request, HTTPStatus.BAD_REQUEST, b"", "text/plain")
            return
        if self._hosts is not None and host not in self._hosts:
            _send(request, HTTPStatus.FORBIDDEN, b"", "text/plain")
        elif address.path == "/":
            _send(request, HTTPStatus.OK, self._page, "text/html; charset=utf-8")
        elif address.path == f"/{SCENE}":
            after = parse_qs(address.query).get("after", ["0"])[0]
            answer = self._newer(int(after) if after.isdecimal() and len(after) < 20 else 0)
            _send(request, HTTPStatus.OK if answer else HTTPStatus.NO_CONTENT, answer, "application/json")
        else:
            _send(request, HTTPStatus.NOT_FOUND, b"", "text/plain")

    def _newer(self, after: int) -> bytes:
        """The newest scene's answer, once it is not the one of this number; nothing after a while."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._answer and self._number != after), _WAIT_S)
            return b"" if self._number == after else self._answer


def _send(request: BaseHTTPRequestHandler, status: HTTPStatus, body: bytes, kind: str) -> None:
    try:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Cache-Control", "no-store")
        request.end_headers()
        request.wfile.write(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the browser was closed
