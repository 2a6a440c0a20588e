"""Networks that no longer learn, rearranged to answer as quickly as a CPU can.

Norms are folded into convolutions, branches are one product where they can be, and rows lie as
(R, V, T, C) in memory, the layout in which convolutions are quickest.
"""
