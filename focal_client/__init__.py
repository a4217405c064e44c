"""Client of a Focal server: pictures, tasks, queue and events; sync and async.

>>> from focal_client import Client
>>> with Client("http://127.0.0.1:7866") as client:
...     for picture in client.generate("a red star on a blue background", image_seed=7):
...         picture.save("star.png")
"""

from focal_client.async_client import AsyncClient
from focal_client.async_tasks import AsyncTask
from focal_client.client import Client
from focal_client.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    FocalError,
    Forbidden,
    InvalidField,
    ModelNotInstalled,
    NotFound,
    QueueFull,
    ServerFault,
    TaskError,
    TaskFailed,
    TaskSkipped,
    TaskStopped,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedReply,
    UnreadableImage,
)
from focal_client.events import Event
from focal_client.pictures import Picture, Progress
from focal_client.structs import GenerateRequest, TaskRecord
from focal_client.tasks import Task

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncTask",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Event",
    "FocalError",
    "Forbidden",
    "GenerateRequest",
    "InvalidField",
    "ModelNotInstalled",
    "NotFound",
    "Picture",
    "Progress",
    "QueueFull",
    "ServerFault",
    "Task",
    "TaskError",
    "TaskFailed",
    "TaskRecord",
    "TaskSkipped",
    "TaskStopped",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnexpectedReply",
    "UnreadableImage",
]
