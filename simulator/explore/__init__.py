"""The closure explorer: power may fail at any operation, and in any recovery, and nothing is ever lost.

It runs the real agent and a model of the bootloader from a durable state to rest, takes every state that
a cut at any operation may leave, recovers from each of them, and goes on until no new one appears.

state       one durable state, and its name
crash       all states that a cut at one moment may leave, without running anything
scenario    what is explored: board, surroundings, release
board       a simulated board that is watched
watch       takes the pictures and asks the invariants
visit       one run from one state to rest
search      the closure of one configuration
sweep       all configurations in several processes, and the table
page        a page to cut the power by hand
folder      the same question for `Files` on Linux, whose folder may lose what was not synced
"""
