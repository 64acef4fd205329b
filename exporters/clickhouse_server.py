"""Rows into `agent_events` of a ClickHouse server, each exactly once, rollups included.

An insert carries a token; a repeated one with the same token and rows changes nothing, down the chain of
views (sql/0003_exactly_once.sql). docs/exactly-once.md has the argument and its limits.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from spanhouse import metrics, rollups
from spanhouse.cluster import DEDUPLICATION_SECONDS
from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters import native
from spanhouse.exporters.beside import split
from spanhouse.exporters.clickhouse_address import MIGRATE, Address
from spanhouse.exporters.stored import KEPT, KEPT_BESIDE, Stored
from spanhouse.rollups import Mended
from spanhouse.store import query_text, schema_version

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from spanhouse.config import ClickHouseSettings

log = logging.getLogger(__name__)

TABLE: Final = "agent_events"
# A repeated insert is harmless, so it is not waited for longer than a healthy server ever takes.
_ANSWER_SECONDS: Final = 60

# As in sql/0003_exactly_once.sql.
DEDUPLICATION_WINDOW: Final = 10_000
DEDUPLICATION_TIME: Final = timedelta(seconds=DEDUPLICATION_SECONDS)

_HEALS: Final = 3
# Pauses between the attempts to insert what came by OTLP. Most senders wait ten seconds for an answer.
_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0)
_LOOK_BACK: Final = timedelta(hours=1)

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


def insert_settings(client: Client, token: str, cluster: str) -> dict[str, Any]:
    """Settings of an insert that counts once for all that come with this token, rollups included."""
    settings = {**_INSERT_SETTINGS, "insert_deduplication_token": token}
    if cluster:
        settings |= {"distributed_foreground_insert": 1, "parallel_distributed_insert_select": 0}
    # Older servers lack some, and do by themselves what these ask for.
    known = {name: value for name, value in settings.items() if name in client.server_settings}
    return known | {"wait_end_of_query": 1}


class ClickHouseServer(Stored):
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

    @classmethod
    def of(cls, settings: ClickHouseSettings) -> ClickHouseServer:
        """The server that a configuration names."""
        return cls(settings.url, settings.database, settings.user, settings.password, settings.cluster)

    def insert(self, rows: pl.DataFrame, *, token: str, repeated: datetime | None = None) -> None:
        """Store `rows`; when it returns every row is there exactly once, and the rollups count it.

        Args:
            rows: columns of `rows.ROW` and `rows.BESIDE`. With topic, partition and offset the rows of one
                contiguous range of offsets of one partition; without them rows that came by OTLP.
            token: names these rows. With the same token come the same rows.
            repeated: since when an earlier attempt may have stored the rows or a part of them.

        Raises:
            Unavailable: it is not certain that all is stored; repeat it, with `repeated`.
        """
        if rows.is_empty():
            return
        rows, beside = split(rows)
        # First, as the spans' own rows then tell that all is there.
        for table, more in beside.items():
            self._insert_beside(more, table, token, repeated is not None)
        if repeated is None:
            self._insert(rows, token)
            return
        outrun = self._outrun(repeated)
        if outrun:
            # The server may have forgotten the token: only what is not there is inserted.
            log.warning("more inserts came since %s than ClickHouse remembers; rows are compared", repeated)
            if (rest := self.missing(rows)).height:
                self._insert(rest, f"{token} rest")
        else:
            self._insert(rows, token)
        if outrun or not self._cluster:
            self._heal(rows, token)
        started = rows["ts"]
        hours = started.filter(started > datetime.now(UTC) - KEPT).dt.truncate("1h").unique()
        with self._lock:
            self._doubtful.update(hours.dt.epoch("s").to_list())

    def _insert_beside(self, rows: pl.DataFrame, table: str, token: str, repeated: bool) -> None:
        """Insert what is not there: a sender may send spans again with others, and so with another token.

        A server without replication may say of a token that it has the rows and not have them, see `_heal`.
        """
        rows = self.without_stored(rows, table)
        if rows.is_empty():
            return
        self._insert(rows, token, table)
        for number in range(_HEALS if repeated else 0):
            rows = self.without_stored(rows.filter(pl.col("ts") > datetime.now(UTC) - KEPT_BESIDE), table)
            if rows.is_empty():
                return
            log.warning("%d rows of %s are not in %s although ClickHouse knows it", rows.height, token, table)
            self._insert(rows, f"{token} again {number}", table)

    def _heal(self, rows: pl.DataFrame, token: str) -> None:
        """Insert what is still missing.

        A server without replication notes the token before it has the rows (ClickHouse 26.9), so one that
        was killed in between says of rows it does not have that they are there.
        """
        for number in range(_HEALS):
            missing = self.missing(rows)
            if missing.is_empty():
                return
            log.warning("%d rows of %s are not there although ClickHouse knows it", missing.height, token)
            self._insert(missing, f"{token} again {number}")
        raise Unavailable(f"{self._address.name} has not all rows of {token} after {_HEALS} more inserts")

    def _insert(self, rows: pl.DataFrame, token: str, table: str = TABLE) -> None:
        with self._client() as client:
            client.raw_insert(
                table,
                [f"`{name}`" for name in native.names(rows.columns)],
                # Of bytes the client itself would send a second time when it gets no answer, and not say so.
                native.compressed(rows),
                self._settings(client, token),
                fmt="Native",
                compression="lz4",
            )

    def _settings(self, client: Client, token: str) -> dict[str, Any]:
        return insert_settings(client, token, self._cluster)

    def _outrun(self, since: datetime) -> bool:
        """Whether the server may have forgotten an insert of that time."""
        if self._cluster and datetime.now(UTC) - since > DEDUPLICATION_TIME / 2:
            return True
        # Clocks differ.
        since_ms = int((since - timedelta(minutes=1)).timestamp() * 1000)
        blocks = self.query("blocks_since", since=since_ms)["blocks"].item()
        return bool(blocks > DEDUPLICATION_WINDOW // 2)

    def check(self) -> None:
        """See that the server is there and its tables are those that this version knows.

        Raises:
            UserError: tables are missing, or of another version.
            Unavailable: the server could not be asked.
        """
        from clickhouse_connect.driver.exceptions import Error

        missing = f"{self._address.name} has no tables of spanhouse in database {self._database}: {MIGRATE}"
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
            raise UserError(f"{text}: {MIGRATE if version < known else 'install a newer one'}")

    def query(
        self, name: str, names: Mapping[str, str] = MappingProxyType({}), /, **parameters: Any
    ) -> pl.DataFrame:
        """The result of `store.query_text`."""
        with self._client() as client:
            result = pl.from_arrow(client.query_arrow(query_text(name, names), parameters=parameters))
        assert isinstance(result, pl.DataFrame)
        return result

    def run(
        self, name: str, token: str, names: Mapping[str, str] = MappingProxyType({}), /, **parameters: Any
    ) -> None:
        """Run this insert of `store.query_text`, once for all that come with this token.

        Raises:
            Unavailable: it is not certain that it was done.
        """
        with self._client() as client:
            client.command(query_text(name, names), parameters, settings=self._settings(client, token))

    def mend_rollups(self, quiet_seconds: int = rollups.QUIET_SECONDS) -> Mended:
        """Bring all rollups that are kept to agree with the rows, see `rollups.mend`.

        Raises:
            Unavailable: the server could not be asked, or refused.
        """
        now = datetime.now(UTC).timestamp()
        # To tomorrow, as clocks of senders differ.
        hours = range(int((now - KEPT.total_seconds()) // 3600 * 3600), int(now) + 86400, 3600)
        differing = self.query("calls_by_hour", hours=list(hours))["hour"].to_list()
        days = self.query("day_differences")["day"].to_list()
        return rollups.mend(self, differing, quiet_seconds, days)

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


class PipelineExporter:
    """A server as the pipeline wants it: for rows that came by OTLP, which no log has once more.

    An insert whose outcome is not known is repeated under its token, so that what the first attempt stored is
    recognised; the sender, who would send it in another batch, is told to try again only after some attempts.

    Attributes:
        problem: why the last attempt failed; '' where it did not, or the server answers again.
    """

    def __init__(self, server: ClickHouseServer) -> None:
        self._server = server
        self.problem = ""

    def insert(self, rows: pl.DataFrame) -> None:
        """Store the rows; see `pipeline.Exporter`."""
        # Nothing is told from the rows: with a token made of them, a batch that comes again after an unclear
        # answer to another process would be dropped without a look at what is there.
        token, begun, repeated = f"otlp/{uuid.uuid4()}", datetime.now(UTC), None
        for pause in (*_PAUSES_S, None):
            try:
                with metrics.INSERT_SECONDS.time():
                    self._server.insert(rows, token=token, repeated=repeated)
            except Unavailable as error:
                self.problem = str(error)
                if pause is None:
                    raise
                log.warning("trying again: %s", error)
                metrics.INSERT_RETRIES.inc()
                repeated = begun
                time.sleep(pause)
            else:
                self.problem = ""
                return

    def recent_spans(self) -> pl.DataFrame:
        """trace_id and span_id of the rows stored last."""
        return self._server.recent_spans()

    def look_again(self) -> None:
        """See whether the server is back, where nobody sends who would find out."""
        try:
            self._server.check()
        except (Unavailable, UserError) as error:
            self.problem = str(error)
        else:
            self.problem = ""
