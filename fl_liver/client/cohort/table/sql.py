"""One SELECT of a hospital's database as rows of text; the database is only read.

Three guards, none of them against the hospital's own administrator: the query must be a single SELECT, the connection
is opened read-only where the database has such a thing, and the account should have no other right.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.table.rows import MOST_ROWS, Rows, cell_text
from fl_liver.client.cohort.table.sql_source import SqlSource
from fl_liver.errors import ConfigError, DataError

_SQLITE = "sqlite:///"
_MOST_TEXT = 65_536
_WAIT_S = 10.0
_NO_CODE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.DOTALL)
_WRITES = frozenset(
    {"insert", "update", "delete", "merge", "into", "create", "alter", "drop", "truncate", "grant", "revoke", "call"}
    | {"exec", "execute", "copy", "attach", "pragma", "vacuum", "set", "begin", "commit", "lock"}
)
_READ_ONLY = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET TRANSACTION READ ONLY",
    "mariadb": "SET TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}
"""Others (SQL Server) have no such statement: there the account's own rights are the guard."""


def query_rows(source: SqlSource) -> Rows:
    """The query's result, names of its columns as row 0.

    Cells are taken from the driver as they are, not through `pandas.read_sql`, which makes 62 of a column with a gap
    62.0.

    Raises:
        ConfigError: a file that is not there or that others may read, a query that is not one SELECT, a URL or driver
            that is wrong.
        DataError: the database refused, or a column holds what is no text. Neither quotes the URL or a cell.
    """
    url = _read(source.url_file, secret=True)
    query = one_select(_read(source.query_file, secret=False), source.query_file)
    if url.startswith(_SQLITE):
        names, found = _from_sqlite(source.url_file.parent / url.removeprefix(_SQLITE), query, source)
    else:
        names, found = _from_sqlalchemy(url, query, source)
    if len(found) > MOST_ROWS:
        raise DataError(f"{source.query_file}: gives more than {MOST_ROWS} rows; wanted one row per patient")
    return [(0, names), *((number, _texts(row, names, source)) for number, row in enumerate(found, start=1))]


def one_select(text: str, where: Path) -> str:
    """`text` without the semicolon at its end.

    Raises:
        ConfigError: not one statement that begins with SELECT or WITH and writes nothing.
    """
    query = text.strip()
    code = _NO_CODE.sub(" ", query).strip().removesuffix(";")
    words = re.findall(r"\w+", code.lower())
    wrong = sorted(_WRITES.intersection(words))
    if not words or words[0] not in ("select", "with"):
        raise ConfigError(f"{where}: begins with '{words[0][:20] if words else ''}', wanted one SELECT (or WITH …)")
    if re.search(r"['\"`]|/\*", code) or "\\'" in query:
        raise ConfigError(f"{where}: a quotation mark or comment is not closed, or escaped by \\; write '' for a quote")
    if ";" in code:
        raise ConfigError(f"{where}: holds more than one statement, wanted one SELECT")
    if wrong:
        raise ConfigError(f"{where}: says {', '.join(wrong).upper()}, wanted a SELECT that writes nothing")
    return query.removesuffix(";")


def _read(path: Path, *, secret: bool) -> str:
    try:
        if secret and path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others than its owner may read it; run `chmod 600` on it")
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_TEXT + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); correct [sql] in site.toml") from None
    if not text or len(text) > _MOST_TEXT or (secret and len(text.splitlines()) > 1):
        what = "one line with the URL of a connection" if secret else f"one SELECT, at most {_MOST_TEXT} characters"
        raise ConfigError(f"{path}: {counted(len(text), 'character')}; wanted {what}")
    return text


def _from_sqlite(path: Path, query: str, source: SqlSource) -> tuple[list[str], Sequence[Sequence[Any]]]:
    """With Python's own driver. A relative path is taken from the folder of the URL's file."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)) as connection:
            cursor = connection.execute(query)
            return [column[0] for column in cursor.description], cursor.fetchmany(MOST_ROWS + 1)
    except sqlite3.Error as error:
        raise _refused(source, error) from None


def _from_sqlalchemy(url: str, query: str, source: SqlSource) -> tuple[list[str], Sequence[Sequence[Any]]]:
    try:
        import sqlalchemy
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise ConfigError(
            f"{source.url_file}: databases other than SQLite want SQLAlchemy; install fl_liver[sql]"
        ) from None
    try:
        engine = sqlalchemy.create_engine(url, poolclass=NullPool, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{source.url_file}: the database's driver '{error.name}' is not installed") from None
    except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        raise ConfigError(
            f"{source.url_file}: not the URL of a connection ({type(error).__name__}); wanted, for example,"
            " postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
        ) from None
    try:
        with engine.connect() as connection:
            if engine.dialect.name in _READ_ONLY:
                connection.exec_driver_sql(_READ_ONLY[engine.dialect.name])
            # Without parameters a driver leaves the % of a LIKE alone.
            result = connection.execution_options(no_parameters=True).exec_driver_sql(query)
            return list(result.keys()), result.fetchmany(MOST_ROWS + 1)
    except Exception as error:
        # Drivers raise errors of their own besides SQLAlchemy's; their texts quote hosts, accounts and rows.
        raise _refused(source, error) from None


def _refused(source: SqlSource, error: Exception) -> DataError:
    kind = type(getattr(error, "orig", None) or error).__name__
    return DataError(
        f"{source.query_file}: the database did not answer the query ({kind}); try both with its own command line"
    )


def _texts(row: Sequence[Any], names: list[str], source: SqlSource) -> list[str]:
    texts: list[str] = []
    for name, value in zip(names, row, strict=True):
        try:
            texts.append(cell_text(value))
        except TypeError as error:
            raise DataError(
                f"{source.query_file}: column '{name:.40}' holds values of type {error}; cast them to text or numbers"
            ) from None
    return texts
