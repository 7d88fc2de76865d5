"""Where the clinical table lies in a database, as `site.toml` says it; `sql` reads it."""

from __future__ import annotations

from pathlib import Path

from fl_liver.toml_file import Section


class SqlSource(Section):
    """`[sql]` of site.toml: the clinical table is the result of one query."""

    url_file: Path
    """One line, the URL of the connection, such as sqlite:///clinical.db or postgresql+psycopg://…; it holds a
    password, so the file is mode 0600 and the URL stands nowhere else."""
    query_file: Path
    """One SELECT that gives a row per patient, with a column patient_id."""

    def below(self, folder: Path) -> SqlSource:
        """With relative paths taken from `folder`."""
        return SqlSource(url_file=(folder / self.url_file).resolve(), query_file=(folder / self.query_file).resolve())
