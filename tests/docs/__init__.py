"""Documents and examples: commands parse, marked ones run, links lead somewhere."""
