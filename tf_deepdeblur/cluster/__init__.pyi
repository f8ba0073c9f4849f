from .pool import Cluster as Cluster
from .pool import Pool as Pool
