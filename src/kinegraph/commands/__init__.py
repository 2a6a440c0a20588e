"""One module for each verb of the command line: a model of its arguments and what it does."""
