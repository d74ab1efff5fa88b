"""A client for the datacat REST API.

Belongs here: the public names, and nothing else.

PYTEST_DONT_REWRITE: there is nothing to rewrite, and pytest would warn each program that imports
datacat before it starts pytest.
"""

from ._version import __version__
from .annotations import Stats
from .client import DatacatClient
from .errors import (
    CutShort,
    DatacatError,
    InvalidArgument,
    InvalidRecord,
    InvalidSettings,
    MonitorNotStarted,
    NotAuthorized,
    NotDelivered,
    NotSent,
    OperationUnknown,
    OutcomeUnknown,
    Redirected,
    RequestRefused,
    ServerBusy,
    ServerFault,
    SessionNotFound,
    TlsFailure,
    UnexpectedAnswer,
)
from .session import Session, create_session
from .upstream import AsyncSession, HeartbeatMonitor

__all__ = [
    "AsyncSession",
    "CutShort",
    "DatacatClient",
    "DatacatError",
    "HeartbeatMonitor",
    "InvalidArgument",
    "InvalidRecord",
    "InvalidSettings",
    "MonitorNotStarted",
    "NotAuthorized",
    "NotDelivered",
    "NotSent",
    "OperationUnknown",
    "OutcomeUnknown",
    "Redirected",
    "RequestRefused",
    "ServerBusy",
    "ServerFault",
    "Session",
    "SessionNotFound",
    "Stats",
    "TlsFailure",
    "UnexpectedAnswer",
    "__version__",
    "create_session",
]


def __dir__():
    # For completion, since Python 3.7; without it, older ones list the submodules as well.
    return list(__all__)
