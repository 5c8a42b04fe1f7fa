"""The demonstration: a whole fleet on one machine, from keys to a halted bad release.

Real: the TUF repository, the broker, TLS on both ways, the ext4 images, the agent, the collector.
Simulated: the boards, their bootloaders and their power.

    images.py    makes the ext4 images      fleet.py   the operator's folder, broker, server, collector
    acts.py      what happens, in order     devices.py the simulated boards
    screen.py    what a person sees         checks.py  what was promised, checked afterwards
"""
