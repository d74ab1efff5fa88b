from tkinter import Tk

from datacat.session import Session

from .watching import Watch

def watch(root: Tk, session: Session, timeout: float | None = 10) -> Watch: ...
