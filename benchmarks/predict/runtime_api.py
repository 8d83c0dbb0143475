"""Lambda's side of the runtime interface, as small as it gets, and a process under AWS's own runtime client.

The client (`awslambdaric`) asks ``GET …/invocation/next`` for an event and posts the answer; see
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. Answering it from this process instead of AWS's
emulator takes the emulator's own milliseconds, and their noise, out of the figures.
"""

from __future__ import annotations

import json
import queue
import resource
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.predict.environments import Peer, environment


class RuntimeApi(ThreadingHTTPServer):
    """Hands out events and takes answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.asked: queue.SimpleQueue[float] = queue.SimpleQueue()  # when an event was asked for
        self.answers: queue.SimpleQueue[tuple[float, bool, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """A client that is ended while it waits for its next event resets its connection; that is no news."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a packet held back until the last one is acknowledged adds 40 ms
    wbufsize = -1
    server: RuntimeApi

    def do_GET(self) -> None:
        self.server.asked.put(time.perf_counter())
        event = self.server.events.get()
        self.send_response(200)
        self.send_header("Content-Length", str(len(event)))
        self.send_header("Content-Type", "application/json")
        self.send_header("Lambda-Runtime-Aws-Request-Id", "5f1c9a3e-0000-4000-8000-000000000002")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 15_000))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:p")
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        arrived = time.perf_counter()
        self.server.answers.put((arrived, self.path.endswith("/response"), body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


def cold_start(peer: Peer, event: bytes, *, timeout: float = 60.0) -> tuple[float, float, float]:
    """Seconds from the start of the process to its first answer, its CPU seconds, its resident memory in MB.

    CPU seconds do not count the time in which a busy machine serves others.

    Raises
    ------
    RuntimeError
        when the function fails; the message has its answer.
    """
    api = RuntimeApi()
    api.events.put(event)
    command = [sys.executable, "-S", "-m", "awslambdaric", peer.handler]
    env = {**environment(peer), "AWS_LAMBDA_RUNTIME_API": api.address, "_HANDLER": peer.handler}
    before = _children_cpu()
    started = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        arrived, is_good, body = api.answers.get(timeout=timeout)
        answer = json.loads(body)
        if not is_good or answer.get("statusCode") != 200:
            raise RuntimeError(f"{peer.name}: {body[:2000]!r}")
        resident = _resident(process.pid)
    except queue.Empty:
        process.kill()
        raise RuntimeError(f"{peer.name}: no answer; {(process.communicate()[1] or b'')[-2000:]!r}") from None
    finally:
        process.kill()
        process.communicate()
        api.shutdown()
        api.server_close()
    return arrived - started, _children_cpu() - before, resident


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
