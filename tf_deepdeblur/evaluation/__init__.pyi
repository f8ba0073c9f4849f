from .report import write_comparison as write_comparison
from .scoring import evaluate as evaluate
from .scoring import merge as merge
from .testsets import BENCHMARKS as BENCHMARKS
from .testsets import Sample as Sample
from .testsets import TestSet as TestSet
from .testsets import load as load
from .testsets import open_references as open_references
