from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Protocol, overload, type_check_only

from typing_extensions import Never, Self

from ._arguments import (
    BeforeRecord,
    Bounds,
    Dict,
    OnStatus,
    Path,
    PerMinute,
    Raised,
    Shares,
    Source,
    Strings,
    Timed,
    TimeUnit,
)
from .annotations import Stats
from .client import DatacatClient
from .upstream import HeartbeatMonitor

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
    aggregate_seconds: float | None = 5.0,
    environment: bool | None = False,
    before_record: BeforeRecord | None = None,
    redact: bool | Strings | None = True,
    max_per_minute: PerMinute | None = None,
    sample: Shares | None = None,
    bandwidth: int | None = None,
    on_status: OnStatus | None = None,
    recording: bool | None = True,
    end_on_signals: tuple[int, ...] | list[int] | None = (),
    disabled: bool | None = None,
    async_mode: bool | None = None,
    queue_size: int | None = None,
    daemon_port: int | str | None = None,
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

@type_check_only
class Monitor(Protocol):
    """What `Session.add_heartbeat_monitor` returns."""

    def heartbeat(self) -> None: ...
    def stop(self) -> None: ...

@type_check_only
class Timer(Protocol):
    """What `Session.timer` returns: a context manager, and a decorator."""

    count: int
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        __kind: type[BaseException] | None,
        __error: BaseException | None,
        __trace: TracebackType | None,
    ) -> None: ...
    def __call__(self, __function: Timed) -> Timed: ...

@type_check_only
class ProcessMonitor(Protocol):
    """What `Session.monitor_process` returns."""

    def stop(self) -> None: ...
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
        stacktrace: Strings | None = None,
        level: str | None = None,
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
        metric_type: str | None = None,
        delta: float | None = None,
    ) -> None: ...
    def log_gauge(
        self,
        name: str,
        value: float,
        tags: Strings | Dict | None = None,
        unit: str | None = None,
    ) -> None: ...
    def log_counter(
        self, name: str, delta: float = 1, tags: Strings | Dict | None = None
    ) -> None: ...
    def log_histogram(
        self,
        name: str,
        value: float,
        unit: str | None = None,
        tags: Strings | Dict | None = None,
        buckets: Bounds | None = None,
        metadata: Dict | None = None,
    ) -> None: ...
    def log_timer(
        self,
        name: str,
        duration: float,
        count: int | None = None,
        tags: Strings | Dict | None = None,
        unit: str = "seconds",
    ) -> None: ...
    def timer(
        self,
        name: str,
        count: int | None = None,
        tags: Strings | Dict | None = None,
        unit: TimeUnit = "seconds",
    ) -> Timer: ...
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
    def enable_faulthandler(self) -> bool: ...
    def monitor_process(self, interval: float = 15) -> ProcessMonitor: ...
    def update_state(self, state: Dict) -> None: ...
    def start_heartbeat_monitor(
        self, timeout: float = 60, check_interval: float | None = None
    ) -> HeartbeatMonitor: ...
    def heartbeat(self) -> None: ...
    def pause_heartbeat_monitoring(self) -> None: ...
    def resume_heartbeat_monitoring(self) -> None: ...
    def stop_heartbeat_monitor(self) -> None: ...
    def add_heartbeat_monitor(
        self,
        name: str,
        timeout: float = 60,
        check_interval: float | None = None,
        is_running: Callable[[], object] | None = None,
    ) -> Monitor: ...
    @property
    def is_online(self) -> bool | None: ...
    def pause_sending(self) -> None: ...
    def resume_sending(self) -> None: ...
    def set_recording(self, on: bool, forget: bool = False) -> bool: ...
    def get_details(self, timeout: float = 5) -> dict[str, Any]: ...
    def flush(self, timeout: float = 5) -> bool: ...
    def stats(self) -> Stats: ...
    def get_stats(self) -> dict[str, int]: ...
    def end(self, timeout: float = 5) -> None: ...
    def shutdown(self, timeout: float = 5) -> None: ...
    def close(self, timeout: float = 5) -> None: ...
