"""An HTTP server of one file and ranges of it, in a process of its own: `python -m tests.range_server FILE`.

It prints its port.  In the process of the reader it would wait for the interpreter that the reader holds.
"""

import http.server
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers HEAD and GET, with or without a range; 403 for what is called `refused`."""

    path_served = Path()
    has_head = True

    def do_HEAD(self) -> None:
        if self.has_head:
            self._answer(send=False)
        else:
            self.send_error(403)

    def do_GET(self) -> None:
        self._answer(send=True)

    def _answer(self, *, send: bool) -> None:
        if not self.path.endswith(self.path_served.name):
            self.send_error(403 if 'refused' in self.path else 404)
            return
        data = self.path_served.read_bytes()
        found = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
        start = int(found[1]) if found else 0
        body = data[start : int(found[2]) + 1 if found and found[2] else None]
        self.send_response(206 if found else 200)
        self.send_header('Accept-Ranges', 'bytes')
        self.send_header('Content-Length', str(len(body)))
        if found:
            self.send_header('Content-Range', f'bytes {start}-{start + len(body) - 1}/{len(data)}')
        self.end_headers()
        if send:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(path: Path, *, has_head: bool = True) -> Iterator[str]:
    """Serve a file; yield the address of its folder."""
    command = [sys.executable, '-m', 'tests.range_server', str(path), *(() if has_head else ('no head',))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    ) as process:
        try:
            assert process.stdout is not None
            yield f'http://127.0.0.1:{int(process.stdout.readline())}'
        finally:
            process.terminate()


if __name__ == '__main__':
    Handler.path_served, Handler.has_head = Path(sys.argv[1]), len(sys.argv) < 3
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as opened:
        sys.stdout.write(f'{opened.server_port}\n')
        sys.stdout.flush()
        opened.serve_forever()
