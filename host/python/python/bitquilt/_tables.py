"""Tables for notebooks and terminals."""

from collections.abc import Iterable, Sequence
from html import escape


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table; cells are written as text."""

    def cell(kind: str, value: object) -> str:
        return f"<{kind}>{escape(str(value))}</{kind}>"

    head = "".join(cell("th", heading) for heading in headings)
    body = "".join(f"<tr>{''.join(cell('td', value) for value in row)}</tr>" for row in rows)
    title = cell("caption", caption) if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of columns that are as wide as their widest cells."""
    lines = [headings, *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(headings))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines)
