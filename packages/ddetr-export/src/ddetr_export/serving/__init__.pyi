from .admission import BusyError as BusyError
from .app import create_app as create_app
from .config import ServeConfig as ServeConfig
from .server import serve as serve
from .service import DetectionService as DetectionService
