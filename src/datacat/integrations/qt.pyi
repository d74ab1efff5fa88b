from datacat.session import Session

from .watching import Watch

# The class of `app` is that of whichever binding the application uses.
def watch(app: object, session: Session, timeout: float | None = 10) -> Watch: ...
