"""Tables for notebooks."""

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
