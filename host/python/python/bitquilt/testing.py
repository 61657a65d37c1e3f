"""The conformance kit: what a session relies on in an encoding, a declaration or an op, tested one promise at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import _native
from ._errors import ConformanceError

__all__ = ["Finding", "assert_conforms", "check"]


class Finding(NamedTuple):
    """A check, and how it came out."""

    subject: str
    check: str
    verdict: str
    """``"pass"``, ``"FAIL"`` or ``"skip"``."""
    text: str

    def __str__(self) -> str:
        return f"{self.verdict}  {self.subject}  {self.check:17}  {self.text}"


def check(subject: Any) -> list[Finding]:
    """Runs every check of an encoding, a declaration or an op."""
    return [Finding(*finding) for finding in _native.conformance(subject)]


def assert_conforms(subject: Any) -> None:
    """Runs every check.

    Raises ``ConformanceError``, with a line for each check, if one fails.
    """
    findings = check(subject)
    failed = sum(finding.verdict == "FAIL" for finding in findings)
    if failed:
        lines = "\n".join(map(str, findings))
        raise ConformanceError(f"{failed} of {len(findings)} checks failed:\n{lines}")
