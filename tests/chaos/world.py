"""All parts that a chaos run has, and what can happen to them."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.parts.clickhouse import ClickHouse
from tests.parts.collector import HASH_KEY, Collector
from tests.parts.faults import Fault, FaultProxy
from tests.parts.kafka import Kafka
from tests.parts.translate import Translator, configuration

TOPIC: Final = "otel-spans"
DEAD_LETTERS: Final = f"{TOPIC}.dlq"
GROUP: Final = "spanhouse"
PARTITIONS: Final = 6
TRANSLATORS: Final = 3
# In production these are longer; here there is no time for that.
_COLLECTOR: Final = {
    "exporters": {
        "kafka": {
            "retry_on_failure": {"initial_interval": "500ms", "max_interval": "3s"},
            "sending_queue": {"batch": {"flush_timeout": "500ms"}},
        }
    }
}
# Longer than the sessions in the translators' configuration.
_OUT_OF_SESSION: Final = (7.0, 14.0)


class World:
    """The parts, in a folder with all of their logs.

    What breaks one part is a method that takes its random choices, does it, and mends it after a while;
    `stopping` cuts that while short.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopping = threading.Event()
        self.kafka = Kafka(folder / "kafka")
        self.collector = Collector(folder / "collector", self.kafka.brokers, TOPIC, _COLLECTOR)
        self.clickhouse = ClickHouse(folder / "clickhouse")
        self.proxy = FaultProxy(self.clickhouse.url)
        settings = configuration(
            self.kafka.brokers,
            self.proxy.url,
            kafka={"batch_seconds": 0.3, "topic": TOPIC, "group": GROUP},
            processors={"scrub": {"hash_key": HASH_KEY}},
        )
        # The last two workers are two of one supervisor.
        self.translators = [
            Translator(folder / f"translator-{i}", settings, workers=2 if i == TRANSLATORS - 1 else 1)
            for i in range(TRANSLATORS)
        ]

    def start(self) -> None:
        self.kafka.start()
        self.kafka.create_topic(TOPIC, PARTITIONS)
        self.kafka.create_topic(DEAD_LETTERS, 1)
        self.collector.start()
        self.clickhouse.start()
        self.proxy.start()
        for translator in self.translators:
            translator.start()

    def close(self) -> None:
        """End whatever still runs."""
        for translator in self.translators:
            translator.__exit__(None, None, None)
        self.proxy.close()
        for part in (self.collector, self.clickhouse, self.kafka):
            part.__exit__(None, None, None)

    def insert_passed(self) -> Callable[[], bool]:
        """Whether an insert was stored and answered since this was called."""
        before = self.proxy.done["passed"]
        return lambda: self.proxy.done["passed"] > before

    def faults(self) -> dict[str, tuple[int, str, Callable[[random.Random], Callable[[], str]]]]:
        """By name: how often it is chosen, the part that it is about, and what does it."""
        found: dict[str, tuple[int, str, Callable[[random.Random], Callable[[], str]]]] = {
            "collector killed": (3, "collector", self._collector_killed),
            "collector restarted": (1, "collector", self._collector_restarted),
            "broker killed": (2, "kafka", self._broker_killed),
            "broker restarted": (1, "kafka", self._broker_restarted),
            "store killed": (3, "clickhouse", self._store_killed),
            "store hangs": (2, "clickhouse", self._store_hangs),
            "store breaks inserts": (6, "proxy", self._store_breaks),
            "killed between insert and answer": (2, "proxy", self._killed_after_insert),
        }
        for i, translator in enumerate(self.translators):
            part = f"translator {i}"
            for name, weight, fault in (
                ("killed", 2, self._translator_killed),
                ("leaves", 1, self._translator_leaves),
                ("worker killed", 2, self._worker_killed),
                ("worker paused", 2, self._worker_paused),
            ):
                found[f"{part} {name}"] = (weight, part, _for(fault, translator))
        return found

    def _while(self, seconds: float) -> None:
        self.stopping.wait(seconds)

    # Each of these chooses at once, so that the order of events does not change the choices.

    def _collector_killed(self, chance: random.Random) -> Callable[[], str]:
        seconds = chance.uniform(0, 4)

        def happen() -> str:
            self.collector.kill()
            self._while(seconds)
            self.collector.start()
            return f"back after {seconds:.1f} s"

        return happen

    def _collector_restarted(self, chance: random.Random) -> Callable[[], str]:
        def happen() -> str:
            self.collector.restart()
            return ""

        return happen

    def _broker_killed(self, chance: random.Random) -> Callable[[], str]:
        seconds = chance.uniform(0, 6)

        def happen() -> str:
            self.kafka.kill()
            self._while(seconds)
            self.kafka.start()
            return f"back after {seconds:.1f} s"

        return happen

    def _broker_restarted(self, chance: random.Random) -> Callable[[], str]:
        def happen() -> str:
            self.kafka.stop()
            self.kafka.start()
            return ""

        return happen

    def _store_killed(self, chance: random.Random) -> Callable[[], str]:
        seconds = chance.uniform(0, 5)

        def happen() -> str:
            self.clickhouse.kill()
            self._while(seconds)
            self.clickhouse.start()
            return f"back after {seconds:.1f} s"

        return happen

    def _store_hangs(self, chance: random.Random) -> Callable[[], str]:
        seconds = chance.uniform(1, 8)

        def happen() -> str:
            self.clickhouse.pause()
            self._while(seconds)
            self.clickhouse.resume()
            return f"for {seconds:.1f} s"

        return happen

    def _store_breaks(self, chance: random.Random) -> Callable[[], str]:
        fault, seconds = chance.choice(list(Fault)), chance.uniform(0.5, 4)

        def happen() -> str:
            before = self.proxy.done[fault]
            self.proxy.fail(fault)
            self._while(seconds)
            self.proxy.clear()
            self.proxy.release()
            return f"{fault} for {seconds:.1f} s, {self.proxy.done[fault] - before} inserts"

        return happen

    def _killed_after_insert(self, chance: random.Random) -> Callable[[], str]:
        """All translators die while an insert is stored and not answered, or not even begun."""
        fault = chance.choice((Fault.HANG_AFTER, Fault.CUT_AFTER, Fault.ERROR_500))

        def happen() -> str:
            before = self.proxy.done[fault]
            self.proxy.fail(fault, times=1)
            deadline = time.monotonic() + 10
            while self.proxy.done[fault] == before and time.monotonic() < deadline:
                if self.stopping.wait(0.005):
                    break
            dead = [pid for translator in self.translators for pid in translator.workers()]
            for pid in dead:
                with suppress(ProcessLookupError):  # another fault was faster
                    os.kill(pid, signal.SIGKILL)
            self.proxy.clear()
            self.proxy.release()
            return f"{fault}, {len(dead)} workers"

        return happen

    def _translator_killed(self, chance: random.Random, translator: Translator) -> Callable[[], str]:
        seconds = chance.uniform(0, 4)

        def happen() -> str:
            translator.kill()
            self._while(seconds)
            translator.start()
            return f"back after {seconds:.1f} s"

        return happen

    def _translator_leaves(self, chance: random.Random, translator: Translator) -> Callable[[], str]:
        seconds = chance.uniform(0, 6)

        def happen() -> str:
            code = translator.stop(120)
            assert code == 0, f"ended with code {code}:\n{translator.process.tail()}"
            self._while(seconds)
            translator.start()
            return f"joins again after {seconds:.1f} s"

        return happen

    def _worker_killed(self, chance: random.Random, translator: Translator) -> Callable[[], str]:
        choice = chance.random()

        def happen() -> str:
            workers = translator.workers()
            if not workers:
                return "there was none"
            pid = workers[int(choice * len(workers))]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return f"process {pid}"

        return happen

    def _worker_paused(self, chance: random.Random, translator: Translator) -> Callable[[], str]:
        """Mostly for longer than its session, so that it comes back after others took its partitions."""
        choice = chance.random()
        seconds = chance.uniform(*_OUT_OF_SESSION) if chance.random() < 0.75 else chance.uniform(0.5, 4)

        def happen() -> str:
            workers = translator.workers()
            if not workers:
                return "there was none"
            pid = workers[int(choice * len(workers))]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            self._while(seconds)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            return f"process {pid} for {seconds:.1f} s"

        return happen


def _for(fault: Any, translator: Translator) -> Callable[[random.Random], Callable[[], str]]:
    def choose(chance: random.Random) -> Callable[[], str]:
        happen: Callable[[], str] = fault(chance, translator)
        return happen

    return choose
