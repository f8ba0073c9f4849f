from .datasets import training_dataset as training_dataset
from .datasets import validation_dataset as validation_dataset
