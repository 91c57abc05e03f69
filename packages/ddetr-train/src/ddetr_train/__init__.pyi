from .__about__ import __version__ as __version__
from .config import VALIDATION_FOLDER as VALIDATION_FOLDER
from .config import OptimizerConfig as OptimizerConfig
from .config import TrainConfig as TrainConfig
from .engine import TrainResult as TrainResult
from .engine import train as train
from .torch_detector import TorchDetector as TorchDetector
from .torch_detector import open_detector as open_detector
