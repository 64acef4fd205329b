"""`python -m tests.chaos`: break everything again and again under load, then count.

The last line is `faults N sent N stored N lost N doubled N`; the exit code is 1 unless nothing is lost or
doubled and tokens and cost are equal, too. A seed fixes the order of faults as far as time allows.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import requests

from tests.chaos.compare import Verdict, agree, compare
from tests.chaos.ledger import Ledger
from tests.chaos.load import SENDERS, Door, Load
from tests.chaos.world import DEAD_LETTERS, GROUP, TOPIC, World
from tests.parts.cache import say

_PROGRESS_S: Final = 5.0
_BETWEEN_S: Final = (0.3, 3.0)
_GETS_THROUGH_S: Final = 5.0
_CALM_S: Final = 300.0
_PATIENCE_S: Final = 60.0
_MENDED_S: Final = 300.0


class Chaos:
    """A run: faults in random order, also several at once, but one at a time for each part."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._busy: dict[str, threading.Thread] = {}
        self._started = time.monotonic()
        self._log = (world.folder / "faults.log").open("w", buffering=1)
        self.done = 0
        self.failures: list[str] = []
        self.last = ""

    def run(self, seconds: float) -> None:
        """Break parts until the time is over and all of them run again."""
        faults = self._world.faults()
        names, weights = list(faults), [weight for weight, _, _ in faults.values()]
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.failures:
            name = self._chance.choices(names, weights)[0]
            _, part, choose = faults[name]
            happen = choose(self._chance)
            if part in self._busy and self._busy[part].is_alive():
                continue  # it has trouble enough
            self._busy[part] = threading.Thread(target=self._happen, args=(name, happen), daemon=True)
            self._busy[part].start()
            time.sleep(max(0.0, min(self._chance.uniform(*_BETWEEN_S), end - time.monotonic())))
            # Where nothing ever gets through there is nothing that could be broken.
            wait_for(self._world.insert_passed(), _GETS_THROUGH_S)
        self._world.stopping.set()
        for thread in self._busy.values():
            thread.join(120)
            if thread.is_alive():
                self.failures.append("a fault does not end; see faults.log")
        self._log.close()

    def _happen(self, name: str, happen: Callable[[], str]) -> None:
        self.done += 1
        self.last = name
        self._note(f"{name} ...")
        try:
            said = happen()
        except Exception as error:  # noqa: BLE001 - for the thread that runs the chaos
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
            said = repr(error)
        self._note(f"{name}: {said or 'done'}")

    def _note(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {time.monotonic() - self._started:7.2f} {text}", file=self._log)


def stored_rows(world: World) -> int | None:
    """Rows now, if the store answers."""
    try:
        answer = requests.post(world.clickhouse.url, data=b"SELECT count() FROM agent_events", timeout=2)
        return int(answer.text) if answer.ok else None
    except (requests.RequestException, ValueError):
        return None


def tell(world: World, chaos: Chaos, ledger: Ledger, ended: threading.Event) -> None:
    """A line of progress every few seconds."""
    started, stored = time.monotonic(), 0
    while not ended.wait(_PROGRESS_S):
        stored = rows if (rows := stored_rows(world)) is not None else stored
        say(
            f"{time.monotonic() - started:5.0f} s  faults {chaos.done}  "
            f"acknowledged {ledger.acknowledged.spans}  stored {stored}  last: {chaos.last}"
        )


def wait_for(condition: Callable[[], Any], seconds: float) -> bool:
    """Whether it came true in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def settle(world: World, ledger: Ledger, load: Load) -> list[str]:
    """Wait until everything is acknowledged and stored, then stop the translators; what went wrong."""
    problems = []
    if not load.finish(_CALM_S):
        problems.append(f"not everything was acknowledged in {_CALM_S:.0f} s of calm")

    def drained() -> bool:
        if world.collector.metric("otelcol_exporter_queue_size"):
            return False
        committed = world.kafka.committed_offsets(GROUP, TOPIC)
        if any(committed.get(p, 0) < end for p, end in world.kafka.end_offsets(TOPIC).items()):
            return False
        # Something may still be between the Collector's queue and Kafka; what was lost never comes.
        return stored_rows(world) == ledger.acknowledged.spans or time.monotonic() > patience

    patience = time.monotonic() + _PATIENCE_S
    if not wait_for(drained, _CALM_S):
        problems.append(
            f"not everything was stored in {_CALM_S:.0f} s of calm: committed "
            f"{world.kafka.committed_offsets(GROUP, TOPIC)} of {world.kafka.end_offsets(TOPIC)}"
        )
    if not agree(world.clickhouse):
        # A store that was killed between a rollup's note of a block and its part (see spanhouse/rollups.py).
        say("a rollup does not count its rows; it is to be mended")
        wait_for(lambda: agree(world.clickhouse), _MENDED_S)
    say("all is committed; the translators leave")
    for translator in world.translators:
        if not wait_for(translator.ready, 60):
            problems.append(f"{translator.log.parent.name} is not ready: {translator.get('/readyz')[1]}")
        if code := translator.stop():
            problems.append(f"{translator.log.parent.name} ended with code {code}")
    if letters := sum(world.kafka.end_offsets(DEAD_LETTERS).values()):
        problems.append(f"{letters} dead letters, of which there should be none")
    return problems


def run(seconds: float, seed: int, rate: float, folder: Path) -> tuple[int, Verdict]:
    """Run it all; returns how many faults there were and what came of them."""
    world, ledger = World(folder), Ledger(seed)
    ended = threading.Event()
    try:
        say(f"chaos: seed {seed}, {seconds:.0f} s, {rate:.0f} spans/s, in {folder}")
        world.start()
        load = Load(ledger, [Door(world.collector.url) for _ in range(SENDERS)], rate, seed)
        load.start()
        chaos = Chaos(world, seed)
        threading.Thread(target=tell, args=(world, chaos, ledger, ended), daemon=True).start()
        chaos.run(seconds)
        say("calm: everything runs again")
        problems = chaos.failures + settle(world, ledger, load)
        verdict = compare(ledger, world.clickhouse, folder)
        verdict.problems = problems + verdict.problems
        return chaos.done, verdict
    finally:
        ended.set()
        world.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of faults (default 300)")
    parser.add_argument("--seed", type=int, default=None, help="of the faults (default: a new one)")
    parser.add_argument("--rate", type=float, default=500, help="spans a second (default 500)")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="spanhouse-chaos-"))
    faults, verdict = run(arguments.seconds, seed, arguments.rate, folder)
    failed = bool(verdict.problems or verdict.lost or verdict.doubled)
    if failed:
        for problem in verdict.problems:
            say(problem)
        say(f"seed {seed}; logs are in {folder}")
    else:
        shutil.rmtree(folder)
    print(
        f"faults {faults} sent {verdict.sent} stored {verdict.stored} "
        f"lost {verdict.lost} doubled {verdict.doubled}"
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
