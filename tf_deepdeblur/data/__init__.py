"""From image files on disk to training batches."""
