"""Write rows as a CSV or HTML file below the folder of files (LANEWORK_FILES_DIR)."""

import csv
from html import escape
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field

from runtime import Context, function

Row = dict[str, Any]


@function(lane="low", timeout=120)
def handle(
    ctx: Context,
    rows: Annotated[list[Row], Field(min_length=1)],
    format: Literal["csv", "html"] = "csv",
    title: str = "Report",
    output: PurePosixPath | None = None,
) -> dict[str, str | int]:
    name = output or PurePosixPath("reports") / f"{ctx.job.id}.{format}"
    columns = list(dict.fromkeys(column for row in rows for column in row))
    write = _write_csv if format == "csv" else _write_html
    write(ctx.file(name), title, columns, rows)
    return {"path": str(name), "rows": len(rows), "columns": len(columns)}


def _write_csv(path: Path, _title: str, columns: list[str], rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_html(path: Path, title: str, columns: list[str], rows: list[Row]) -> None:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "\n".join(
        "<tr>" + "".join(f"<td>{escape(str(row.get(column, '')))}</td>" for column in columns) + "</tr>"
        for row in rows
    )
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<h1>{escape(title)}</h1>\n<table>\n<tr>{head}</tr>\n{lines}\n</table></html>\n",
        encoding="utf-8",
    )
