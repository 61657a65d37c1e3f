"""The program that came with this package."""

import os
import sysconfig

from ._errors import SessionError


def program() -> str:
    """The command ``bitquilt``, which loads a plugin in a process of its own.

    Raises ``SessionError`` if it is not where it was installed.
    """
    name = "bitquilt.exe" if os.name == "nt" else "bitquilt"
    path = os.path.join(sysconfig.get_path("scripts"), name)
    if os.path.isfile(path) and _is_own(path):
        return path
    from importlib.metadata import PackageNotFoundError, files

    try:
        installed = files("bitquilt") or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        if file.name == name:
            return str(file.locate())
    raise SessionError(
        "plugins are loaded in a child process first, and the command `bitquilt` that does it is not there: install the package anew, "
        "or make the session with probe=False"
    )


def _is_own(path: str) -> bool:
    """Whether it is a program, and no script that another package has put there."""
    with open(path, "rb") as file:
        return file.read(2) != b"#!"
