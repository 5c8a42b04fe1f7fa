"""Storms: one seed is one whole world, several simulated days of a fleet while things go wrong together.

First safety: faults go on, and after every boot what must always hold is checked. Then liveness: the
faults stop, time goes on, and the world must become what the signed rollouts say.

What may fail together, and what is still promised then:

* Power: cut by time or at any operation (before, torn, after), several times in a row, also inside
  trials. Promised: everything. A trial that lost its power as often as the board profile grants
  attempts ends reverted, and says so.
* Network: the repository misses files, cuts them short, changes bytes, stalls, serves an older published
  state or only a part of one, or one that too few people signed. Promised: everything but progress while
  it lasts; an update may end `failed` when what was served was wrong, and waits for a re-issue.
* Broker: down, disconnects inside anything, loses, duplicates, replays; forged bytes, floods and poison
  that stays retained. Promised: everything but news while it lasts. A trial that cannot reach the broker
  for as long as the board profile grants is reverted. Nobody forges receipts for reports that exist:
  the broker's access rules see to that.
* Files: the disk is full for a while. Promised: everything. Any cached metadata rots: everything. The
  floor rots: everything but the versions it held. The journal rots: the slots stay safe and the device
  goes on, but what it had not reported is lost, what it had tried may be tried again, and an update may
  get a second result. Journal and floor do not rot in one world.
* Medium: write errors and unreadable sectors in the standby slot before the trial, write errors where the
  boot state lies. Promised: everything but progress; an update may end `failed` or `reverted` by it, and
  a bootloader whose counter was not taken grants one boot more. The slot that ran before is not read again
  when someone at the device goes back to it, so an unreadable sector and that wish do not come together.
* A medium that lies about flushing, and a power cut before the trial has ended: only that the old slot
  stays whole and the default. After the confirmation nothing can be promised of such a medium.
* Time: no battery, no network time, drift, dates set wrong by weeks in both directions. Promised:
  everything but progress while signed dates look past.
* System: a reboot that is refused, a reboot that forgets its argument, checks that fail some times.
  Promised: everything; a forgotten argument costs an attempt where the bootloader needs it.
* Chips: a plug pulled in the middle, noise, silence, a chip that thanks and writes nothing, a supply that
  fails in any operation of its flash, its own or the whole board's, a reset by someone's hand. Promised:
  everything; an update may end `reverted` or `failed` by it, and a chip that could not be brought back is,
  once the faults have stopped, also when the journal rotted meanwhile. An image that works with no system
  before its own is never begun.
* People: rollouts in phases, paused, resumed, halted, issued again, published again or too late; keys
  rotated; someone at the device defers, installs, confirms or goes back. Promised: everything; a bad
  release is confirmed only by someone at the device, and only when it runs at all.

Devices of a fleet do not talk to each other. So each device of a seed lives through the same decisions of
the operator on a bench of its own, and all of them are judged together.
"""
