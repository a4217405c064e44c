"""The service layer's parts as the API families reach them: their keys, and their wiring.

``handlers.service`` itself knows no aiohttp, and ``handlers.keys`` nothing of ``handlers``.
"""

from typing import Final

from aiohttp import web

from handlers import keys
from handlers.service.admission import Admissions
from handlers.service.decoding import Decoding
from handlers.service.deletion import Deletion
from handlers.service.downloads import Downloads
from handlers.service.images import ImageReader
from handlers.service.queue import QueueControl
from handlers.service.submit import Submissions
from handlers.service.tasks import Tasks
from storage.repositories import Repositories
from storage.watch import StorageWatch

SUBMISSIONS: Final = web.AppKey("submissions", Submissions)
TASKS: Final = web.AppKey("tasks", Tasks)
QUEUE: Final = web.AppKey("queue", QueueControl)
IMAGES: Final = web.AppKey("images", ImageReader)
DECODING: Final = web.AppKey("decoding", Decoding)
DELETION: Final = web.AppKey("deletion", Deletion)
DOWNLOADS: Final = web.AppKey("downloads", Downloads)
WATCH: Final = web.AppKey("watch", StorageWatch)


def install_services(app: web.Application, stored: Repositories) -> None:
    """Build the service layer from the parts of ``handlers.keys``."""
    bus, executor = app[keys.BUS], app[keys.EXECUTOR]
    history, inputs, outputs = app[keys.HISTORY], app[keys.INPUTS], app[keys.OUTPUTS]
    app[TASKS] = tasks = Tasks(executor, history, outputs)
    app[QUEUE] = QueueControl(executor, app[keys.QUEUE_STATE])
    app[DECODING] = decoding = Decoding()
    limit = app[keys.SETTINGS].body_limit_bytes
    app[IMAGES] = images = ImageReader(app[keys.CLIENT], inputs, outputs, decoding, limit)
    admissions = Admissions(history, executor, inputs, stored.watch)
    app[WATCH] = stored.watch
    app[SUBMISSIONS] = Submissions(
        bus, app[keys.RESOLVER], images, admissions, tasks, app[keys.CLIENT]
    )
    app[DOWNLOADS] = Downloads(app[keys.MODEL_FILES], bus)
    app[DELETION] = Deletion(bus, history, stored.trash, stored.retention, outputs)
