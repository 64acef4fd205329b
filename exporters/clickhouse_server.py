"""Rows into `agent_events` of a ClickHouse server, each exactly once, rollups included.

An insert carries a token; a repeated one with the same token and rows changes nothing, down the chain of
views (sql/0003_exactly_once.sql). docs/exactly-once.md has the argument and its limits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from spanhouse import rollups
from spanhouse.cluster import DEDUPLICATION_SECONDS
from spanhouse.errors import Unavailable, UserError
from spanhouse.rollups import Mended
from spanhouse.store import query_text, schema_version

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = logging.getLogger(__name__)

TABLE: Final = "agent_events"
_CONNECT_SECONDS: Final = 5
# A repeated insert is harmless, so it is not waited for longer than a healthy server ever takes.
_ANSWER_SECONDS: Final = 60

# As in sql/0003_exactly_once.sql.
DEDUPLICATION_WINDOW: Final = 10_000
DEDUPLICATION_TIME: Final = timedelta(seconds=DEDUPLICATION_SECONDS)

# Rows whose day may have expired meanwhile are not looked for.
_KEPT: Final = timedelta(days=88)

_HEALS: Final = 3
_LOOK_BACK: Final = timedelta(hours=1)

# Traces in one question; a parameter over 128 kB is refused by servers.
_TRACES: Final = 2_000

_INSERT_SETTINGS: Final[dict[str, Any]] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # Rows, then minutes, then hours: an insert cut off anywhere leaves a beginning of this order.
    "wait_for_part_commit_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "parallel_view_processing": 0,
    # One block of one insert, whatever the server's own settings are at the time it is repeated.
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 0,
    # A span may say that it began in any year: it must not stop the others.
    "max_partitions_per_insert_block": 0,
    # Else the answer to a long insert begins with a 200, whatever comes of it.
    "send_progress_in_http_headers": 0,
}

_MIGRATE: Final = "run `spanhouse migrate`"
# What to do about ClickHouse's error codes.
_HINTS: Final[dict[int, str]] = {
    **dict.fromkeys((192, 193, 194, 516), "check exporters.clickhouse.user and password"),
    497: f"the user lacks a right; for the translator's user {_MIGRATE} with SPANHOUSE_WRITER_PASSWORD set",
    **dict.fromkeys((16, 47, 60, 81), f"tables are missing or old, {_MIGRATE}"),
    252: "its merges do not keep up: raise receivers.kafka.batch_spans and batch_seconds",
    **dict.fromkeys((173, 241), "give it more memory, or lower receivers.kafka.batch_spans"),
    243: "free space on its disk",
    **dict.fromkeys((164, 242), "it takes no writes now; see its log and its connection to Keeper"),
    **dict.fromkeys((202, 209, 159), "it is overloaded"),
    **dict.fromkeys((279, 285, 319, 999), "a shard, a replica or Keeper is away"),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and whom to connect as.

    Attributes:
        name: what messages call the server.
    """

    name: str
    _options: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str, user: str, password: str) -> Address:
        """From exporters.clickhouse; an empty user is ClickHouse's `default`.

        Raises:
            UserError: `url` is not one of HTTP.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"exporters.clickhouse.url: expected e.g. http://clickhouse:8123, not {url!r}")
        options = {
            "interface": parts.scheme,
            "host": parts.hostname,
            "port": parts.port or (8443 if parts.scheme == "https" else 8123),
            "proxy_path": parts.path,
            "username": user or "default",
            "password": password,
        }
        return cls(f"ClickHouse at {parts.scheme}://{parts.hostname}:{options['port']}", options)

    def client(self, seconds: int, database: str | None = None) -> Client:
        """A connection; an answer is waited for so many seconds."""
        import clickhouse_connect  # 0.1 s that a start need not wait for

        return clickhouse_connect.get_client(
            **self._options,
            database=database,
            connect_timeout=_CONNECT_SECONDS,
            send_receive_timeout=seconds,
            query_retries=0,
            autogenerate_session_id=False,
            form_encode_query_params=True,
            dedicated_pool=True,
            client_name="spanhouse",
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Errors of a client, or of making one, become Unavailable."""
        from clickhouse_connect.driver.exceptions import ClickHouseError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (ClickHouseError, HTTPError, OSError) as error:
            code = getattr(error, "code", None)
            text = " ".join(str(error).split())[:1000]
            if code is None:
                raise Unavailable(f"{self.name} does not answer: {text}") from error
            raise Unavailable(f"{self.name} refused ({_HINTS.get(code, 'see its log')}): {text}") from error


class ClickHouseServer:
    """A ClickHouse server over HTTP. Any number of threads; each has a connection of its own.

    With `cluster` the tables are the Distributed ones over the replicated tables of that cluster.
    """

    def __init__(self, url: str, database: str, user: str, password: str, cluster: str = "") -> None:
        self._address = Address.parse(url, user, password)
        self._database = database
        self._cluster = cluster
        self._local = threading.local()
        self._clients: list[Client] = []
        # Hours (unix seconds of their starts) whose rollups may differ from the rows.
        self._doubtful: set[int] = set()
        self._looked_back = False
        self._lock = threading.Lock()

    def insert(self, table: pa.Table, *, token: str, repeated: datetime | None = None) -> None:
        """Store `table`; when it returns every row is there exactly once, and the rollups count it.

        Args:
            table: columns of `agent_events`, with topic, partition and offset; the rows of one contiguous
                range of offsets of one partition.
            token: names these rows. With the same token come the same rows.
            repeated: since when an earlier attempt may have stored the rows or a part of them.

        Raises:
            Unavailable: it is not certain that all is stored; repeat it, with `repeated`.
        """
        if table.num_rows == 0:
            return
        if repeated is None:
            self._insert(table, token)
            return
        outrun = self._outrun(repeated)
        if outrun:
            # The server may have forgotten the token: only what is not there is inserted.
            log.warning("more inserts came since %s than ClickHouse remembers; rows are compared", repeated)
            if (rest := self._missing(table)).num_rows:
                self._insert(rest, f"{token} rest")
        else:
            self._insert(table, token)
        if outrun or not self._cluster:
            self._heal(table, token)
        started = pl.Series(table["ts"])
        hours = started.filter(started > datetime.now(UTC) - _KEPT).dt.truncate("1h").unique()
        with self._lock:
            self._doubtful.update(hours.dt.epoch("s").to_list())

    def _heal(self, table: pa.Table, token: str) -> None:
        """Insert what is still missing.

        A server without replication notes the token before it has the rows (ClickHouse 26.9), so one that
        was killed in between says of rows it does not have that they are there.
        """
        for number in range(_HEALS):
            missing = self._missing(table)
            if not missing.num_rows:
                return
            log.warning("%d rows of %s are not there although ClickHouse knows it", missing.num_rows, token)
            self._insert(missing, f"{token} again {number}")
        raise Unavailable(f"{self._address.name} has not all rows of {token} after {_HEALS} more inserts")

    def _insert(self, table: pa.Table, token: str) -> None:
        with self._client() as client:
            client.raw_insert(
                TABLE,
                [f"`{name}`" for name in table.column_names],
                # Of bytes the client itself would send a second time when it gets no answer, and not say so.
                (data for data in (_arrow_stream(table),)),
                self._settings(client, token),
                fmt="ArrowStream",
            )

    def _settings(self, client: Client, token: str) -> dict[str, Any]:
        settings = {**_INSERT_SETTINGS, "insert_deduplication_token": token}
        if self._cluster:
            settings |= {"distributed_foreground_insert": 1, "parallel_distributed_insert_select": 0}
        # Older servers lack some, and do by themselves what these ask for.
        known = {name: value for name, value in settings.items() if name in client.server_settings}
        return known | {"wait_end_of_query": 1}

    def _outrun(self, since: datetime) -> bool:
        """Whether the server may have forgotten an insert of that time."""
        if self._cluster and datetime.now(UTC) - since > DEDUPLICATION_TIME / 2:
            return True
        # Clocks differ.
        since_ms = int((since - timedelta(minutes=1)).timestamp() * 1000)
        blocks = self.query("blocks_since", since=since_ms)["blocks"].item()
        return bool(blocks > DEDUPLICATION_WINDOW // 2)

    def _missing(self, table: pa.Table) -> pa.Table:
        """The rows of `table` that are not stored."""
        keys = pl.DataFrame(
            {name: pl.Series(table[name]).rename(name) for name in ("trace_id", "span_id", "offset", "ts")}
        ).with_row_index("row")
        keys = keys.with_columns(number=pl.int_range(pl.len()).over("trace_id", "span_id", "offset"))
        keys = keys.filter(pl.col("ts") > datetime.now(UTC) - _KEPT)
        if keys.is_empty():
            return table.slice(0, 0)
        nanoseconds = keys["ts"].dt.epoch("ns")
        stored = self.query(
            "rows_of_offsets",
            topic=table["topic"][0].as_py(),
            partition=table["partition"][0].as_py(),
            first=keys["offset"].min(),
            last=keys["offset"].max(),
            earliest=nanoseconds.min(),
            latest=nanoseconds.max(),
        )
        joined = keys.join(stored, on=["trace_id", "span_id", "offset"], how="left", maintain_order="left")
        missing = joined.filter(pl.col("number") >= pl.col("rows").fill_null(0))
        return table.take(missing["row"].to_arrow())

    def spans(self, topic: str, partition: int, before: int, limit: int) -> pl.DataFrame:
        """trace_id and span_id of the rows of a partition below offset `before`, the last `limit` of them.

        Raises:
            Unavailable: the server could not be asked.
        """
        lowest = max(before - limit, 0)
        return self.query(
            "recent_spans", topic=topic, partition=partition, before=before, lowest=lowest, limit=limit
        )

    def existing(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Which of the spans `keys` (trace_id, span_id, ts) are stored: their trace_id and span_id.

        Raises:
            Unavailable: the server could not be asked.
        """
        ids = ["trace_id", "span_id"]
        found = [pl.DataFrame(schema=dict.fromkeys(ids, pl.String))]
        for part in keys.sort("ts").iter_slices(_TRACES):
            nanoseconds = part["ts"].dt.epoch("ns")
            stored = self.query(
                "stored_spans",
                traces=part["trace_id"].unique().to_list(),
                earliest=nanoseconds.min(),
                latest=nanoseconds.max(),
            )
            found.append(part.select(ids).join(stored, on=ids, how="semi"))
        return pl.concat(found).unique()

    def check(self) -> None:
        """See that the server is there and its tables are those that this version knows.

        Raises:
            UserError: tables are missing, or of another version.
            Unavailable: the server could not be asked.
        """
        from clickhouse_connect.driver.exceptions import Error

        missing = f"{self._address.name} has no tables of spanhouse in database {self._database}: {_MIGRATE}"
        try:
            with self._client() as client:
                found = client.command("SELECT max(version) FROM schema_versions")
        except Unavailable as error:
            if isinstance(error.__cause__, Error) and error.__cause__.code in (60, 81):
                raise UserError(missing) from error
            raise
        version, known = int(str(found)), schema_version()
        text = f"{self._address.name} has tables of version {version}, this spanhouse knows {known}"
        if version != known:
            raise UserError(f"{text}: {_MIGRATE if version < known else 'install a newer one'}")

    def query(self, name: str, **parameters: Any) -> pl.DataFrame:
        """The result of `sql/queries/<name>.sql`.

        Raises:
            Unavailable: the server could not be asked.
        """
        with self._client() as client:
            result = pl.from_arrow(client.query_arrow(query_text(name), parameters=parameters))
        assert isinstance(result, pl.DataFrame)
        return result

    def run(self, name: str, token: str, **parameters: Any) -> None:
        """Run the insert `sql/queries/<name>.sql`, once for all that come with this token.

        Raises:
            Unavailable: it is not certain that it was done.
        """
        with self._client() as client:
            client.command(query_text(name), parameters, settings=self._settings(client, token))

    def mend_rollups(self, quiet_seconds: int = rollups.QUIET_SECONDS) -> Mended:
        """Bring all rollups that are kept to agree with the rows, see `rollups.mend`.

        Raises:
            Unavailable: the server could not be asked, or refused.
        """
        now = datetime.now(UTC).timestamp()
        # To tomorrow, as clocks of senders differ.
        hours = range(int((now - _KEPT.total_seconds()) // 3600 * 3600), int(now) + 86400, 3600)
        differing = self.query("calls_by_hour", hours=list(hours))["hour"].to_list()
        return rollups.mend(self, differing, quiet_seconds)

    def keep_rollups(self, quiet_seconds: int = rollups.QUIET_SECONDS) -> Mended:
        """The same for the hours of inserts that were repeated, until they agree.

        To be called now and then: it costs nothing where nothing is in doubt. The first call looks at the
        hours of the last hour's rows, for a process that was killed took its doubts with it.

        Raises:
            Unavailable: the server could not be asked, or refused.
        """
        if not self._looked_back:
            since = datetime.now(UTC) - _LOOK_BACK
            found = self.query("hours_since", since=int(since.timestamp() * 1000))
            with self._lock:
                self._doubtful.update(found["hour"].to_list())
            self._looked_back = True
        with self._lock:
            hours = sorted(self._doubtful)
        if not hours:
            return Mended(0, 0)
        differing = self.query("calls_by_hour", hours=hours)["hour"].to_list()
        mended = rollups.mend(self, differing, quiet_seconds)
        with self._lock:
            self._doubtful.difference_update(set(hours) - set(differing))
        return mended

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    @contextmanager
    def _client(self) -> Iterator[Client]:
        """This thread's connection; its errors become Unavailable."""
        with self._address.errors():
            if (client := getattr(self._local, "client", None)) is None:
                self._local.client = client = self._address.client(_ANSWER_SECONDS, self._database)
                with self._lock:
                    self._clients.append(client)
            yield client


def _arrow_stream(table: pa.Table) -> bytes:
    """One record batch, compressed column by column: a seventh of the bytes, and faster than without."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data
