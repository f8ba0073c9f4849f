import gc

gc.disable()  # until all is imported: collections would take a third of that time; conftest.py turns it on again
