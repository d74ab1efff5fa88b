import logging
from typing import Any

from datacat.session import Session

class DatacatHandler(logging.Handler):
    def __init__(
        self,
        session: Session | None = None,
        level: int | str = 20,
        exceptions: bool = True,
        ignore: str | tuple[str, ...] | list[str] = ("datacat", "urllib3", "requests"),
        url: str | None = None,
        **options: Any,
    ) -> None: ...
