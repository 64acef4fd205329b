"""The `spanhouse` command."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from spanhouse import __version__
from spanhouse.errors import UserError

ADDRESS_FLAGS = {
    "otlp-grpc": "where OTLP/gRPC is taken (default 127.0.0.1:4317)",
    "otlp-http": "where OTLP/HTTP is taken (default 127.0.0.1:4318)",
    "clickhouse-http": "where ClickHouse clients ask (default 127.0.0.1:8123)",
    "metrics": "where /metrics, /healthz and /readyz are served (default 127.0.0.1:9464)",
}


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
    up.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file (default: ./spanhouse.yaml if there is one)",
    )
    up.add_argument("--data", metavar="DIR", help="folder of the store (default ./spanhouse-data)")
    for flag, text in ADDRESS_FLAGS.items():
        up.add_argument(f"--{flag}", metavar="HOST:PORT", help=text)
    up.add_argument("--demo", action="store_true", help="feed it with a demo agent until stopped")
    up.set_defaults(run=_up)

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


# Imports are inside the commands, so that each loads only what it needs.


def _up(arguments: argparse.Namespace) -> int:
    # Until the store is opened a Ctrl-C ends the process at once, with no traceback out of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from spanhouse.config import load
    from spanhouse.up import up

    overrides = {"data": arguments.data}
    overrides |= {flag: getattr(arguments, flag.replace("-", "_")) for flag in ADDRESS_FLAGS}
    config = load(_config_path(arguments.config), {k: v for k, v in overrides.items() if v is not None})
    up(config, demo=arguments.demo)
    return 0


def _config_path(given: Path | None) -> Path | None:
    default = Path("spanhouse.yaml")
    return given if given is not None or not default.exists() else default


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
