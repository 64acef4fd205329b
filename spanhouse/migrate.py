"""`spanhouse migrate`: the statements of sql/ on a ClickHouse server or cluster.

The numbered files are those of the embedded store. Which of them have been applied stands in the table
`schema_versions`. Every statement can be repeated: a migration cut off in the middle is finished next time,
two at once do no harm, and on a cluster all are repeated, so that a new node gets its tables. Users, roles
and policies (sql/server/) are made when a password for one of them is given.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from spanhouse.cluster import Cluster
from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters.clickhouse_address import Address
from spanhouse.store import ROLLUPS_SINCE, SQL, migrations, plain, schema_version, statements

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from spanhouse.config import ClickHouseSettings

# Environment variables with passwords; the users are <database>_writer and <database>_reader.
PASSWORDS: Final = {"writer": "SPANHOUSE_WRITER_PASSWORD", "reader": "SPANHOUSE_READER_PASSWORD"}
TENANT_PASSWORD: Final = "SPANHOUSE_TENANT_PASSWORD"

# Somebody else is at the same object; the statement can be repeated.
_BUSY: Final = frozenset({57, 60, 82, 493, 517})
_TRIES: Final = 10
_WAIT_S: Final = 0.5
_DDL_SECONDS: Final = 300


def migrate(
    settings: ClickHouseSettings,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    *,
    tenant: str = "",
    dry_run: bool = False,
    afterwards: Sequence[str] = (),
) -> int:
    """Bring the server's tables and users up to date; returns the exit code.

    Args:
        settings: exporters.clickhouse: whom to connect as (who may create tables and users), to which
            server, database and cluster.
        environ: the environment with the users' passwords (PASSWORDS, TENANT_PASSWORD).
        say: prints a line or statement.
        tenant: also make the user `<database>_tenant_<tenant>`, who sees rows of that tenant_id only.
        dry_run: change nothing, say the statements.
        afterwards: statements for when the tables are there: `objectives.set_statements`.

    Raises:
        UserError: the server is away or refuses, or the tables are of a newer spanhouse.
    """
    if not settings.url:
        raise UserError("exporters.clickhouse.url is not set; name the server, e.g. http://clickhouse:8123")
    if tenant and not re.fullmatch(r"[\w.@-]{1,64}", tenant):
        raise UserError(f"--tenant {tenant}: expected up to 64 letters, digits, and . _ @ -")
    if tenant and not environ.get(TENANT_PASSWORD):
        raise UserError(f"--tenant {tenant}: give the password of its user in {TENANT_PASSWORD}")
    if settings.cluster and not re.fullmatch(r"[\w.-]+", settings.cluster):
        raise UserError(f"exporters.clickhouse.cluster: {settings.cluster} is not the name of a cluster")
    address = Address.parse(settings.url, settings.user, settings.password)
    cluster = Cluster(settings.cluster, settings.database) if settings.cluster else None
    try:
        with address.errors(), address.client(_DDL_SECONDS) as client:
            # The database may not be there yet.
            done = _applied(client, settings.database)
            if done is None or cluster:
                create = f"CREATE DATABASE IF NOT EXISTS {settings.database}"
                _run(client, cluster.create_database() if cluster else create, say, dry_run=dry_run)
            if not dry_run:
                client.database = settings.database
            _tables(client, settings.database, done or set(), cluster, say, dry_run=dry_run)
            for statement in afterwards:
                _run(client, plain(statement), say, dry_run=dry_run)
            access = list(access_statements(settings.database, environ, tenant))
            for statement, shown in access:
                for one, text in zip(_variant(statement, cluster), _variant(shown, cluster), strict=True):
                    _run(client, one, say, dry_run=dry_run, shown=text)
    except Unavailable as error:
        raise UserError(str(error)) from error
    if not access:
        names = " and ".join(PASSWORDS.values())
        say(f"-- no users were made: set {names} to have them")
    elif not dry_run:
        say("users, roles, limits and row policies are as they should be")
    return 0


def _applied(client: Client, database: str) -> set[int] | None:
    """Versions that have been applied; None without a database.

    Raises:
        UserError: there is one that this spanhouse does not know.
    """
    found = f"SELECT count() FROM system.databases WHERE name = '{database}'"
    if not int(str(client.command(found, use_database=False))):
        return None
    table = f"SELECT count() FROM system.tables WHERE database = '{database}' AND name = 'schema_versions'"
    if not int(str(client.command(table, use_database=False))):
        return set()
    rows = client.query(f"SELECT version FROM {database}.schema_versions").result_rows
    done = {int(row[0]) for row in rows}
    newest, known = max(done, default=0), schema_version()
    if newest > known:
        raise UserError(
            f"the tables were made by a newer spanhouse (schema {newest}, this one knows {known}); "
            "install that version or newer"
        )
    return done


def _tables(
    client: Client,
    database: str,
    done: set[int],
    cluster: Cluster | None,
    say: Callable[[str], None],
    *,
    dry_run: bool,
) -> None:
    for version, name, text in migrations():
        if version in done and not cluster:
            continue
        if version == 0 and done and not cluster:
            continue  # it makes the table that `done` is from
        say(f"-- {version:04} {name}" if dry_run else f"applying {version:04} {name}")
        for statement in statements(text):
            for one in _variant(plain(statement), cluster):
                _run(client, one, say, dry_run=dry_run)
        if version and version not in done:
            note = f"INSERT INTO {database}.schema_versions (version, name) SELECT {version}, '{name}'"
            _run(client, note, say, dry_run=dry_run)
    if not dry_run:
        say(f"tables of database {database} are at version {schema_version()}")
        if done and max(done) < ROLLUPS_SINCE:
            say("rollups of earlier rows lack days and percentiles: run `spanhouse repair`")


def access_statements(
    database: str, environ: Mapping[str, str], tenant: str = ""
) -> Iterator[tuple[str, str]]:
    """(statement, the same without secrets) for the users that have a password; none without any."""
    users = {name: password for name, key in PASSWORDS.items() if (password := environ.get(key))}
    if not users and not tenant:
        return
    yield from ((text, text) for text in _file("access", database, {}))
    for name, password in users.items():
        yield from _user(name, database, f"{database}_{name}", password, {})
    if tenant:
        user = f"{database}_tenant_{tenant}"
        values = {"user": f"`{user}`", "tenant": f"'{tenant}'"}
        yield from _user("tenant", database, user, environ[TENANT_PASSWORD], values)


def _user(
    file: str, database: str, user: str, password: str, values: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """A hash instead of the password, so that it is in no log; with a salt that differs from user to user."""
    salt = hashlib.sha256(f"spanhouse {user}".encode()).hexdigest()[:32]
    hashed = hashlib.sha256(f"{password}{salt}".encode()).hexdigest()
    real = _file(file, database, {**values, "hash": f"'{hashed}'", "salt": f"'{salt}'"})
    shown = _file(file, database, {**values, "hash": "'***'", "salt": "'***'"})
    yield from zip(real, shown, strict=True)


def _file(name: str, database: str, values: Mapping[str, str]) -> list[str]:
    text = (SQL / "server" / f"{name}.sql").read_text()
    named = [re.sub(r"\bspanhouse_", f"{database}_", plain(statement)) for statement in statements(text)]
    return [re.sub(r"\{(\w+)\}", lambda found: values[found[1]], statement) for statement in named]


def _variant(statement: str, cluster: Cluster | None) -> list[str]:
    return cluster.rewrite(statement) if cluster else [statement]


def _run(
    client: Client, statement: str, say: Callable[[str], None], *, dry_run: bool, shown: str | None = None
) -> None:
    if dry_run:
        say(f"{shown or statement};\n")
        return
    from clickhouse_connect.driver.exceptions import Error

    for left in reversed(range(_TRIES)):
        try:
            client.command(statement)
            return
        except Error as error:
            if error.code not in _BUSY or not left:
                raise
        time.sleep(_WAIT_S)
