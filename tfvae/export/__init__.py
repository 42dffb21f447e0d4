"""SavedModels for TensorFlow alone."""
