"""The clinical table from a database: only read, nothing of the URL or of a row in any error."""

from __future__ import annotations

import builtins
import datetime
import sqlite3
import uuid
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table import sql
from fl_liver.client.cohort.table.clinical import clinical_from
from fl_liver.client.cohort.table.rows import cell_text
from fl_liver.client.cohort.table.source import read_clinical_table
from fl_liver.client.cohort.table.sql import one_select
from fl_liver.client.cohort.table.sql_source import SqlSource
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study

COLUMNS = "patient_id TEXT, malignant INTEGER, age_years TEXT, sex TEXT, afp_ng_ml REAL, background TEXT, size_mm REAL"
ROWS = [("0012", 1, "062Y", "M", 250.5, "fibrosis", 31.0), ("P1", 0, "59", "F", None, "normal", None)]


@pytest.fixture
def source(tmp_path: Path) -> SqlSource:
    """A hospital's SQLite database `db ä%20.sqlite`, beside it the files of its URL and query."""
    with closing(sqlite3.connect(tmp_path / "db ä%20.sqlite")) as connection, connection:
        connection.execute(f"CREATE TABLE liver ({COLUMNS})")
        connection.executemany("INSERT INTO liver VALUES (?,?,?,?,?,?,?)", ROWS)
    (tmp_path / "plain.sqlite").hardlink_to(tmp_path / "db ä%20.sqlite")
    return made(tmp_path, "sqlite:///db ä%20.sqlite", "SELECT * FROM liver;")


def made(folder: Path, url: str, query: str) -> SqlSource:
    (folder / "db.url").write_text(url + "\n", encoding="utf-8")
    (folder / "db.url").chmod(0o600)
    (folder / "query.sql").write_text(query, encoding="utf-8")
    return SqlSource(url_file=folder / "db.url", query_file=folder / "query.sql")


def test_a_query_gives_the_clinical_table(tmp_path: Path, source: SqlSource, study: Study, names: Pseudonyms) -> None:
    table = read_clinical_table(tmp_path, source)
    assert table["patient_id"].tolist() == ["0012", "P1"]
    # pandas.read_sql would make numbers of these, and 31 of 31.0 with a gap.
    assert table["size_mm"].tolist() == ["31", ""]
    assert table.index.tolist() == [1, 2]
    found = clinical_from(table, study, names, source.query_file)
    assert found.ids == ("0012", "P1")
    np.testing.assert_array_equal(found.factors, [[1, 1, 1], [0, 0, 0]])
    assert found.findings == ()


def test_sqlalchemy_reads_the_same_and_writes_nothing(tmp_path: Path, source: SqlSource) -> None:
    """The way to every other database, tried on SQLite's other driver name; a % in the query is its own."""
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    query = "SELECT * FROM liver WHERE sex LIKE '%' AND sex <> ':x' ORDER BY rowid"
    other = made(tmp_path, f"sqlite+pysqlite:///{tmp_path}/plain.sqlite", query)
    first = read_clinical_table(tmp_path, other)
    assert first["patient_id"].tolist() == ["0012", "P1"]
    assert first["size_mm"].tolist() == ["31", ""]


@pytest.mark.parametrize("url", ["sqlite:///db ä%20.sqlite", "sqlite+pysqlite:///{folder}/plain.sqlite"])
def test_a_statement_that_writes_is_stopped_by_the_connection(
    tmp_path: Path, source: SqlSource, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Even if the look at the query had missed it."""
    monkeypatch.setattr(sql, "one_select", lambda text, _: text)
    query = "INSERT INTO liver (patient_id) VALUES ('Anna') RETURNING patient_id"
    with pytest.raises(DataError, match=r"query.sql: the database did not answer the query \(OperationalError\)"):
        read_clinical_table(tmp_path, made(tmp_path, url.format(folder=tmp_path), query))
    with closing(sqlite3.connect(tmp_path / "db ä%20.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM liver").fetchone() == (2,)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"did not answer the query \(OperationalError\); try both with its own command"
    ):
        read_clinical_table(tmp_path, made(tmp_path, "sqlite:///nobody.sqlite", "SELECT 1"))
    assert not (tmp_path / "nobody.sqlite").exists()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("DELETE FROM liver", "query.sql: begins with 'delete', wanted one SELECT"),
        ("PRAGMA writable_schema = 1", "begins with 'pragma'"),
        ("-- nothing", "begins with ''"),
        ("SELECT 1; DROP TABLE liver", "holds more than one statement"),
        ("SELECT 1 ;; ", "holds more than one statement"),
        (
            "WITH x AS (DELETE FROM liver RETURNING *) SELECT * FROM x",
            "says DELETE, wanted a SELECT that writes",
        ),
        ("SELECT * INTO other FROM liver", "says INTO"),
        ("SELECT * FROM liver FOR UPDATE", "says UPDATE"),
        ("SELECT 1 /* ; drop", "a quotation mark or comment is not closed"),
        ("SELECT 'a", "a quotation mark or comment is not closed"),
        (r"SELECT 'a\'; DROP TABLE liver --'", r"or escaped by \\; write '' for a quote"),
        (r"SELECT 'a\''", r"or escaped by \\; write '' for a quote"),
    ],
)
def test_what_is_not_one_select_is_refused(tmp_path: Path, query: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_clinical_table(tmp_path, made(tmp_path, "sqlite:///x", query))


@pytest.mark.parametrize(
    "query",
    [
        "select 1",
        "SELECT 1;",
        "SELECT 1; -- every patient",
        "/* of 2024; */ SELECT 'it''s; DROP' AS \"update\", `set` FROM x -- delete; this",
        "WITH x AS (SELECT 1) SELECT replace(a, ',', '.'), last_update, insert2 FROM x",
    ],
)
def test_one_select_however_written_is_taken(query: str) -> None:
    assert one_select(query, Path("q")) == query.removesuffix(";")


def test_a_url_that_others_may_read_is_refused(source: SqlSource) -> None:
    source.url_file.chmod(0o640)
    with pytest.raises(ConfigError, match=r"db.url: others than its owner may read it; run `chmod 600` on it"):
        read_clinical_table(source.url_file.parent, source)


def test_files_that_are_not_there_empty_or_too_long_are_refused(tmp_path: Path) -> None:
    absent = SqlSource(url_file=tmp_path / "no.url", query_file=tmp_path / "no.sql")
    with pytest.raises(ConfigError, match=r"no.url: cannot be read \(FileNotFoundError\); correct \[sql\]"):
        read_clinical_table(tmp_path, absent)
    with pytest.raises(ConfigError, match=r"db.url: 0 characters; wanted one line with the URL"):
        read_clinical_table(tmp_path, made(tmp_path, "", "SELECT 1"))
    with pytest.raises(ConfigError, match=r"db.url: 9 characters; wanted one line with the URL"):
        read_clinical_table(tmp_path, made(tmp_path, "two\nlines", "SELECT 1"))
    with pytest.raises(ConfigError, match=r"query.sql: 65537 characters; wanted one SELECT, at most 65536"):
        read_clinical_table(tmp_path, made(tmp_path, "sqlite:///x", "SELECT " + "1" * 70_000))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("Geheim:Ziegenpeter@host", r"db.url: not the URL of a connection \(ArgumentError\)"),
        ("oracle2://Ziegenpeter@host/x", r"db.url: not the URL of a connection \(NoSuchModuleError\)"),
        ("postgresql+asyncpg9://Ziegenpeter@host/x", r"db.url: not the URL of a connection"),
        ("mssql+pymssql://Ziegenpeter:geheim@host/x", r"db.url: the database's driver 'pymssql' is not installed"),
    ],
)
def test_a_wrong_url_is_refused_without_being_quoted(tmp_path: Path, url: str, message: str) -> None:
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    with pytest.raises(ConfigError, match=message) as caught:
        read_clinical_table(tmp_path, made(tmp_path, url, "SELECT 1"))
    assert "Ziegenpeter" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_sqlalchemy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("sqlalchemy"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"databases other than SQLite want SQLAlchemy; install fl_liver\[sql\]"):
        read_clinical_table(tmp_path, made(tmp_path, "postgresql://host/x", "SELECT 1"))


def test_a_result_that_is_no_table_of_patients_is_refused(
    tmp_path: Path, source: SqlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = tmp_path, source.url_file.read_text().strip()
    with pytest.raises(DataError, match=r"query.sql: column 'photo' holds values of type bytes; cast them to text"):
        read_clinical_table(folder, made(folder, url, "SELECT patient_id, x'00ff' AS photo FROM liver"))
    with pytest.raises(DataError, match=r"query.sql: more than one column is called 'sex'"):
        read_clinical_table(folder, made(folder, url, "SELECT patient_id, sex, sex FROM liver"))
    with pytest.raises(DataError, match=r"query.sql: has no rows"):
        read_clinical_table(folder, made(folder, url, "SELECT * FROM liver WHERE 0"))
    with pytest.raises(DataError, match=r"did not answer the query \(OperationalError\)") as caught:
        read_clinical_table(folder, made(folder, url, "SELECT ziegenpeter FROM liver"))
    assert "ziegenpeter" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    monkeypatch.setattr(sql, "MOST_ROWS", 1)
    with pytest.raises(DataError, match=r"query.sql: gives more than 1 rows"):
        read_clinical_table(folder, made(folder, url, "SELECT * FROM liver"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("0012", "0012"),
        (62, "62"),
        (62.0, "62"),
        (0.1, "0.1"),
        (float("nan"), "nan"),
        (Decimal("3.50"), "3.50"),
        (Decimal("1E+3"), "1000"),
        (True, "True"),
        (datetime.date(2020, 1, 5), "2020-01-05"),
        (datetime.datetime(2020, 1, 5), "2020-01-05"),
        (datetime.datetime(2020, 1, 5, 13, 30, 0, 5), "2020-01-05 13:30:00"),
        (datetime.time(13, 30), "13:30:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_of_a_driver_is_its_text(value: object, text: str) -> None:
    assert cell_text(value) == text
