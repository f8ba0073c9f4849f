from .discriminator import Discriminator as Discriminator
from .generator import Generator as Generator
from .layers import ResBlock as ResBlock
from .layers import ScaleNetwork as ScaleNetwork
from .layers import UpConv as UpConv
from .saving import find_model as find_model
from .saving import load_generator as load_generator
from .saving import save_generator as save_generator
