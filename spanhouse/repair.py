"""`spanhouse repair`: rollups of a ClickHouse server that do not count their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters.clickhouse_server import ClickHouseServer
from spanhouse.rollups import QUIET_SECONDS

if TYPE_CHECKING:
    from spanhouse.config import ClickHouseSettings


def repair(
    settings: ClickHouseSettings, say: Callable[[str], None], *, quiet_seconds: int = QUIET_SECONDS
) -> int:
    """Compare all rollups with the rows and mend what differs; safe while translators run.

    Returns:
        The exit code: 1 if something differs into which rows came in the last `quiet_seconds`.

    Raises:
        UserError: the server is away or refuses, or its tables are of another version.
    """
    server = ClickHouseServer.of(settings)
    try:
        server.check()
        done = server.mend_rollups(quiet_seconds)
    except Unavailable as error:
        raise UserError(str(error)) from error
    finally:
        server.close()
    say(f"minutes, hours and days of the rollups that did not count their rows, now mended: {done.periods}")
    if done.waiting:
        say(f"{done.waiting} more differ, but rows came into them just now; run this again in some minutes")
    return 1 if done.waiting else 0
