"""The verbs of `lockgate`, one module each: parse options, call the agent, print."""
