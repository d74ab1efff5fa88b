from asyncio import AbstractEventLoop

from datacat.session import Session

from .watching import Watch

def watch(
    session: Session, loop: AbstractEventLoop | None = None, timeout: float | None = 10
) -> Watch: ...
