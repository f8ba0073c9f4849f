from .photo import Photo as Photo
from .photo import read_photo as read_photo
from .photo import write_photo as write_photo
from .pixels import read_image as read_image
from .pixels import write_image as write_image
from .video import VideoReader as VideoReader
from .video import VideoWriter as VideoWriter
