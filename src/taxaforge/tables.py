"""Tables with a contract: columns, units and key written once, checked at writing and at reading."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic

TYPES = {"string": str, "int64": int, "float64": float, "bool": bool, "list<double>": list}


class BrokenContract(TaxaforgeError):
    """A table is not what its schema says."""


@dataclass(frozen=True)
class Column:
    """type: a key of TYPES. about: meaning and unit. nullable: may a row have no value?"""

    type: str
    about: str
    nullable: bool = False


@dataclass(frozen=True)
class Schema:
    """A table of the workflow. Rows may have more columns than named here, never fewer.

    name: as in docs/data.md. key: the columns whose values identify a row.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]

    def check(self, rows: Sequence[Mapping], where: str) -> None:
        """Raises BrokenContract naming the table, the column and the row."""
        seen = set()
        for number, row in enumerate(rows, 1):
            for name, column in self.columns.items():
                if name not in row:
                    raise BrokenContract(f"{where}: table {self.name!r} has no column {name!r} in row {number}.")
                value = row[name]
                if value is None:
                    if not column.nullable:
                        raise BrokenContract(f"{where}: {name!r} is empty in row {number} and must not be.")
                    continue
                right = TYPES[column.type]
                if not isinstance(value, (int, float) if right is float else right):
                    raise BrokenContract(
                        f"{where}: {name!r} is {value!r} in row {number}, expected {column.type} ({column.about})."
                    )
            key = tuple(row[name] for name in self.key)
            if key in seen:
                raise BrokenContract(f"{where}: the key {dict(zip(self.key, key, strict=True))} appears twice.")
            seen.add(key)


def write(schema: Schema, rows: Iterable[Mapping], path: str | Path) -> None:
    """Checked rows to `path`, Parquet or CSV by its suffix. CSV: empty cell for None, UTF-8, \\n.

    An empty table keeps the schema's columns. Raises BrokenContract.
    """
    rows, path = [dict(row) for row in rows], Path(path)
    schema.check(rows, path.name)
    names = list(dict.fromkeys([*schema.columns, *(name for row in rows for name in row)]))
    with atomic(path) as temporary:
        if path.suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, names, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            types = {"list<double>": pa.list_(pa.float64())}
            columns = {
                name: pa.array(
                    [row.get(name) for row in rows],
                    types.get(schema.columns[name].type, schema.columns[name].type) if name in schema.columns else None,
                )
                for name in names
            }
            pq.write_table(pa.table(columns), temporary)


def read(schema: Schema, path: str | Path) -> list[dict]:
    """The rows of a table written by `write`, values typed by the schema. Raises BrokenContract."""
    path = Path(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                {name: _parse(schema.columns.get(name), text, name, path) for name, text in row.items()}
                for row in csv.DictReader(file)
            ]
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
    schema.check(rows, path.name)
    return rows


def _parse(column: Column | None, text: str, name: str, path: Path):
    if column is None:
        return text
    if text == "" and (column.nullable or column.type != "string"):
        return None
    try:
        return text == "True" if column.type == "bool" else TYPES[column.type](text)
    except ValueError:
        raise BrokenContract(f"{path.name}: {name!r} is {text!r}, expected {column.type} ({column.about}).") from None
