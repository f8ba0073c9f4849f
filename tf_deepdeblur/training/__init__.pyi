from .dry_run import describe as describe
from .gan import DeblurGAN as DeblurGAN
from .initial_weights import architecture as architecture
from .initial_weights import assign_initial_weights as assign_initial_weights
from .loop import train as train
from .run_folder import RunFolder as RunFolder
from .run_folder import read_training as read_training
from .schedule import step_decay as step_decay
