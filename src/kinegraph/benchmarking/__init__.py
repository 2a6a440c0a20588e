"""What a recipe costs on a device: speed, memory, where time goes, and how near to the limits."""
