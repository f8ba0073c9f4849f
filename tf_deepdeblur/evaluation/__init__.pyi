from .evaluate import evaluate as evaluate
