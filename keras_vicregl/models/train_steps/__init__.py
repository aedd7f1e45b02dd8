"""One train and test step a backend."""
