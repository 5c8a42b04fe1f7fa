"""The real implementations of the lower seams, one small file for each protocol of `interfaces.py`.

This is the only part of the agent that opens files and sockets, starts programs and asks the clock.
Constructors do nothing; what a class needs from the world it opens at its first use.
"""
