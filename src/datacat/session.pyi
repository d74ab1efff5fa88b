from types import TracebackType
from typing import Any, Literal, Protocol, overload, type_check_only

from typing_extensions import Never, Self

from ._arguments import BeforeRecord, Dict, OnStatus, Path, Raised, Source, Strings
from .annotations import Stats
from .client import DatacatClient

# Defaults are those of the options; None means "not given", as at run time. Options that the
# environment can give, too, have no other default here.
def create_session(
    base_url: str | None = None,
    product: str | None = None,
    version: str | None = None,
    *,
    api_key: str | None = None,
    hostname: str | None = None,
    machine_id: str | None = None,
    machine: str | None = None,
    spool_dir: Path | None = None,
    durability: Literal["process", "power"] | None = "process",
    connect_wait: float | None = 2.0,
    timeout: float | None = 10.0,
    deadline: float | None = 30.0,
    verify: bool | Path | None = True,
    cert: Path | tuple[Path, Path] | None = None,
    proxies: dict[str, str] | None = None,
    trust_env: bool | None = True,
    stamp_late: bool | None = True,
    fold_fields: bool | None = True,
    max_bytes: int | None = 268435456,
    window: int | None = 64,
    rotate_after: int | str | None = None,
    bandwidth: int | None = None,
    before_record: BeforeRecord | None = None,
    on_status: OnStatus | None = None,
    recording: bool | None = True,
    end_on_signals: tuple[int, ...] | list[int] | None = (),
    disabled: bool | None = None,
) -> Session: ...
@type_check_only
class ExceptionHooks(Protocol):
    """What `Session.install_exception_hooks` returns."""

    def uninstall(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        __kind: type[BaseException] | None,
        __error: BaseException | None,
        __trace: TracebackType | None,
    ) -> None: ...

class Session:
    def __init__(self, membership: Never) -> None:
        """Not for applications, which call `create_session`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    @property
    def session_id(self) -> str: ...
    @property
    def local_id(self) -> str: ...
    @property
    def client(self) -> DatacatClient: ...
    def log_event(
        self,
        name: str,
        data: Dict | None = None,
        category: str | None = None,
        group: str | None = None,
        labels: Strings | None = None,
        message: str | None = None,
        source: Source | None = None,
    ) -> None: ...
    def log_metric(
        self,
        name: str,
        value: float,
        tags: Strings | Dict | None = None,
        type: str | None = None,
        unit: str | None = None,
        count: int | None = None,
        metadata: Dict | None = None,
    ) -> None: ...
    @overload
    def log_exception(
        self,
        extra_data: Dict | None = None,
        exc_info: Raised | None = None,
        category: str | None = None,
        group: str | None = None,
        message: str | None = None,
    ) -> None: ...
    @overload
    def log_exception(
        self,
        extra_data: Raised,
        exc_info: Dict | None = None,
        category: str | None = None,
        group: str | None = None,
        message: str | None = None,
    ) -> None: ...
    def install_exception_hooks(
        self, sys: bool = True, threads: bool = True, unraisable: bool = True
    ) -> ExceptionHooks: ...
    def update_state(self, state: Dict) -> None: ...
    def start_heartbeat_monitor(
        self, timeout: float = 60, check_interval: float | None = None
    ) -> None: ...
    def heartbeat(self) -> None: ...
    def pause_heartbeat_monitoring(self) -> None: ...
    def resume_heartbeat_monitoring(self) -> None: ...
    def stop_heartbeat_monitor(self) -> None: ...
    @property
    def is_online(self) -> bool | None: ...
    def pause_sending(self) -> None: ...
    def resume_sending(self) -> None: ...
    def set_recording(self, on: bool, forget: bool = False) -> bool: ...
    def get_details(self, timeout: float = 5) -> dict[str, Any]: ...
    def flush(self, timeout: float = 5) -> bool: ...
    def stats(self) -> Stats: ...
    def end(self, timeout: float = 5) -> None: ...
    def close(self, timeout: float = 5) -> None: ...
