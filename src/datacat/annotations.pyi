from typing import Literal, TypedDict

class Stats(TypedDict):
    """What `Session.stats` returns: what is known without asking the server."""

    waiting: int
    """Records of this session that are not delivered yet."""
    in_memory: int
    """Of the records of all sessions that share the outbox, those that are not on disk."""
    oldest_age: float | None
    """Seconds since the session's oldest waiting record was logged; None if none waits."""
    sent: int
    """The session's records that were delivered."""
    dead: int
    """The session's records that became dead letters, because the server refuses them."""
    dropped: int
    """The session's records that were lost."""
    merged: int
    """The session's state updates that became part of a later one."""
    possibly_twice: int
    """The session's records that were sent again though they may have arrived."""
    overtaken: int
    """The session's records that the server took after a later one, because it refused them
    when they were sent together."""
    seen_again: int
    """How often this process saw an exception in the session that had been told before."""
    held_back: int
    """The session's records that this process held back, by `max_per_minute` or `sample`."""
    last_error: str | None
    """The latest trouble with the server, the disk or the threads; None if there is none."""
    online: bool | None
    """Whether the server is there; None while that is unknown."""
    dialect: Literal["classic", "v1"] | None
    """The server's generation; None while that is unknown."""
