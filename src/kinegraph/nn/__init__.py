"""Building blocks that several networks share. They know tensors and layouts, no data sets."""
