"""GPU kernels, each with the plain PyTorch operations that it replaces.

Nothing here imports Triton before a kernel is wanted: where it is missing, everything works by
plain operations. `dispatch` decides; docs/adr/0011-kernels.md says why it is so.
"""
