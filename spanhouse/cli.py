"""The `spanhouse` command."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from spanhouse import __version__
from spanhouse.errors import UserError

ADDRESS_FLAGS = {
    "page": "where the page with dashboards, traces and SQL is served (default 127.0.0.1:8080)",
    "otlp-grpc": "where OTLP/gRPC is taken (default 127.0.0.1:4317)",
    "otlp-http": "where OTLP/HTTP is taken (default 127.0.0.1:4318)",
    "clickhouse-http": "where ClickHouse clients ask (default 127.0.0.1:8123)",
    "metrics": "where /metrics, /healthz and /readyz are served (default 127.0.0.1:9464)",
}
TRANSLATE_FLAGS = ("otlp-grpc", "otlp-http", "metrics")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 the user can mend it, 2 wrong usage, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(arguments.run(arguments))
    except UserError as error:
        print(f"spanhouse: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spanhouse",
        description="Telemetry pipeline for AI agents: OTLP in, ClickHouse rows, costs and rollups out.",
    )
    parser.add_argument("--version", action="version", version=f"spanhouse {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, description: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=description,
            description=description[0].upper() + description[1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    up = add(
        "up",
        "run the whole pipeline in one process on an embedded ClickHouse",
        "  spanhouse up --demo\n"
        "  spanhouse up --data /var/lib/spanhouse --otlp-grpc 0.0.0.0:4317\n"
        "  spanhouse up --config spanhouse.yaml",
    )
    _add_config(up)
    up.add_argument("--data", metavar="DIR", help="folder of the store (default ./spanhouse-data)")
    for flag, text in ADDRESS_FLAGS.items():
        up.add_argument(f"--{flag}", metavar="HOST:PORT", help=text)
    up.add_argument("--demo", action="store_true", help="feed it with a demo agent until stopped")
    up.set_defaults(run=_up)

    translate = add(
        "translate",
        "take OTLP from Kafka, exactly once, or by gRPC and HTTP, and write it to a ClickHouse server",
        "  spanhouse translate --config spanhouse.yaml\n"
        "  spanhouse translate --config spanhouse.yaml --workers 4 --metrics 0.0.0.0:9464",
    )
    _add_config(translate)
    translate.add_argument("--workers", type=_positive, default=1, help="processes to start (default 1)")
    for flag in TRANSLATE_FLAGS:
        translate.add_argument(f"--{flag}", metavar="HOST:PORT", help=ADDRESS_FLAGS[flag])
    translate.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # of `translate`
    translate.set_defaults(run=_translate)

    replay = add(
        "replay",
        "feed dead letters, a range of a topic, or files through the pipeline again, storing no span twice",
        "  spanhouse replay --dead-letters --since 2h --dry-run\n"
        '  spanhouse replay --dead-letters --reason "step my_processor"\n'
        "  spanhouse replay --topic otel-spans --since 2026-11-20T10:00 --until 2026-11-20T12:30\n"
        "  spanhouse replay --topic otel-spans --partition 3 --from-offset 1000 --to-offset 1999\n"
        "  spanhouse replay traces.json.gz rows.parquet",
    )
    _add_config(replay)
    replay.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="rows in Parquet, or OTLP in protobuf or JSON"
    )
    replay.add_argument("--dead-letters", action="store_true", help="what could not be stored")
    replay.add_argument("--topic", help="messages of this topic")
    replay.add_argument("--partition", type=int, metavar="N", help="only this one of the topic's partitions")
    replay.add_argument("--from-offset", type=int, metavar="N", help="first message of the partition")
    replay.add_argument("--to-offset", type=int, metavar="N", help="last message of the partition")
    replay.add_argument(
        "--since",
        type=_time,
        metavar="TIME",
        help="begin there: 2h, 90m or 7d ago, or 2026-11-20T10:00 UTC",
    )
    replay.add_argument("--until", type=_time, metavar="TIME", help="end before that time")
    replay.add_argument(
        "--reason", default="", metavar="TEXT", help="only dead letters with this text in their reason"
    )
    _add_data(replay)
    replay.add_argument(
        "--dry-run", action="store_true", help="store nothing; say what would be stored and what would not"
    )
    replay.set_defaults(run=_replay, error=replay.error)

    migrate = add(
        "migrate",
        "make or update the tables, users and rights of a ClickHouse server; repeat it as you like",
        "  spanhouse migrate --config spanhouse.yaml --dry-run\n"
        "  SPANHOUSE_WRITER_PASSWORD=... SPANHOUSE_READER_PASSWORD=... spanhouse migrate\n"
        "  SPANHOUSE_TENANT_PASSWORD=... spanhouse migrate --tenant acme",
    )
    _add_config(migrate)
    migrate.add_argument("--tenant", default="", metavar="NAME", help="also make a user who sees it alone")
    migrate.add_argument("--dry-run", action="store_true", help="change nothing, print the statements")
    migrate.set_defaults(run=_migrate)

    repair = add(
        "repair",
        "make a ClickHouse server's rollups count what its rows hold, where they do not",
        "  spanhouse repair --config spanhouse.yaml",
    )
    _add_config(repair)
    repair.set_defaults(run=_repair)

    prices = add(
        "prices",
        "list what models cost, explain one, or show models seen whose price is not known",
        "  spanhouse prices --provider anthropic\n"
        "  spanhouse prices gpt-4o-mini --provider azure.ai.openai --at 2026-11-01\n"
        "  spanhouse prices --unpriced",
    )
    _add_config(prices)
    prices.add_argument("model", nargs="?", default="", help="model, as spans name it; all without")
    prices.add_argument("--provider", default="", metavar="NAME", help="who sells it, as spans name it")
    prices.add_argument("--at", type=_day, metavar="DATE", help="prices at the beginning of this day (UTC)")
    prices.add_argument("--unpriced", action="store_true", help="models seen whose price is not known")
    _add_data(prices)
    prices.set_defaults(run=_prices, error=prices.error)

    reprice = add(
        "reprice",
        "compute the costs of stored rows anew from the prices of now, and their rollups with them",
        "  spanhouse reprice --from 2026-11-01 --to 2026-11-20 --dry-run\n"
        "  spanhouse reprice --from 2026-11-01 --to 2026-11-20\n"
        "  spanhouse reprice --config spanhouse.yaml --from 2026-11-01 --to 2026-11-20 --yes",
    )
    _add_config(reprice)
    reprice.add_argument(
        "--from", type=_day, required=True, metavar="DATE", dest="first", help="first day (UTC)"
    )
    reprice.add_argument("--to", type=_day, required=True, metavar="DATE", dest="last", help="last day (UTC)")
    _add_data(reprice)
    reprice.add_argument(
        "--dry-run", action="store_true", help="change nothing; say what would change, by model"
    )
    reprice.add_argument("--yes", action="store_true", help="do not ask before rows are changed")
    reprice.set_defaults(run=_reprice, error=reprice.error)

    demo = add(
        "demo",
        "send the spans of a made-up agent application to an OTLP endpoint",
        "  spanhouse demo --qps 5 --users 200\n  spanhouse demo --duration 60 --endpoint 127.0.0.1:4317",
    )
    demo.add_argument("--qps", type=float, default=2.0, help="agent requests (traces) per second (default 2)")
    demo.add_argument("--users", type=int, default=50, help="number of users (default 50)")
    demo.add_argument("--duration", type=float, metavar="SECONDS", help="how long (default: until stopped)")
    demo.add_argument(
        "--endpoint",
        default="127.0.0.1:4317",
        metavar="HOST:PORT",
        help="OTLP/gRPC endpoint (default 127.0.0.1:4317)",
    )
    demo.add_argument("--seed", type=int, help="the same seed gives the same requests")
    demo.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # of `up --demo`
    demo.set_defaults(run=_demo)

    sql = add(
        "sql",
        "run SQL against a running spanhouse, or against its store while it is stopped",
        '  spanhouse sql "SELECT model, sum(cost_usd) FROM agent_metrics_1m GROUP BY model"\n'
        '  spanhouse sql --format csv "SELECT * FROM agent_events LIMIT 10" > rows.csv\n'
        '  spanhouse sql --url http://127.0.0.1:8123 "SELECT 1"',
    )
    sql.add_argument("query", help="one statement; - reads it from standard input")
    sql.add_argument(
        "--data", metavar="DIR", help="folder of the store (default ./spanhouse-data, or as --config says)"
    )
    sql.add_argument("--config", type=Path, metavar="FILE", help="configuration file that names the folder")
    sql.add_argument("--url", help="ask this ClickHouse endpoint instead")
    sql.add_argument("--user", default="", help="user of the endpoint")
    sql.add_argument("--password", default="", help="password of the endpoint")
    sql.add_argument(
        "--format",
        choices=("table", "csv", "json"),
        default="table",
        help="form of the result (default table)",
    )
    sql.set_defaults(run=_sql)

    validate = add(
        "validate",
        "check a configuration file and name every wrong key with its line",
        "  spanhouse validate spanhouse.yaml",
    )
    validate.add_argument("file", type=Path, nargs="?", default=Path("spanhouse.yaml"))
    validate.set_defaults(run=_validate)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the store, if the configuration names no ClickHouse server"
    )


def _add_config(command: argparse.ArgumentParser) -> None:
    text = "configuration file (default: ./spanhouse.yaml if there is one)"
    command.add_argument("--config", type=Path, metavar="FILE", help=text)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _time(text: str) -> datetime:
    """`2h` ago, or a date and time, which is UTC where it names no zone."""
    if match := re.fullmatch(r"(\d{1,6})([smhd])", text):
        seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
        return datetime.now(UTC) - timedelta(seconds=seconds)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected 90m, 2h, 7d or 2026-11-20T10:00, not {text}") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a day such as 2026-11-20, not {text}") from None


# Imports are inside the commands, so that each loads only what it needs.


def _up(arguments: argparse.Namespace) -> int:
    # Until the store is opened a Ctrl-C ends the process at once, with no traceback out of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from spanhouse.config import load
    from spanhouse.up import up

    config = load(_config_path(arguments.config), _given(arguments, ("data", *ADDRESS_FLAGS)))
    up(config, demo=arguments.demo)
    return 0


def _given(arguments: argparse.Namespace, flags: Iterable[str]) -> dict[str, str]:
    """Those of the flags that are given, with their values."""
    values = {flag: getattr(arguments, flag.replace("-", "_")) for flag in flags}
    return {flag: value for flag, value in values.items() if value is not None}


def _config_path(given: Path | None) -> Path | None:
    default = Path("spanhouse.yaml")
    return given if given is not None or not default.exists() else default


def _translate(arguments: argparse.Namespace) -> int:
    if arguments.worker is None:
        # Metrics of all processes are files of one folder; to be said before they are imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="spanhouse-metrics-")
    from spanhouse.config import load
    from spanhouse.translate import run_worker, translate

    path = _config_path(arguments.config)
    config = load(path, _given(arguments, TRANSLATE_FLAGS))
    if arguments.worker is not None:
        return run_worker(config, arguments.worker, shared=arguments.workers > 1)
    return translate(config, path, arguments.workers)


def _migrate(arguments: argparse.Namespace) -> int:
    from spanhouse.config import load
    from spanhouse.migrate import migrate
    from spanhouse.objectives import set_statements

    config = load(_config_path(arguments.config), {})
    return migrate(
        config.exporters.clickhouse, os.environ, _print,
        tenant=arguments.tenant, dry_run=arguments.dry_run, afterwards=set_statements(config),
    )  # fmt: skip


def _repair(arguments: argparse.Namespace) -> int:
    from spanhouse.config import load
    from spanhouse.repair import repair

    return repair(load(_config_path(arguments.config), {}).exporters.clickhouse, _print)


def _print(text: str) -> None:
    print(text, flush=True)


def _replay(arguments: argparse.Namespace) -> int:
    offsets = (arguments.from_offset, arguments.to_offset) != (None, None)
    times = (arguments.since, arguments.until) != (None, None)
    wrong = {
        "name one source: --dead-letters, --topic or files": (
            (bool(arguments.files), arguments.dead_letters, bool(arguments.topic)).count(True) != 1
        ),
        "--partition goes with --topic": arguments.partition is not None and not arguments.topic,
        "offsets need a --partition, and no times": offsets and (arguments.partition is None or times),
        "--since and --until are not for files": times and arguments.files,
        "--reason goes with --dead-letters": arguments.reason and not arguments.dead_letters,
    }
    for text, is_wrong in wrong.items():
        if is_wrong:
            arguments.error(text)
    # Until the command sets its own, a Ctrl-C ends the process at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from spanhouse.config import load
    from spanhouse.receivers.replay import DeadLetters, Topic, Window
    from spanhouse.receivers.replay_files import Files
    from spanhouse.replay import Source, replay

    config = load(_config_path(arguments.config), {"data": arguments.data} if arguments.data else {})
    kafka = config.receivers.kafka
    window = Window(
        arguments.partition, arguments.from_offset, arguments.to_offset, arguments.since, arguments.until
    )
    source: Source
    if arguments.files:
        source = Files(arguments.files)
    elif arguments.topic:
        source = Topic(kafka, arguments.topic, window)
    else:
        source = DeadLetters(kafka, window, arguments.reason)
    return replay(config, source, dry_run=arguments.dry_run)


def _prices(arguments: argparse.Namespace) -> int:
    if arguments.unpriced and (arguments.model or arguments.provider or arguments.at):
        arguments.error("--unpriced goes with --config and --data only")
    from spanhouse.config import load
    from spanhouse.foreground import reader_left
    from spanhouse.prices import show, unpriced

    config = load(_config_path(arguments.config), _given(arguments, ("data",)))
    try:
        if arguments.unpriced:
            return unpriced(config, _print)
        return show(config, _print, model=arguments.model, provider=arguments.provider, at=arguments.at)
    except BrokenPipeError:
        return reader_left()


def _reprice(arguments: argparse.Namespace) -> int:
    if arguments.first > arguments.last:
        arguments.error(f"--from {arguments.first} is after --to {arguments.last}")
    from spanhouse.config import load
    from spanhouse.reprice import reprice

    config = load(_config_path(arguments.config), _given(arguments, ("data",)))
    # Every step may be cut off; a Ctrl-C ends it at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return reprice(
        config,
        arguments.first,
        arguments.last,
        _print,
        dry_run=arguments.dry_run,
        agreed=lambda: arguments.yes or _agreed(),
    )


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("nobody can be asked whether to change the rows: add --yes (or --dry-run)")
    return input("change these rows? [y/N] ").strip().lower() in ("y", "yes")


def _demo(arguments: argparse.Namespace) -> int:
    from spanhouse.demo import main as demo

    return demo(
        arguments.endpoint,
        qps=arguments.qps,
        users=arguments.users,
        duration=arguments.duration,
        seed=arguments.seed,
        parent=arguments.parent,
    )


def _sql(arguments: argparse.Namespace) -> int:
    from spanhouse.config import load
    from spanhouse.sql_command import run

    query = sys.stdin.read() if arguments.query == "-" else arguments.query
    overrides = {"data": arguments.data} if arguments.data else {}
    data = load(_config_path(arguments.config), overrides).data
    # The endpoint kills a query whose client is gone. Set last, as importing polars sets a handler of its
    # own, which swallows a Ctrl-C while it does not compute.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run(
        query,
        arguments.format,
        data=data,
        url=arguments.url,
        user=arguments.user,
        password=arguments.password,
    )


def _validate(arguments: argparse.Namespace) -> int:
    from spanhouse.config import check

    problems = check(arguments.file)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{arguments.file}: valid")
    return 1 if problems else 0
