from .bindings import HOW_TO_GET_TENSORRT as HOW_TO_GET_TENSORRT
from .bindings import Cuda as Cuda
from .bindings import has_tensorrt as has_tensorrt
from .builder import EngineBuildError as EngineBuildError
from .calibration import calibrate as calibrate
from .engine import EngineReport as EngineReport
from .engine import build_engine as build_engine
from .network import EngineNetwork as EngineNetwork
