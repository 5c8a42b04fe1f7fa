"""The two-process device: the courier, which has the network, and the agent's end of the sockets to it.

`frames` is what both ends say, `process` and `fetching` are the courier, `broker`, `repository` and `rest`
the seams of an agent without a network. `docs/decisions/0011` says why.
"""
