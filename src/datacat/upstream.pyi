from types import TracebackType
from typing import Any

from typing_extensions import Self

from .client import DatacatClient
from .session import Session

class HeartbeatMonitor:
    timeout: float
    check_interval: float | None
    def __init__(
        self, session: Session, timeout: float = 60, check_interval: float | None = None
    ) -> None: ...
    @property
    def client(self) -> DatacatClient: ...
    @property
    def session_id(self) -> str: ...
    def start(self) -> Self: ...
    def heartbeat(self) -> None: ...
    def stop(self) -> None: ...
    def is_running(self) -> bool: ...

class AsyncSession:
    session: Any
    def __init__(
        self, session: object, queue_size: int = 10000, drop_on_full: bool = True
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    # The session's methods, whatever that is.
    def __getattr__(self, name: str) -> Any: ...
