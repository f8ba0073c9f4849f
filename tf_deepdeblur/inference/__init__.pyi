from .deblurrer import Deblurrer as Deblurrer
