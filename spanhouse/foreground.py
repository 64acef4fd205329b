"""What a command needs that runs until it is stopped: stop signals, and lines for who started it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

# What asks the process to leave; SIGHUP is a terminal that was closed.
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Notes the signals that ask the process to leave, from the start until its very end.

    The engine may be killed but not interrupted, so at no moment does a signal end the process by itself;
    a second one changes nothing.
    """

    def __init__(self) -> None:
        self.seen = False
        self._tell: Callable[[], object] | None = None
        for number in STOP_SIGNALS:
            # nohup ignores SIGHUP, and that choice stands.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.seen = True
        if self._tell is not None:
            self._tell()

    def ignore(self) -> None:
        """From here on a signal means nothing; Python would make it deadly again while it ends."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    async def wait(self) -> None:
        """Return at the first signal, one that came before included."""
        event = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._tell = lambda: loop.call_soon_threadsafe(event.set)
        if not self.seen:
            await event.wait()
        self._tell = None


def say(text: str) -> None:
    """A line for the person who started the command; spans are taken even when nobody reads it."""
    try:
        print(text, flush=True)
    except OSError:  # the terminal is closed, or the pipe's reader has left
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 for the rest of the process


def reader_left() -> int:
    """The exit code where whoever read standard output has closed it, as `| head` does."""
    # Python would try to write the rest at its end, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
