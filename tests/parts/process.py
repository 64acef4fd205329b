"""Processes that tests start, kill and start again."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

# Kills, when the test process is gone however it went, what that one started and has not ended yet. A
# process is held by a pidfd, which stays true when its number is given to another.
_GUARD = """
import os, signal, sys
held = {}
for line in sys.stdin:
    word, pid = line.split()
    if word == "hold":
        try:
            held[pid] = os.pidfd_open(int(pid))
        except ProcessLookupError:
            pass
    elif pid in held:
        os.close(held.pop(pid))
for fd in held.values():
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""

_guard_lock = threading.Lock()
_guard: subprocess.Popen[str] | None = None


def _tell_guard(word: str, pid: int) -> None:
    global _guard
    with _guard_lock:
        if _guard is None:
            # A session of its own: Ctrl-C in the terminal is for the tests.
            _guard = subprocess.Popen(
                [sys.executable, "-S", "-c", _GUARD], stdin=subprocess.PIPE, text=True, start_new_session=True
            )
        assert _guard.stdin is not None
        print(word, pid, file=_guard.stdin, flush=True)


def hold(pid: int) -> None:
    """Kill also this process, which another one started, when the tests are gone."""
    _tell_guard("hold", pid)


def free_port() -> int:
    """A free TCP port of the loopback that stays free while its process is down.

    It is below those that the kernel gives to clients: one of them could take it meanwhile, or a client
    that tries again and again to connect to it would in the end be connected to itself.
    """
    range_file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first_of_clients = int(range_file.read_text().split()[0]) if range_file.exists() else 32768
    while True:
        port = random.SystemRandom().randrange(10_000, max(first_of_clients, 11_000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class Process:
    """A program that can be started, killed, stopped, paused and started again; it dies with the tests.

    What it writes is appended to `log`.
    """

    def __init__(
        self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = command
        self.log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process; it must have been started."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; whether it works already is for the caller to find out."""
        assert not self.running(), "it runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | (self._environment or {}),
                start_new_session=True,  # Ctrl-C in the terminal is for the tests
            )
        _tell_guard("hold", self._process.pid)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._end(signal.SIGKILL, 30)

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM, wait for the end, and return the exit code (-15 if it did not handle the signal)."""
        return self._end(signal.SIGTERM, seconds)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _end(self, number: signal.Signals, seconds: float) -> int:
        assert self._process is not None, "it was not started"
        self._process.send_signal(number)
        code = self._process.wait(timeout=seconds)
        _tell_guard("let", self._process.pid)
        return code
