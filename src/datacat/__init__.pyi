# Not `from .annotations`: pyright would take that for an attribute, and offer it in completion.
from datacat.annotations import Stats
from datacat.client import DatacatClient
from datacat.errors import (
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
from datacat.session import Session, create_session
from datacat.upstream import AsyncSession, HeartbeatMonitor

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

__version__: str
