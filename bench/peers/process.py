"""Child processes that never outlive this one."""

import http.client
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

RUN_SECONDS = 3600  # the longest that a command may take; a build of llama.cpp takes a third of it on two cores
READY_SECONDS = 600
STOP_SECONDS = 30
POLL_SECONDS = 0.005  # between two looks at /readyz: 0.5% of the second that a start may take
SHOWN_LINES = 20  # of a failed process's log
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class Failed(Exception):
    """A process ended otherwise than it should."""


def run(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    """Runs a command to its end and gives what it wrote to standard output."""
    with tempfile.TemporaryFile("w+") as log, child(command, subprocess.PIPE, log, environment) as process:
        try:
            output, _ = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{' '.join(command)}: still running after {RUN_SECONDS} s") from error
        if process.returncode != 0:
            log.seek(0)
            lines = (output + log.read()).splitlines()[-SHOWN_LINES:]
            raise Failed("\n".join([f"{' '.join(command)}: exit status {process.returncode}", *lines]))
        return output


@contextmanager
def child(command: list[str], stdout, stderr, environment: Mapping[str, str] | None) -> Iterator[subprocess.Popen]:
    """A process in a group of its own, which is ended with all that it started."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
        env={**os.environ, **OFFLINE, **(environment or {})},
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_SECONDS)


@dataclass(frozen=True)
class Server:
    """A server that answers on a port of this machine."""

    pid: int
    port: int
    ready_seconds: float  # from the start of the process until it said that it is ready

    def peak_bytes(self) -> int:
        return self._memory("VmHWM")

    def resident_bytes(self) -> int:
        return self._memory("VmRSS")

    def _memory(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", status).group(1)) * 1024


@contextmanager
def serve(
    command: list[str], ready_path: str, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Starts `command` with `--port`, waits until `ready_path` answers 200, and stops it in the end."""
    port = free_port()
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as log,
        child([*command, "--host", "127.0.0.1", "--port", str(port)], log, log, environment) as process,
    ):
        while not is_ready(port, ready_path):
            if process.poll() is not None or time.perf_counter() - started > READY_SECONDS:
                log.seek(0)
                lines = log.read().splitlines()[-SHOWN_LINES:]
                raise Failed("\n".join([f"{' '.join(command)}: never became ready", *lines]))
            time.sleep(POLL_SECONDS)
        yield Server(process.pid, port, time.perf_counter() - started)


def is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    with closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
