"""What the public calls take; only the other stubs import it."""

from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any, Literal, TypeVar

from typing_extensions import TypeAlias

Path: TypeAlias = str | PathLike[str]
Fields: TypeAlias = dict[str, Any]
BeforeRecord: TypeAlias = Callable[[str, Fields], Fields | None]
# A number for all kinds, or by kind.
PerMinute: TypeAlias = int | dict[str, int] | dict[str, int | None]
# By name.
Shares: TypeAlias = dict[str, float] | dict[str, int]
# It gets `online` (bool or None), `waiting` and `dead` (int).
OnStatus: TypeAlias = Callable[[dict[str, Any]], object]
# What the calls check for: a Mapping that is no dict is refused, and so is one string for several.
Dict: TypeAlias = dict[Any, Any]
Strings: TypeAlias = list[str] | tuple[str, ...] | set[str] | frozenset[str]
Bounds: TypeAlias = list[float] | list[int] | tuple[float, ...]
TimeUnit: TypeAlias = Literal[
    "seconds", "s", "milliseconds", "ms", "microseconds", "us", "nanoseconds", "ns"
]
Timed = TypeVar("Timed", bound=Callable[..., Any])
Source: TypeAlias = tuple[str | None, int | None, str | None]
Raised: TypeAlias = (
    BaseException
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
)
