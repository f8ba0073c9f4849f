from .gan import DeblurGAN as DeblurGAN
from .loop import train as train
