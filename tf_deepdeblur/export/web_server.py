"""Serves an exported page, with the headers that let it use threads and keep it from calling other hosts."""

import functools
import http.server
import os
from pathlib import Path
from typing import ClassVar

from tf_deepdeblur.errors import InputError

# Everything comes from the page's own folder; blob: are the photos. WebAssembly counts as a script that is evaluated.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # these two make the page cross-origin isolated, which threads need
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # the browser asks whether a file is new, so an export again is seen at once
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map: ClassVar[dict] = {  # those of the operating system may lack some
        ".html": "text/html",
        ".js": "text/javascript",
        ".css": "text/css",
        ".json": "application/json",
        ".wasm": "application/wasm",
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".txt": "text/plain; charset=utf-8",
        "": "application/octet-stream",
    }

    def end_headers(self):
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path):
        self.send_error(404)

    def log_message(self, *_):
        """Requests are of no interest."""


def make_server(folder: str | os.PathLike, host: str = "127.0.0.1", port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server that ``serve_forever`` starts and ``shutdown`` ends.

    Args:
        folder: what ``web.export_web`` wrote.
        host: the address to listen on; the default can be reached from this machine alone.
        port: 0 takes a free one, see the server's ``server_port``.

    Raises:
        InputError: if the folder holds no page, or the address cannot be listened on.
    """
    folder = Path(folder).expanduser()
    if not (folder / "index.html").is_file():
        raise InputError(f"{folder}: holds no index.html; give the folder that the export of a page wrote")
    try:
        return http.server.ThreadingHTTPServer((host, port), functools.partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port}: cannot be listened on ({error}); give another `port` or `host`") from error
