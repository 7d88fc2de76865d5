"""Where a hospital's clinical table comes from: clinical.csv or clinical.xlsx in its data folder, or its database.

Loads neither pandas nor a driver before a table is read: `site.toml` is read by every command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fl_liver.client.cohort.table.sql_source import SqlSource
from fl_liver.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

TABLE_FILES = ("clinical.csv", "clinical.xlsx")


def table_place(data: Path, sql: SqlSource | None) -> Path:
    """The file that the clinical table is read from, or the file of its query.

    Raises:
        ConfigError: there is more than one.
        DataError: there is none.
    """
    there = [data / name for name in TABLE_FILES if (data / name).is_file()]
    if len(there) > 1 or (there and sql is not None):
        names = [one.name for one in there] + (["[sql] of site.toml"] if sql is not None else [])
        raise ConfigError(f"{data}: the clinical table comes from {' and '.join(names)}; keep one of them")
    if sql is not None:
        return sql.query_file
    if not there:
        near = sorted(one.name for one in data.glob("*") if one.name.lower().startswith("clinical.") and one.is_file())
        hint = f" (there is {', '.join(near[:3])})" if near else ""
        raise DataError(f"{data}: has no {' or '.join(TABLE_FILES)}{hint}; export one row per patient into it")
    return there[0]


def read_clinical_table(data: Path, sql: SqlSource | None = None) -> pd.DataFrame:
    """The clinical table as stripped text, "" where a value is missing; its index counts rows as their source does.

    Raises:
        ConfigError: more than one source, or [sql] is wrong.
        DataError: no source, or one that is not a table (`tables.read_table`, `sql.query_rows`).
    """
    from fl_liver.client.cohort.table.sql import query_rows
    from fl_liver.client.cohort.table.tables import read_table, table_from

    place = table_place(data, sql)
    return read_table(place) if sql is None else table_from(query_rows(sql), place)
