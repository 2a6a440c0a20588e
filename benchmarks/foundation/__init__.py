"""The networks of the first release, as they computed then: what speed is compared with.

Copies of `kinegraph.backbones` and `kinegraph.nn` of commit 80c0113, only their imports
changed. `foundation.weights` gives them the weights of today's networks.
"""
