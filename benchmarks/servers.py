"""Servers to read from: nginx over a folder, and moto's S3, each in a process of its own."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; keepalive_requests 100000;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""
_MOST_START_S = 30


def has_nginx() -> bool:
    """Whether nginx is installed."""
    return _nginx() is not None


def _nginx() -> str | None:
    return shutil.which('nginx') or shutil.which('/usr/sbin/nginx')


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as asked:
        asked.bind(('127.0.0.1', 0))
        port: int = asked.getsockname()[1]
        return port


def wait_for(address: str) -> None:
    """Wait until a server answers, whatever it says."""
    end = time.monotonic() + _MOST_START_S
    while True:
        try:
            urllib.request.urlopen(address).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """Serve a folder; yield the address.  `folder` is for its own files."""
    port, path = free_port(), _nginx()
    if path is None:
        raise FileNotFoundError('expected nginx, found none: apt-get install nginx')
    settings = folder / 'nginx.conf'
    settings.write_text(_NGINX.format(folder=folder, root=root, port=port), encoding='utf-8')
    with subprocess.Popen([path, '-c', str(settings), '-e', str(folder / 'error.log')]) as process:
        try:
            wait_for(f'http://127.0.0.1:{port}/')
            yield f'http://127.0.0.1:{port}'
        finally:
            process.terminate()


@contextmanager
def s3(files: dict[str, Path], bucket: str = 'slides') -> Iterator[str]:
    """Serve files from a bucket of moto's S3; yield the address, where `/{bucket}/name` is public."""
    import s3fs

    port = free_port()
    address = f'http://127.0.0.1:{port}'
    command = [sys.executable, '-m', 'moto.server', '-H', '127.0.0.1', '-p', str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(address)
            system = s3fs.S3FileSystem(
                endpoint_url=address, key='test', secret='test', skip_instance_cache=True
            )
            system.mkdir(bucket)
            for name, path in files.items():
                system.pipe(f'{bucket}/{name}', path.read_bytes(), ACL='public-read')
            yield address
        finally:
            process.terminate()
