from .bindings import Cuda as Cuda
from .bindings import check_tensorrt as check_tensorrt
from .builder import EngineBuildError as EngineBuildError
from .calibration import calibrate as calibrate
from .engine import EngineReport as EngineReport
from .engine import build_engine as build_engine
from .engine import prepare_engine as prepare_engine
from .network import EngineNetwork as EngineNetwork
