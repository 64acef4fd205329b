"""`spanhouse up` as a person and an operator meet it: start, stop, crash, and what it says."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import clickhouse_connect
import psutil
import pytest

from spanhouse.running import was_unclean
from tests.harness import PORTS, Instance, eventually, request

ROLLUP = (
    "SELECT sum(calls) AS calls, sum(tokens_total) AS tokens, sum(cost_usd) AS cost FROM agent_metrics_1m"
)
ROWS = (
    "SELECT count() AS calls, sum(tokens_prompt + tokens_completion) AS tokens, sum(cost_usd) AS cost "
    "FROM agent_events"
)


class Load(threading.Thread):
    """Posts requests of a few spans until told to stop; keeps the trace ids of those acknowledged."""

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self.instance = instance
        self.acknowledged: list[str] = []
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            message = request(
                20,
                gen_ai__operation__name="chat",
                gen_ai__provider__name="openai",
                gen_ai__request__model="gpt-4o-mini",
                gen_ai__usage__input_tokens=1000,
                gen_ai__usage__output_tokens=10,
            )
            try:
                status, _ = self.instance.post(message.SerializeToString())
            except OSError:
                return
            if status == 200:
                spans = message.resource_spans[0].scope_spans[0].spans
                self.acknowledged += [span.trace_id.hex() for span in spans]


def stored(instance: Instance) -> set[str]:
    return {row["trace_id"] for row in instance.sql("SELECT trace_id FROM agent_events")}


def test_acknowledged_spans_survive_kill_9(tmp_path: Path) -> None:
    chance = random.Random(7)
    acknowledged: list[str] = []
    for _ in range(5):
        with Instance(tmp_path / "data") as instance:
            loads = [Load(instance) for _ in range(4)]
            for load in loads:
                load.start()
            eventually(lambda: all(load.acknowledged for load in loads))  # noqa: B023
            time.sleep(chance.uniform(0.05, 0.6))  # a random moment is the point
            instance.kill()
            for load in loads:
                load.join()
                acknowledged += load.acknowledged
    with Instance(tmp_path / "data") as instance:
        rows = stored(instance)
        assert not set(acknowledged) - rows
        assert len(acknowledged) >= 400
        # What was stored but not acknowledged before a crash counts in the rollups as well.
        assert instance.sql(ROLLUP) == instance.sql(ROWS)
        hours = instance.sql(ROLLUP.replace("_1m", "_1h"))
        assert hours == instance.sql(ROWS)


@contextlib.contextmanager
def inherited(hang_up: signal.Handlers) -> Iterator[None]:
    """Processes started here have SIGHUP like this, whatever the tests themselves were started with."""
    before = signal.signal(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_under_load_drains_and_exits_0(tmp_path: Path, number: int) -> None:
    with inherited(signal.SIG_DFL), Instance(tmp_path / "data") as instance:
        loads = [Load(instance) for _ in range(4)]
        for load in loads:
            load.start()
        eventually(lambda: sum(len(load.acknowledged) for load in loads) > 500)
        assert instance.stop(number) == 0
        for load in loads:
            load.join()
    with Instance(tmp_path / "data") as instance:
        assert not {i for load in loads for i in load.acknowledged} - stored(instance)
        assert instance.sql(ROLLUP) == instance.sql(ROWS)


def test_a_terminal_that_closes_ends_nothing_that_nohup_started(tmp_path: Path) -> None:
    with inherited(signal.SIG_IGN), Instance(tmp_path / "data") as instance:
        instance.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert instance.post(request().SerializeToString())[0] == 200
        assert instance.stop() == 0


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        assert instance.post(request().SerializeToString())[0] == 200
        while instance.process.poll() is None:
            instance.process.send_signal(signal.SIGTERM)
            time.sleep(0.01)  # at every stage of leaving
        assert instance.process.returncode == 0
        assert was_unclean(tmp_path / "data") is False


def test_a_signal_before_ready_ends_it_cleanly(tmp_path: Path) -> None:
    ports = [f"--{name}=127.0.0.1:0" for name in PORTS]
    command = [sys.executable, "-m", "spanhouse", "up", "--data", str(tmp_path / "data"), *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("opening the store"):
                process.terminate()
        assert process.wait(60) == 0


def test_nothing_is_acknowledged_into_a_removed_folder(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        assert instance.post(request().SerializeToString())[0] == 200
        shutil.rmtree(tmp_path / "data")
        status, body = instance.post(request().SerializeToString())
        assert status == 503
        assert b"was removed" in body
        assert instance.stop() == 0


def test_it_goes_on_when_nobody_reads_its_output(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        assert instance.process.stdout
        instance.process.stdout.close()
        assert instance.post(request().SerializeToString())[0] == 200
        assert instance.stop() == 0
        assert "Traceback" not in instance.log.read_text()


def forever(instance: Instance) -> None:
    with contextlib.suppress(OSError):  # it is killed
        instance.sql("SELECT sum(sipHash64(number)) FROM numbers(1000000000000)")


def test_a_stop_with_a_query_running_exits_0(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        heavy = threading.Thread(target=forever, args=(instance,))
        heavy.start()
        eventually(lambda: instance.metric("spanhouse_queries_running") == 1)
        assert instance.stop() == 0
        heavy.join()


def test_a_second_instance_says_who_holds_the_store(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        second = subprocess.run(
            [sys.executable, "-m", "spanhouse", "up", "--data", str(tmp_path / "data")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert f"process {instance.process.pid} has this store open" in second.stderr
        assert "Traceback" not in second.stderr


def test_a_port_in_use_names_the_port_and_the_flag(tmp_path: Path) -> None:
    for flag in PORTS:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            others = [f"--{other}=127.0.0.1:0" for other in PORTS if other != flag]
            command = [sys.executable, "-m", "spanhouse", "up", f"--data={tmp_path}", *others]
            done = subprocess.run(
                [*command, f"--{flag}={address}"],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert done.returncode == 1
        assert f"--{flag} {address}" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_page_gives_way_where_its_usual_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        with suppress(OSError):  # somebody else has it, as good
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        with Instance(tmp_path / "data", "--page=127.0.0.1:8080") as instance:
            assert not instance.addresses["page"].endswith(":8080")
            assert "<html" in instance.get("page", "/")
            assert instance.url("page") in instance.announced


def test_probes_and_metrics(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        assert instance.get("metrics", "/healthz") == "ok\n"
        assert instance.get("metrics", "/readyz") == "ok\n"
        assert instance.post(request(7).SerializeToString())[0] == 200
        assert instance.metric("spanhouse_spans_stored_total") == 7


def test_a_heavy_query_does_not_hold_up_acknowledgements(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        heavy = [
            subprocess.Popen(
                [sys.executable, "-m", "spanhouse", "sql", "--data", str(tmp_path / "data"),
                 "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]  # fmt: skip
        eventually(lambda: instance.metric("spanhouse_queries_running") == 2)
        for _ in range(20):
            assert instance.post(request(10).SerializeToString())[0] == 200
        # Its client's end is its own end.
        for client in heavy:
            client.kill()
            client.wait()
        eventually(lambda: instance.metric("spanhouse_queries_running") == 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_demo_feeds_it_and_ends_with_it(tmp_path: Path, number: int) -> None:
    with Instance(tmp_path / "data", "--demo") as instance:
        (demo,) = eventually(lambda: psutil.Process(instance.process.pid).children())
        eventually(
            lambda: instance.sql("SELECT count() AS n FROM agent_events WHERE kind = 'llm'")[0]["n"] != "0"
        )
        instance.stop(number)
        eventually(lambda: not demo.is_running() or demo.status() == psutil.STATUS_ZOMBIE)


def test_a_request_that_is_sent_again_counts_once_also_after_a_crash(tmp_path: Path) -> None:
    body = request(5, gen_ai__request__model="gpt-4o-mini").SerializeToString()
    with Instance(tmp_path / "data") as instance:
        assert [instance.post(body)[0] for _ in range(2)] == [200, 200]
        assert instance.metric("spanhouse_spans_duplicate_total") == 5
        instance.kill()
    with Instance(tmp_path / "data") as instance:
        assert instance.post(body)[0] == 200
        assert instance.sql(ROWS)[0]["calls"] == instance.sql(ROLLUP)[0]["calls"] == 5


def test_objectives_and_budgets_of_the_file_are_those_of_the_store(tmp_path: Path) -> None:
    config = tmp_path / "spanhouse.yaml"
    select = (
        "SELECT service, availability FROM objectives UNION ALL SELECT tenant_id, usd_per_month FROM budgets"
    )
    for text, expected in (
        ("", [("", 0.99)]),
        (
            "objectives: [{service: a, availability: 0.5}]\nbudgets: [{usd_per_month: 7}]",
            [("", 7), ("a", 0.5)],
        ),
        ("", [("", 0.99)]),
    ):
        config.write_text(text)
        with Instance(tmp_path / "data", config=config) as instance:
            assert sorted(tuple(row.values()) for row in instance.sql(select)) == expected
            assert instance.stop() == 0


def test_prompts_are_stored_where_they_are_wanted_and_nowhere_else(tmp_path: Path) -> None:
    config = tmp_path / "spanhouse.yaml"
    config.write_text("content: {enabled: true, password: c0ntent, max_value_bytes: 64}\n")
    text = f'["mail jane@example.com {100 * "x"}"]'
    payload = request(3, gen_ai__input__messages=text, gen_ai__request__model="gpt-4o").SerializeToString()
    with Instance(tmp_path / "data", config=config) as instance:
        for _ in range(2):  # its answer was lost
            assert instance.post(payload)[0] == 200
        address, _, port = instance.addresses["clickhouse-http"].rpartition(":")
        client = clickhouse_connect.get_client(
            host=address, port=int(port), username="content", password="c0ntent"
        )
        stored = client.query("SELECT kind, key, text, bytes, truncated FROM content").result_rows
        assert stored == 3 * [
            ("input", "gen_ai.input.messages", f'["mail [email] {100 * "x"}'[:64], len(text), True)
        ]
        client.close()
        assert instance.sql("SELECT DISTINCT model, mapKeys(attrs) AS keys FROM agent_events") == [
            {"model": "gpt-4o", "keys": []}
        ]
        assert instance.metric("spanhouse_content_bytes_total") == 6 * len(text)
