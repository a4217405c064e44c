"""Keys of the service layer's parts, for the API families that stand above it.

``handlers.service`` itself knows no aiohttp, and ``handlers.keys`` nothing of ``handlers``.
"""

from typing import Final

from aiohttp import web

from handlers.service.deletion import Deletion
from handlers.service.submit import Admissions

ADMISSIONS: Final = web.AppKey("admissions", Admissions)
DELETION: Final = web.AppKey("deletion", Deletion)
