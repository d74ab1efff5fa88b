from collections.abc import Callable
from typing import Any, Literal, overload

from typing_extensions import Self

from ._arguments import (
    BeforeRecord,
    Dict,
    OnStatus,
    Path,
    PerMinute,
    Raised,
    Shares,
    Strings,
)
from .settings import Settings

class DatacatClient:
    settings: Settings
    before_write: Callable[[str], object] | None
    # As in `create_session`.
    def __init__(
        self,
        base_url: str | Settings | None = None,
        *,
        product: str | None = None,
        version: str | None = None,
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
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def close(self) -> None: ...
    def create_session(self, product: str | None = None, version: str | None = None) -> str: ...
    def register_session(self, product: str | None = None, version: str | None = None) -> str: ...
    def get_session(self, session_id: str, timeout: float | None = None) -> dict[str, Any]: ...
    def get_all_sessions(self) -> list[dict[str, Any]]: ...
    # None where `before_record` dropped the record.
    def update_state(self, session_id: str, state: Dict) -> dict[str, Any] | None: ...
    def log_event(
        self,
        session_id: str,
        name: str,
        data: Dict | None = None,
        category: str | None = None,
        group: str | None = None,
        labels: Strings | None = None,
        message: str | None = None,
        stacktrace: Strings | None = None,
    ) -> dict[str, Any] | None: ...
    def log_metric(
        self,
        session_id: str,
        name: str,
        value: float,
        tags: Strings | Dict | None = None,
        type: str | None = None,
        unit: str | None = None,
        count: int | None = None,
        metadata: Dict | None = None,
        metric_type: str | None = None,
    ) -> dict[str, Any] | None: ...
    @overload
    def log_exception(
        self, session_id: str, extra_data: Dict | None = None, exc_info: Raised | None = None
    ) -> dict[str, Any] | None: ...
    @overload
    def log_exception(
        self, session_id: str, extra_data: Raised, exc_info: Dict | None = None
    ) -> dict[str, Any] | None: ...
    def end_session(self, session_id: str) -> dict[str, Any]: ...
