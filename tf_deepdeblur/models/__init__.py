"""The networks of the paper, in portable Keras 3 (keras.ops only)."""
