"""What the public calls take; only the other stubs import it."""

from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any

from typing_extensions import TypeAlias

Path: TypeAlias = str | PathLike[str]
Fields: TypeAlias = dict[str, Any]
BeforeRecord: TypeAlias = Callable[[str, Fields], Fields | None]
# It gets `online` (bool or None), `waiting` and `dead` (int).
OnStatus: TypeAlias = Callable[[dict[str, Any]], object]
# What the calls check for: a Mapping that is no dict is refused, and so is one string for several.
Dict: TypeAlias = dict[Any, Any]
Strings: TypeAlias = list[str] | tuple[str, ...] | set[str] | frozenset[str]
Source: TypeAlias = tuple[str | None, int | None, str | None]
Raised: TypeAlias = (
    BaseException
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
)
