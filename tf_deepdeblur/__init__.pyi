from . import data as data
from . import evaluation as evaluation
from . import export as export
from . import inference as inference
from . import io as io
from . import losses as losses
from . import metrics as metrics
from . import models as models
from . import synthesis as synthesis
from . import training as training
from .config import DataConfig as DataConfig
from .config import LossConfig as LossConfig
from .config import ModelConfig as ModelConfig
from .config import OptimizerConfig as OptimizerConfig
from .config import RuntimeConfig as RuntimeConfig
from .config import TrainConfig as TrainConfig
from .errors import InputError as InputError
from .evaluation import evaluate as evaluate
from .export import export_model as export_model
from .inference import Deblurrer as Deblurrer
from .models import Discriminator as Discriminator
from .models import Generator as Generator
from .models import load_generator as load_generator
from .pyramid import gaussian_pyramid as gaussian_pyramid
from .training import DeblurGAN as DeblurGAN
from .training import train as train

__version__: str
