"""The commands of `lockgate-fleet`, one module each: parse options, call the code beside, print."""
