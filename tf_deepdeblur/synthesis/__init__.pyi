from .camera_shake import Shake as Shake
from .camera_shake import shake_photo as shake_photo
from .demo import make_demo_dataset as make_demo_dataset
from .exposure import blur_pair as blur_pair
