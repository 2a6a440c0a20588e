"""The doctor against faults that were planted in recordings."""
