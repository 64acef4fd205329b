"""Where a ClickHouse server is, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from spanhouse.errors import Unavailable, UserError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_CONNECT_SECONDS: Final = 5

MIGRATE: Final = "run `spanhouse migrate`"
# What to do about ClickHouse's error codes.
_HINTS: Final[dict[int, str]] = {
    **dict.fromkeys((192, 193, 194, 516), "check exporters.clickhouse.user and password"),
    497: f"the user lacks a right; for the translator's user {MIGRATE} with SPANHOUSE_WRITER_PASSWORD set",
    **dict.fromkeys((16, 47, 60, 81), f"tables are missing or old, {MIGRATE}"),
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
