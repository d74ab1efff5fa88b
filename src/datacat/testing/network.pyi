from typing import Protocol, type_check_only

@type_check_only
class _HasUrl(Protocol):
    @property
    def url(self) -> str: ...

class FlakyNetwork:
    url: str
    delay: float
    lost: int
    was_cut: int
    def __init__(
        self,
        server: str | _HasUrl,
        loses: int = 0,
        cuts: int = 0,
        delay: float = 0.0,
        dark: bool = False,
    ) -> None: ...
    def lose_answers(self, count: int = 1) -> None: ...
    def cut(self, count: int = 1) -> None: ...
    def go_dark(self) -> None: ...
    def restore(self) -> None: ...
    def close(self) -> None: ...
