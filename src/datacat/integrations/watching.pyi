from collections.abc import Callable
from types import TracebackType

from typing_extensions import Self

from datacat.session import Session

class Watch:
    name: str | None
    is_stopped: bool
    def __init__(
        self,
        session: Session,
        timeout: float | None,
        is_running: Callable[[], object] | None = None,
    ) -> None: ...
    def stop(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        __kind: type[BaseException] | None,
        __error: BaseException | None,
        __trace: TracebackType | None,
    ) -> None: ...
