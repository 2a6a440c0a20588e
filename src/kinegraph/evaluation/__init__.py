"""What comes after the network: score files, metrics, ensembles, baselines and the report."""
